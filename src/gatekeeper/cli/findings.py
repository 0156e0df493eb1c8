"""What does an examination tell? Findings, each with a state, and what mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `gatekeeper doctor`. `fix` is empty where nothing is to be done."""

    check: str
    state: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def ok(check: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check, "ok", what)


def warn(check: str, what: str, fix: str) -> Finding:
    """Return that something will be trouble one day."""
    return Finding(check, "warn", what, fix)


def fail(check: str, what: str, fix: str) -> Finding:
    """Return that something does not work."""
    return Finding(check, "fail", what, fix)
