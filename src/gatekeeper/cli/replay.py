"""The command that sends a file of LLM calls through a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Unpack

import typer

from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, TokenFile, fail
from .output import print_json, print_table

if TYPE_CHECKING:
    from gatekeeper.replay.rows import RowReader
    from gatekeeper.replay.session import Server, Session
    from gatekeeper.replay.source import Source, Unreadable
    from gatekeeper.replay.tally import Tally

    from .connection import Files

TTL_DEFAULT_S: Final = 600.0
TTL_MIN_S: Final = 10.0
TTL_MAX_S: Final = 86_400.0
COMPLAINTS_MAX: Final = 20
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells expect


def replay(  # noqa: PLR0917 - one for each option
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or JSON Lines, plain or gzip.")
    ],
    organization: Organization,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT or unix:PATH of a server; several take turns, call by call.",
            show_default="BILLING_API_URL, or 127.0.0.1:50051",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=COLUMN",
            help="Which column tells a field, as in input_tokens=prompt_tokens; none after FIELD=. Repeatable."
            " Fields: run, agent, agent_type, campaign, department, model, input_tokens (all, cached ones too),"
            " cached_input_tokens, output_tokens, t_s or t_ms, latency_s or latency_ms, stop (empty: no end).",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="The model of rows without one; OLD=NEW renames a model. Repeatable."),
    ] = None,
    speed: Annotated[float, typer.Option(min=0, help="1 is real time, 60 a minute per second, 0 at once.")] = 0,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which the starts of sessions are spread.")] = 3600,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="RPCs under way at once.")] = 64,
    limit: Annotated[int | None, typer.Option(min=0, help="Read this many rows only.")] = None,
    campaigns: Annotated[int, typer.Option(min=0, help="Campaigns to share the sessions among; 0 for none.")] = 4,
    departments: Annotated[int, typer.Option(min=0, help="Departments, likewise.")] = 0,
    ttl: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=TTL_MAX_S, help="Seconds that a hold lasts.", show_default="10 min / speed, at least 10 s"
        ),
    ] = None,
    max_output_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000_000, help="Reserve for so many.", show_default="what the row used"),
    ] = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    wait: Annotated[bool, typer.Option(help="At the end, wait until the holds left open have expired.")] = True,
    as_json: AsJson = False,
) -> None:
    """Send a file of LLM calls through a running server.

    Each call is reserved, held for the time it took, and committed; calls
    without an end are left to expire. Rows that cannot be read are named and
    skipped; the exit code is 1 then, and where a call failed. Denials are no
    failures.

    A session RUN starts at spread * f seconds, where
    f = int(sha256(RUN)[:8 hex], 16) / 0xffffffff, and its calls t_s after that;
    the replay begins with the first of them all. Rows that name no run start at
    t_s. At speed 0 rows go in the order of the file and hold for no time.

    A call belongs to campaign-K, K = 1 + int(sha256(RUN)[:8 hex], 16) %
    campaigns, unless the file has a column for it; its line number stands in
    for a missing RUN. Departments likewise. An agent without a name is "main".
    """
    from gatekeeper.replay.driver import Plan
    from gatekeeper.replay.session import Session

    session = Session(
        plan=Plan(
            organization=organization,
            speed=speed,
            concurrency=concurrency,
            ttl_s=ttl or _ttl_s(speed),
            campaigns=campaigns,
            departments=departments,
            max_output_tokens=max_output_tokens,
        ),
        servers=[
            _server(
                address, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
            )
            for address in target or [""]
        ],
        spread_s=spread,
        wait=wait,
    )
    complaints = Complaints()
    with _opened(file, column or [], model or [], timed=speed > 0) as (source, reader):
        tally = _run(session, source, reader, limit, complaints)
    complaints.close()
    _print(tally, organization, as_json=as_json)
    if tally.interrupted:
        raise typer.Exit(INTERRUPTED)
    if tally.skipped or tally.failed or (wait and tally.open):
        raise typer.Exit(1)


class Complaints:
    """Names the rows that cannot be read on standard error, the first of them and the last of all one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self._untold = 0
        self._told = 0

    def __call__(self, row: Unreadable) -> None:
        """Name a row, or count it."""
        if self._told < COMPLAINTS_MAX or row.final:
            self._told += 1
            typer.echo(f"line {row.line}: {row.reason}", err=True)
        else:
            self._untold += 1

    def close(self) -> None:
        """Tell how many were not named."""
        if self._untold:
            typer.echo(f"and {self._untold:,} more lines that cannot be read", err=True)


@contextmanager
def _opened(
    file: Path, mappings: Sequence[str], models: Sequence[str], *, timed: bool
) -> Iterator[tuple[Source, RowReader]]:
    """Open the file and find its columns; what is wrong with them is a matter of usage."""
    from gatekeeper.replay.columns import find_columns
    from gatekeeper.replay.rows import RowReader
    from gatekeeper.replay.source import LayoutError, open_source

    given = dict(_pair(mapping, "--column") for mapping in mappings)
    renamed = dict(_pair(model, "--model") for model in models if "=" in model)
    stand_in = next((model for model in reversed(models) if "=" not in model), "")
    needed = ["input_tokens", "output_tokens", *([] if stand_in else ["model"]), *(["t_s"] if timed else [])]
    try:
        with open_source(file) as source:
            columns = find_columns(source.header, given, needed)
            yield source, RowReader(columns=columns, model=stand_in, renamed=renamed)
    except LayoutError as error:
        raise typer.BadParameter(str(error)) from None


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        message = f"{option} {text}: it reads NAME=VALUE"
        raise typer.BadParameter(message)
    return name.strip(), value.strip()


def _server(target: str | None, **files: Unpack[Files]) -> Server:
    from gatekeeper.replay.session import Server
    from gatekeeper_client import AsyncClient

    from .connection import connection_to

    connection = connection_to(target, **files)
    return Server(address=connection["target"], connect=partial(AsyncClient, **connection))


def _ttl_s(speed: float) -> float:
    """Return how long holds last at a speed: ten minutes of the file's time, within what servers take."""
    return min(TTL_MAX_S, max(TTL_MIN_S, TTL_DEFAULT_S / speed)) if speed else TTL_MIN_S


def _run(session: Session, source: Source, reader: RowReader, limit: int | None, complaints: Complaints) -> Tally:
    from gatekeeper.replay.progress import Display
    from gatekeeper.replay.session import NotReachableError

    def fraction(tally: Tally) -> float:
        return max(source.fraction(), (tally.calls + tally.skipped) / limit if limit else 0.0)

    rows = islice(reader.rows(source), limit)
    try:
        return asyncio.run(session.run(rows, complaints, Display(fraction)))
    except NotReachableError as error:
        fail(str(error))


def _print(tally: Tally, organization: str, *, as_json: bool) -> None:
    from gatekeeper.replay.summary import CAMPAIGN_COLUMNS, campaigns, figures, to_document

    if as_json:
        print_json(to_document(tally, organization))
        return
    for name, text in figures(tally, organization):
        typer.echo(f"{name:<13} {text}")
    if rows := campaigns(tally):
        print_table(CAMPAIGN_COLUMNS, rows, right=CAMPAIGN_COLUMNS[1:])
