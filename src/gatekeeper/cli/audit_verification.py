"""What does `gatekeeper verify --audit` do, and how does it tell what it found?"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import typer

from .differences import difference_document, numbered

if TYPE_CHECKING:
    from gatekeeper.domain.audit import AuditKey
    from gatekeeper.services.audit_verification import AuditVerification, ChainHead, Progress
    from gatekeeper.settings import Settings

HEAD = re.compile(r"(?P<organization>.*)=(?P<sequence>[0-9]{1,18}):(?P<link>[0-9a-fA-F]{64})", re.ASCII | re.DOTALL)
NO_KEY = "gatekeeper: without an audit key, whoever knows how seals are made can forge them (GATEKEEPER_AUDIT_KEY_FILE)"


def read_head(text: str) -> ChainHead:
    """Read a head that was kept elsewhere, ORGANIZATION=SEQUENCE:LINK; raise typer.BadParameter for what is none."""
    from gatekeeper.services.audit_verification import ChainHead

    found = HEAD.fullmatch(text)
    if found is None:
        message = f"{text!r} is not ORGANIZATION=SEQUENCE:LINK"
        raise typer.BadParameter(message)
    return ChainHead(
        organization=found["organization"], sequence=int(found["sequence"]), link=bytes.fromhex(found["link"])
    )


async def verify(
    settings: Settings, organization: str | None, kept: list[ChainHead], progress: Progress
) -> AuditVerification:
    """Verify the audit trail with the key of the servers on this database."""
    from gatekeeper.services.audit_verification import verify_trail

    from .database import reached

    key = _key(settings)
    if not key.secret:
        typer.echo(NO_KEY, err=True)
    async with reached(settings) as url:
        return await verify_trail(url, key, organization=organization, kept=kept, progress=progress)


def document(found: AuditVerification) -> dict[str, Any]:
    """Return what was found, for programs."""
    return {
        "passed": not found.differences,
        "checked_at": found.checked_at.isoformat(),
        "links": found.links,
        "pending": found.pending,
        "older": found.older,
        "heads": [
            {"organization": head.organization, "sequence": head.sequence, "link": head.link.hex()}
            for head in found.heads
        ],
        "differences": [difference_document(difference) for difference in found.differences],
        "complete": found.complete,
    }


def text(found: AuditVerification) -> str:
    """Return what was found, for people: the heads of sound chains as `--head` takes them, and each difference."""
    looked_at = f"{numbered(found.links, 'links')} of {numbered(len(found.heads), 'chains')}"
    if found.pending:
        looked_at += f"; {found.pending:,} to be chained soon"
    if found.older:
        looked_at += f"; {numbered(found.older, 'denials')} from before the trail"
    lines = [str(difference) for difference in found.differences]
    verdict = f"FAIL: {numbered(len(lines), 'differences')} in" if lines else "PASS:"
    if not found.complete:
        lines.append("There are more: of each chain, a thousand are listed at most.")
    broken = {difference.organization for difference in found.differences}
    heads = [
        shlex.quote(f"{head.organization}={head.sequence}:{head.link.hex()}")
        for head in found.heads
        if head.organization not in broken
    ]
    return "\n".join([f"{verdict} {looked_at}.", *lines, *heads])


def _key(settings: Settings) -> AuditKey:
    """Return the key; without a secret where the embedded database has none beside it yet."""
    from gatekeeper.database import audit_key_file
    from gatekeeper.services import audit_keys

    path = audit_key_file(settings)
    is_made = path is not None and (settings.audit_key_file is not None or path.exists())
    return audit_keys.load(path if is_made else None, create=False)
