"""What does a replay say at its end? The same figures for people and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatekeeper.domain.money import plain

from .latencies import Latencies
from .tally import Tally


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
        "still_held": len(tally.open),
        "currency": tally.currency,
        "spent": plain(tally.spent),
        "reserved": plain(tally.reserved),
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


def to_text(tally: Tally, organization: str) -> str:
    """Return the figures for people, one to a line, and a table by campaign."""
    return "\n".join([*_figures(tally, organization), *_campaigns(tally)])


def _figures(tally: Tally, organization: str) -> Iterator[str]:
    currency = tally.currency
    unit = f" {currency}" if currency else ""
    if tally.interrupted:
        yield "interrupted: what follows is what was done until then"
    yield _line("organization", organization)
    yield _line("calls", f"{tally.calls:,}{_skipped(tally)}")
    yield _line("admitted", f"{tally.admitted:,}")
    yield _line("denied", _counts(tally.denied))
    if tally.failed:
        yield _line("failed", _counts(tally.failed))
    yield _line("committed", f"{tally.committed:,}{f', {tally.late:,} of them late' if tally.late else ''}")
    yield _line("left open", f"{tally.left_open:,}, {tally.expired:,} expired, {len(tally.open):,} still held")
    if tally.released:
        yield _line("released", f"{tally.released:,}")
    yield _line("spent", f"{plain(tally.spent)}{unit}")
    yield _line("reserved", f"{plain(tally.reserved)}{unit}")
    yield _line("overage", f"{plain(tally.overage)}{unit}")
    yield _line("reserve", _milliseconds(tally.reserving))
    yield _line("commit", _milliseconds(tally.committing))
    lag = f", up to {tally.lag_max_s:.1f} s behind the timeline" if tally.lag_max_s else ""
    yield _line("took", f"{tally.duration_s:.1f} s, {rate_of(tally):,.0f} calls/s{lag}")


def _campaigns(tally: Tally) -> Iterator[str]:
    rows = [("campaign", "calls", "admitted", "denied", "spent")]
    rows += [
        (name or "(none)", f"{of.calls:,}", f"{of.admitted:,}", f"{of.denied:,}", plain(of.spent))
        for name, of in sorted(tally.campaigns.items())
    ]
    if len(rows) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield ""
    for row in rows:
        yield _aligned(row, widths)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells)


def _line(name: str, text: str) -> str:
    return f"{name:<13} {text}"


def _skipped(tally: Tally) -> str:
    return f", and {tally.skipped:,} rows that could not be read" if tally.skipped else ""


def _counts(counts: Mapping[str, int]) -> str:
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
    return f"{sum(counts.values()):,}{f' ({by_reason})' if by_reason else ''}"


def _milliseconds(latencies: Latencies) -> str:
    return "  ".join(f"{name} {value:.1f} ms" for name, value in latencies.report().items())
