"""What does a replay say at its end? The same figures for people and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gatekeeper.domain.money import plain

from .latencies import Latencies
from .tally import ZERO, Tally

CAMPAIGN_COLUMNS: Final = ("Campaign", "Calls", "Admitted", "Denied", "Spent")
LAG_SHOWN_S: Final = 0.1  # below it, a start is as punctual as it can be


def to_document(tally: Tally, organization: str) -> dict[str, Any]:
    """Return the figures as JSON takes them; amounts are strings."""
    return {
        "organization": organization,
        "calls": tally.calls,
        "skipped": tally.skipped,
        "admitted": tally.admitted,
        "denied": tally.denied.total(),
        "denied_by_reason": dict(sorted(tally.denied.items())),
        "failed": tally.failed.total(),
        "failed_by_reason": dict(sorted(tally.failed.items())),
        "committed": tally.committed,
        "late": tally.late,
        "released": tally.released,
        "left_open": tally.left_open,
        "expired": tally.expired,
        "still_held": len(tally.held),
        "unknown": tally.unknown,
        "currency": tally.currency,
        "spent": plain(tally.spent),
        "reserved": plain(sum(tally.held, ZERO)),
        "overage": plain(tally.overage),
        "reserve_ms": tally.reserving.report(),
        "commit_ms": tally.committing.report(),
        "duration_s": round(tally.duration_s, 3),
        "calls_per_s": round(rate_of(tally), 1),
        "lag_max_s": round(tally.lag_max_s, 3),
        "interrupted": tally.interrupted,
        "campaigns": [
            {
                "campaign": name,
                "calls": campaign.calls,
                "admitted": campaign.admitted,
                "denied": campaign.denied,
                "spent": plain(campaign.spent),
            }
            for name, campaign in sorted(tally.campaigns.items())
        ],
    }


def rate_of(tally: Tally) -> float:
    """Return calls per second."""
    return tally.calls / tally.duration_s if tally.duration_s else 0.0


def figures(tally: Tally, organization: str) -> Iterator[tuple[str, str]]:
    """Yield each figure for people: its name, and what it is."""
    currency = tally.currency
    unit = f" {currency}" if currency else ""
    if tally.interrupted:
        yield "interrupted", "what follows was done until then"
    yield "organization", organization
    yield "calls", f"{tally.calls:,}{_skipped(tally)}"
    yield "admitted", f"{tally.admitted:,}"
    yield "denied", _counts(tally.denied)
    if tally.failed:
        yield "failed", _counts(tally.failed)
    yield "committed", f"{tally.committed:,}{f', {tally.late:,} of them late' if tally.late else ''}"
    yield "left open", f"{tally.left_open:,}, {tally.expired:,} expired, {len(tally.held):,} still held"
    if tally.unknown:
        yield "unknown", f"{tally.unknown:,} reserves had no answer, and may hold money until they expire"
    if tally.released:
        yield "released", f"{tally.released:,}"
    yield "spent", f"{plain(tally.spent)}{unit}"
    yield "reserved", f"{plain(sum(tally.held, ZERO))}{unit}"
    yield "overage", f"{plain(tally.overage)}{unit}"
    yield "reserve", _milliseconds(tally.reserving)
    yield "commit", _milliseconds(tally.committing)
    lag = f", up to {tally.lag_max_s:.1f} s behind the timeline" if tally.lag_max_s >= LAG_SHOWN_S else ""
    yield "took", f"{tally.duration_s:.1f} s, {rate_of(tally):,.0f} calls/s{lag}"


def campaigns(tally: Tally) -> list[list[str]]:
    """Return what has come of each campaign, a row for each, as `CAMPAIGN_COLUMNS` names it."""
    return [
        [name or "(none)", f"{of.calls:,}", f"{of.admitted:,}", f"{of.denied:,}", plain(of.spent)]
        for name, of in sorted(tally.campaigns.items())
    ]


def _skipped(tally: Tally) -> str:
    rows = "row" if tally.skipped == 1 else "rows"
    return f", and {tally.skipped:,} {rows} that could not be read" if tally.skipped else ""


def _counts(counts: Mapping[str, int]) -> str:
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
    return f"{sum(counts.values()):,}{f' ({by_reason})' if by_reason else ''}"


def _milliseconds(latencies: Latencies) -> str:
    return "  ".join(f"{name} {value:.1f} ms" for name, value in latencies.report().items())
