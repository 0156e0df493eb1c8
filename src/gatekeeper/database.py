"""Which database do we work on, and where lie the files beside it?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gatekeeper.domain.audit import AuditKey
from gatekeeper.services import audit_keys, setup
from gatekeeper.settings import Settings

OPERATOR_TOKEN = "operator.token"  # noqa: S105 - a file's name
AUDIT_KEY = "audit.key"


@asynccontextmanager
async def open_database(settings: Settings, *, as_owner: bool = False) -> AsyncIterator[str]:
    """Yield the URL of the database: the given one, or the embedded one, which is started and made ready.

    The embedded one is reached by the server's role, which may not change what is written once, or as its owner.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings

    key = audit_key(settings)
    embedded = EmbeddedPostgres(EmbeddedSettings(data_dir=data_dir(settings), pg_bin=settings.pg_bin))
    await asyncio.to_thread(embedded.start)
    try:
        if not await setup.is_ready(embedded.dsn):
            await setup.prepare(embedded.dsn, key=key)
        yield embedded.dsn if as_owner else await setup.server_url(embedded.dsn)
    finally:
        await asyncio.to_thread(embedded.stop)


def data_dir(settings: Settings) -> Path:
    """Return the folder of the embedded database, and of what lies beside it."""
    if settings.data_dir is not None:
        return settings.data_dir
    from gatekeeper.embedded import default_data_dir

    return default_data_dir()


def token_file(settings: Settings) -> Path:
    """Return where the first operator token is, or would be put."""
    return settings.operator_token_file or data_dir(settings) / OPERATOR_TOKEN


def audit_key(settings: Settings) -> AuditKey:
    """Return the key that all processes on this database seal with. Raises `AuditKeyUnusable`.

    Only where nobody named a file may one be made: a secret that is not there yet must not be replaced.
    """
    return audit_keys.load(audit_key_file(settings), create=settings.audit_key_file is None)


def audit_key_file(settings: Settings) -> Path | None:
    """Return where the secret of the audit trail's seals is; None: there is none."""
    if settings.audit_key_file is not None or settings.database_url is not None:
        return settings.audit_key_file
    return data_dir(settings) / AUDIT_KEY
