"""The commands that make, list and revoke tokens."""

from __future__ import annotations

import asyncio
import pwd
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gatekeeper.domain.access import Role

from .actor import actor
from .options import AsJson, DatabaseUrl, DataDir, PgBin, fail_cleanly, settings_of
from .output import print_json, print_table
from .token_texts import COLUMNS, OPTIONAL, made_text, token_document, token_row, token_text

if TYPE_CHECKING:
    from gatekeeper.domain.budget import Scope
    from gatekeeper.domain.tokens import NewToken, Token
    from gatekeeper.settings import Settings

DAYS = re.compile("([0-9]{1,4})d", re.ASCII)
PAGE = 500


Whose = Annotated[
    str | None,
    typer.Option(
        "--organization", envvar="GATEKEEPER_ORGANIZATION", help='Whose; "" for operators.', show_default=False
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for the audit trail.", show_default=False)]

app = typer.Typer(help="Make, list and revoke tokens.", rich_markup_mode=None)


@app.command()
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.", show_default=False)],
    role: Annotated[str, typer.Option(metavar="|".join(Role).lower(), help="What it may do.", show_default=False)],
    organization: Whose = None,
    campaign: Annotated[str, typer.Option(metavar="ID", help="Only for this one.", show_default=False)] = "",
    agent: Annotated[str, typer.Option(metavar="ID", help="Only for this one.", show_default=False)] = "",
    expires: Annotated[
        str, typer.Option(metavar="90d|DATE", help="After so many days, or as a UTC date begins.", show_default="never")
    ] = "",
    certificate: Annotated[
        str,
        typer.Option(metavar="IDENTITY", help="For whom this client certificate names: spiffe://… or CN=…."),
    ] = "",
    unix_user: Annotated[str, typer.Option(metavar="USER", help="For this user, by a Unix socket.")] = "",
    reason: Reason = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Make a token, which is shown this once, or give a role to a certificate or Unix user.

    The token alone goes to standard output.
    """
    with fail_cleanly():
        from gatekeeper.domain.tokens import NewToken

        meant = _role(role)
        if meant is Role.OPERATOR and _is_from_environment(context, "organization"):
            organization = None
        new = NewToken(
            name=name,
            role=meant,
            organization=organization or "",
            scope=_scope(campaign, agent),
            identity=_identity(certificate, unix_user),
            expires_at=_expiry(expires),
            reason=reason,
        )
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        token, secret = asyncio.run(_create(settings, new))
    if as_json:
        print_json({"token": token_document(token), "secret": secret or None})
        return
    typer.echo(made_text(token), err=bool(secret))
    if secret:
        typer.echo(secret)
        typer.echo("Send it as `authorization: Bearer …`, or in GATEKEEPER_TOKEN. It is not shown again.", err=True)


@app.command("list")
def list_tokens(
    *,
    organization: Whose = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were revoked or have expired.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Show tokens, everyone's unless an organization is named: those in force first, then the newest first."""
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        found = asyncio.run(_list(settings, organization, in_force_only=not all_))
    if as_json:
        print_json({"tokens": [token_document(token) for token in found]})
    elif found:
        print_table(COLUMNS, [token_row(token) for token in found], optional=OPTIONAL)
    else:
        typer.echo("There is no token.")


@app.command()
def revoke(
    *,
    token: Annotated[str, typer.Argument(metavar="NAME-OR-ID", help="Which one.", show_default=False)],
    organization: Whose = None,
    reason: Reason = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """End a token. Every server refuses it within five seconds."""
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        revoked = asyncio.run(_revoke(settings, organization, token, reason))
    if as_json:
        print_json({"token": token_document(revoked)})
    else:
        typer.echo(f"{token_text(revoked)} is revoked. Every server refuses it within five seconds.")


def _is_from_environment(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"


def _role(text: str) -> Role:
    try:
        return Role(text.upper())
    except ValueError:
        message = f"{text!r} is none of {', '.join(Role).lower()}"
        raise typer.BadParameter(message, param_hint="--role") from None


def _scope(campaign: str, agent: str) -> Scope | None:
    from gatekeeper.domain.budget import Scope, ScopeKind

    if campaign and agent:
        message = "give one of --campaign and --agent"
        raise typer.BadParameter(message)
    if campaign:
        return Scope(ScopeKind.CAMPAIGN, campaign)
    return Scope(ScopeKind.AGENT, agent) if agent else None


def _identity(certificate: str, unix_user: str) -> str:
    if certificate and unix_user:
        message = "give one of --certificate and --unix-user"
        raise typer.BadParameter(message)
    if certificate.startswith("uid="):
        message = "takes spiffe://… or CN=…; a user is for --unix-user"
        raise typer.BadParameter(message, param_hint="--certificate")
    if not unix_user or unix_user.isdecimal():
        return f"uid={unix_user}" if unix_user else certificate
    try:
        return f"uid={pwd.getpwnam(unix_user).pw_uid}"
    except (KeyError, ValueError):
        message = f"{unix_user!r} is no user of this machine; give the number of another machine's"
        raise typer.BadParameter(message, param_hint="--unix-user") from None


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    try:
        if days := DAYS.fullmatch(text):
            return datetime.now(UTC) + timedelta(days=int(days[1]))
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is neither days like 90d nor a date like 2027-01-31"
        raise typer.BadParameter(message, param_hint="--expires") from None


async def _create(settings: Settings, new: NewToken) -> tuple[Token, str]:
    from gatekeeper.database import audit_key
    from gatekeeper.services import tokens

    from .database import ledger

    async with ledger(settings) as pool:
        return await tokens.create(pool, new, actor(), audit_key(settings))


async def _list(settings: Settings, organization: str | None, *, in_force_only: bool) -> list[Token]:
    from gatekeeper.services import tokens

    from .database import ledger

    found: list[Token] = []
    async with ledger(settings) as pool:
        page = await tokens.list_tokens(pool, organization, None, PAGE)
        while page:
            found += [token for token in page if token.in_force or not in_force_only]
            is_enough = in_force_only and not page[-1].in_force
            page = [] if is_enough else await tokens.list_tokens(pool, organization, tokens.position(page[-1]), PAGE)
    return found


async def _revoke(settings: Settings, organization: str | None, token: str, reason: str) -> Token:
    from gatekeeper.database import audit_key
    from gatekeeper.services import tokens

    from .database import ledger

    async with ledger(settings) as pool:
        return await tokens.revoke(pool, organization, token, actor(), audit_key(settings), reason=reason)
