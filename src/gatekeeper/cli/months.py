"""Which month is a command about, how long may the answer take, and where does a report go?"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from .options import fail
from .statuses import ScopeKindName

# A month may have millions of calls: the server gives up after five minutes itself.
MONTH_TIMEOUT_S: Final = 330.0

Month = Annotated[str, typer.Argument(metavar="[YYYY-MM]", help="Which month.", show_default="the current one")]
LastMonth = Annotated[str, typer.Argument(metavar="[YYYY-MM]", help="Which month.", show_default="the last one")]
Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to a file, whole or not at all.")]


def one_scope(**given: str | None) -> dict[str, tuple[ScopeKindName, str]]:
    """Return the one scope that options name, as a call takes it; none: the organization's. Refuse several."""
    named = [(name, scope_id) for name, scope_id in given.items() if scope_id is not None]
    if len(named) > 1:
        message = f"give one of {', '.join(f'--{name}' for name in given)}"
        raise typer.BadParameter(message)
    kinds: dict[str, ScopeKindName] = {
        "department": "DEPARTMENT",
        "campaign": "CAMPAIGN",
        "agent": "AGENT",
        "run": "RUN",
    }
    return {"scope": (kinds[named[0][0]], named[0][1])} if named else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave what was there: a full disk makes no half one."""
    written = ""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".", delete=False) as file:
            written = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(written).chmod(0o666 & ~_umask())
        Path(written).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(written).unlink()
        fail(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
