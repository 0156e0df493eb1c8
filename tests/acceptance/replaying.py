"""What do tests of replays share? The command as a process, and prices worked out beside the ledger."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from genai_prices import Usage, calc_price

from tests.conftest import Server

ORGANIZATION = "acme"
NANO = Decimal("1E-9")
HELD_AND_EXPIRED = (
    "SELECT count(*) FILTER (WHERE state = 'HELD'), count(*) FILTER (WHERE state = 'EXPIRED') FROM reservations"
)
BOOKED = "SELECT count(*), sum(cost) FROM executions"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """How a replay ended; `summary` is empty where it printed none."""

    code: int
    summary: Mapping[str, Any]
    errors: str


def command(path: Path, addresses: Iterable[str], *options: str) -> list[str]:
    """Return the command line of a replay."""
    targets = [option for address in addresses for option in ("--target", address)]
    replay = [sys.executable, "-m", "gatekeeper", "replay", str(path), "--organization", ORGANIZATION, "--json"]
    return [*replay, *targets, *options]


def replay(path: Path, addresses: Iterable[str], *options: str) -> Replayed:
    """Replay a file and wait for its end."""
    wide = os.environ | {"COLUMNS": "1000"}
    done = subprocess.run(command(path, addresses, *options), check=False, capture_output=True, text=True, env=wide)
    return Replayed(code=done.returncode, summary=json.loads(done.stdout or "{}"), errors=done.stderr)


def replay_through(server: Server, path: Path, *options: str) -> Replayed:
    """Replay a file through one server."""
    return replay(path, [server.address], *options)


def ask(database_url: str, query: LiteralString) -> tuple[Any, ...]:
    """Return the one row that answers a query."""
    with psycopg.connect(database_url) as connection:
        row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None
    return row


def price_of_ended_calls(path: Path, limit: int | None = None) -> Decimal:
    """Sum up what the calls of the real file that told their end cost, by genai-prices alone."""
    at = datetime.now(UTC)
    with gzip.open(path, "rt") as file:
        calls = islice(csv.DictReader(file), limit)
        return sum((_price(call, at) for call in calls if call["stop"]), Decimal(0))


def _price(call: Mapping[str, str], at: datetime) -> Decimal:
    usage = Usage(
        input_tokens=int(call["input_tokens"]),
        cache_read_tokens=int(call["cached_input_tokens_est"]),
        output_tokens=int(call["output_tokens"]),
    )
    total: Decimal = calc_price(usage, model_ref=call["model"], genai_request_timestamp=at).total_price
    return total.quantize(NANO)
