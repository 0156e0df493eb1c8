"""How do tests look at a running server? By its pages over HTTP, and by the lines of its log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Server, ServerFactory
from tests.contract.wire import Wire, until

HTTP = re.compile(r"metrics +http://(\S+)/metrics")
SERVES = re.compile(r"serves on (\S+)")


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """What one scrape has: values by name and labels."""

    names: set[str]
    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def of(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, None if it is absent."""
        return self.values.get((name, frozenset(labels.items())))

    def series(self, name: str) -> list[dict[str, str]]:
        """Return the labels of all series of a name."""
        return [dict(labels) for found, labels in self.values if found == name]


def parse(text: str) -> Scrape:
    """Read Prometheus' text format. Names are those of series, also where there are none of them yet."""
    names, values = set(), {}
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
        for sample in family.samples:
            values[sample.name, frozenset(sample.labels.items())] = sample.value
    return Scrape(names=names, values=values)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A server with HTTP, and the file that it logs to."""

    server: Server
    url: str
    log: Path

    def scrape(self) -> Scrape:
        """Read its metrics."""
        return parse(self.get("/metrics").raise_for_status().text)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask for a page."""
        return httpx.get(f"{self.url}{path}", timeout=20, **options)

    def calls(self) -> list[dict[str, Any]]:
        """Return the lines about calls that are written so far."""
        return [event for event in events(self.log) if event["event"] == "call"]

    def logged(self, count: int) -> list[dict[str, Any]]:
        """Return the lines about calls, once there are so many."""
        until(lambda: len(self.calls()) >= count)
        calls = self.calls()
        assert len(calls) == count
        return calls


def events(log: Path) -> list[dict[str, Any]]:
    """Return what a log has, but for a line that is just being written."""
    return [json.loads(line) for line in log.read_text().split("\n")[:-1] if line.startswith("{")]


Watch = Callable[..., Watched]
Connect = Callable[[Watched], Wire]


def watching(start_server: ServerFactory, database_url: str, folder: Path) -> Watch:
    """Return what starts servers on a database, with HTTP on a port of their own."""
    started = 0

    def start(*arguments: str, **environment: str) -> Watched:
        nonlocal started
        server = start_server("--http", "127.0.0.1:0", *arguments, database_url=database_url, **environment)
        found = next(found for line in server.process.stdout if (found := HTTP.search(line)))
        started += 1
        return Watched(server=server, url=f"http://{found[1]}", log=folder / f"server-{started - 1}.log")

    return start
