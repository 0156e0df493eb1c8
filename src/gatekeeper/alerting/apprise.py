"""How do alerts get to Slack, mail and what else Apprise knows? Each by a URL, which is a secret.

Apprise says and logs a lot about its URLs. Nothing of that is passed on: a channel is `apprise-` and its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, PersistentStoreMode

from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.domain.alerts import AlertKind
from gatekeeper.domain.breaker import COMMAND_SIGN

from .failures import ChannelUnusable, DeliveryFailed
from .own_thread import OwnThread, grace_s
from .secret_files import read_lines
from .texts import event_time, title

SETTING = "GATEKEEPER_ALERT_APPRISE_FILE"
# Above so many, a list of receivers belongs to the service.
URLS_MAX = 50
EXCEEDED = 100
TYPES = {
    AlertKind.RESOLVED: NotifyType.SUCCESS,
    AlertKind.RUNAWAY: NotifyType.FAILURE,
    AlertKind.VERIFICATION_FAILED: NotifyType.FAILURE,
    AlertKind.TEST: NotifyType.INFO,
}
# A name must not call a whole room (`<!channel>`, `@everyone`), nor become a link.
HARMLESS = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
    }
)


class AppriseChannel:
    """Tells one of Apprise's services, in a thread of its own."""

    # What is behind the URL decides how much it takes, and most take little.
    at_once = 1

    def __init__(self, name: str, service: NotifyBase, timeout_s: float) -> None:
        """Tell this service; each attempt is given up after `timeout_s`."""
        self.name = name
        self._apprise = Apprise(service)
        self._thread = OwnThread(f"alerts-{name}", grace_s(timeout_s))

    def is_busy(self) -> bool:
        """Tell whether the attempt before has not come back."""
        return self._thread.is_busy()

    async def check(self) -> None:
        """Know of nothing: whether it works, attempts will tell."""

    async def deliver(self, notice: Notice) -> None:
        """Tell it of an alert. Raises `DeliveryFailed`."""
        await self._thread.run(partial(self._notify, notice))

    def _notify(self, notice: Notice) -> None:
        told = self._apprise.notify(
            body=f"{harmless(notice.alert.message)}\n\nAlert {notice.alert_id}, {event_time(notice)}",
            title=title(notice).translate(HARMLESS),
            notify_type=_type(notice),
            body_format=NotifyFormat.TEXT,
        )
        if not told:
            message = "the service could not be reached, or refused"
            raise DeliveryFailed(message)


def harmless(message: str) -> str:
    """Return a message that calls nobody; without the command at its end where that would be another one."""
    words, _, command = message.partition(COMMAND_SIGN)
    shown = message if command.translate(HARMLESS) == command else words
    return shown.translate(HARMLESS)


def _type(notice: Notice) -> NotifyType:
    alert = notice.alert
    if alert.kind is AlertKind.THRESHOLD and alert.threshold >= EXCEEDED:
        return NotifyType.FAILURE
    return TYPES.get(alert.kind, NotifyType.WARNING)


def read_channels(path: Path, timeout_s: float) -> Sequence[AppriseChannel]:
    """Return a channel for each URL in a file, numbered as they stand there. Raises `ChannelUnusable`."""
    urls = read_lines(path, SETTING)
    if not 0 < len(urls) <= URLS_MAX:
        raise ChannelUnusable(setting=SETTING, problem=f"{path}: it takes 1 to {URLS_MAX} URLs, one a line")
    return [
        AppriseChannel(f"apprise-{number}", _service(url, number, path), timeout_s)
        for number, url in enumerate(urls, 1)
    ]


def _service(url: str, number: int, path: Path) -> NotifyBase:
    # One call after the other, in the thread that it is made in, and nothing of it on disk.
    asset = AppriseAsset(
        app_id="Budget Gatekeeper",
        app_desc="Budget Gatekeeper",
        async_mode=False,
        service_timeout=0,
        storage_mode=PersistentStoreMode.MEMORY,
    )
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        raise ChannelUnusable(setting=SETTING, problem=f"{path}: Apprise can make nothing of URL {number}")
    return service
