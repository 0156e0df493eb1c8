"""What does a server watch by itself, beside its calls?"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import time, timedelta
from decimal import Decimal
from typing import Any

from gatekeeper.domain.breaker import BreakerLimits
from gatekeeper.domain.schedule import Schedule
from gatekeeper.parts import Parts
from gatekeeper.services.breaker import Breaker
from gatekeeper.services.burn_rate import predict_forever
from gatekeeper.services.self_audit import SelfAudit
from gatekeeper.settings import Settings


def vigils(settings: Settings, parts: Parts) -> list[Coroutine[Any, Any, None]]:
    """Return what goes on without an end: predictions, the breaker where it is set, and the server's verification."""
    works = [predict_forever(parts.own, settings.burn_rate_interval_s)]
    if limits := _breaker_limits(settings):
        works.append(Breaker(parts.own, parts.budgets, limits).watch_forever(settings.breaker_interval_s))
    if settings.verify_interval_s:
        interval = timedelta(seconds=settings.verify_interval_s)
        schedule = Schedule(interval=interval, at=time.fromisoformat(settings.verify_at))
        works.append(SelfAudit(parts.own, parts.database_url, parts.audit_key, schedule).watch_forever())
    return works


def _breaker_limits(settings: Settings) -> BreakerLimits:
    times = settings.breaker_times_normal
    return BreakerLimits(
        per_minute_max=settings.breaker_per_minute_max, times_normal=None if times is None else Decimal(str(times))
    )
