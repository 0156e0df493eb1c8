"""What does it cost to be watched?

The same program with all off that looks at it or tells of it, and with all on: metrics that are read each second, two
hundred streams of WatchStatus, alerts that go out all the time to a webhook, the breaker and burn rates. Both write a
line into the log for each call, as a server does unless it is told otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.bench import INSECURE, Door, free_port
from benchmarks.crossings import prepare
from benchmarks.looks import Looks
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, measure
from benchmarks.webhooks import webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench, Server
    from benchmarks.plan import Report

OFF, ON = "off", "on"
LONE, FULL = 1, 64  # calls in flight where the latency of one is compared, and where the rate and the slowest are
RATE_MIN: Final = 0.9
P99_MAX: Final = 1.1
# What is compared differs by a few percent: more rounds than usual.
MORE: Final = 2
# About what is answered, so that thresholds are crossed to the end of a measurement.
CALLS_PER_S: Final = 3000

QUIET: Final = {
    "GATEKEEPER_LOG_CALLS": "all",
    "GATEKEEPER_LOG_FORMAT": "json",
    "GATEKEEPER_ALERT_INTERVAL_S": "60",
    "GATEKEEPER_BURN_RATE_INTERVAL_S": "3600",
    "GATEKEEPER_VERIFY_INTERVAL_S": "0",
}
# Limits that nobody reaches: the breaker is to look, not to freeze.
LOOKING: Final = {
    "GATEKEEPER_LOG_CALLS": "all",
    "GATEKEEPER_LOG_FORMAT": "json",
    "GATEKEEPER_BREAKER_PER_MINUTE_MAX": "100000000",
    "GATEKEEPER_BREAKER_TIMES_NORMAL": "10000",
    "GATEKEEPER_BURN_RATE_INTERVAL_S": "5",
}


def eyes(bench: Bench) -> Outcome:
    """Measure Reserve on both, in turns; the other is idle, and nobody looks at it, meanwhile."""
    bench = replace(bench, effort=replace(bench.effort, rounds=MORE * bench.effort.rounds))
    with webhooks() as receiver, contextlib.ExitStack() as stack:
        looks = Looks(webhooks=receiver, http_port=free_port())
        servers = [stack.enter_context(_server(bench, name, looks)) for name in (OFF, ON)]
        rounds = _take_turns(bench, servers, looks)
    failed, told = rounds.failures()
    unseen, why = looks.failures()
    return Outcome(
        scenario="eyes",
        tables=[_table(rounds), looks.table()],
        targets=_targets(rounds),
        figures=[*rounds.figures(), *looks.figures()],
        failed_calls=failed + unseen,
        notes=[note for note in (told, why) if note],
    )


@contextlib.contextmanager
def _server(bench: Bench, name: str, looks: Looks) -> Iterator[Server]:
    """Run one of the two, on a database of its own: alerts go out from whichever server is on it."""
    secret = bench.folder / "webhook.secret"
    secret.touch(0o600)
    secret.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}\n")
    told = {
        "GATEKEEPER_HTTP_LISTEN": f"127.0.0.1:{looks.http_port}",
        "GATEKEEPER_ALERT_WEBHOOK_URL": looks.webhooks.url,
        "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE": str(secret),
    }
    door = Door(settings={**INSECURE.settings, **(LOOKING | told if name == ON else QUIET)})
    with bench.gatekeeper(bench.migrated(f"bench_eyes_{name}"), f"eyes-{name}", door) as server:
        yield replace(server, name=name)


def _take_turns(bench: Bench, servers: Sequence[Server], looks: Looks) -> Rounds:
    rounds = Rounds()
    for number in range(1, bench.effort.rounds + 1):
        for level in (LONE, FULL):
            for server in servers if number % 2 else reversed(servers):
                report = _measured(bench, server, looks, level)
                rounds.add(server.name, level, report)
                bench.say(
                    f"round {number} of {bench.effort.rounds}: {server.name}, {level} in flight: "
                    f"{report.rate:,.0f}/s, p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms"
                )
    return rounds


def _measured(bench: Bench, server: Server, looks: Looks, level: int) -> Report:
    is_watched = server.name == ON
    if level == FULL:
        seconds = bench.effort.warm_up_s + bench.effort.seconds
        prepare(server, seconds * CALLS_PER_S, crossing=is_watched)
    with looks.at(server, level) if is_watched else contextlib.nullcontext():
        return measure(bench, server, server.chains[0], level)


def _table(rounds: Rounds) -> Table:
    header = ["eyes", "/s", "p50 ms", "p99 ms", "÷ off", "p99 ÷ off", "1 in flight: p50 ms", "÷ off"]
    header += ["µs a call: server", "database"]
    return Table(
        title=f"reserves a second at {FULL} in flight, with all that looks and tells off and on; medians",
        header=header,
        rows=[_row(rounds, name) for name in (OFF, ON)],
    )


def _row(rounds: Rounds, name: str) -> list[str]:
    return [
        name,
        f"{rounds.median(name, FULL, 'rate'):,.0f}",
        f"{rounds.median(name, FULL, 'p50_ms'):.2f}",
        f"{rounds.median(name, FULL, 'p99_ms'):.2f}",
        f"{rounds.ratio(name, OFF, FULL):.2f}",
        f"{rounds.ratio(name, OFF, FULL, 'p99_ms'):.2f}",
        f"{rounds.median(name, LONE, 'p50_ms'):.2f}",
        f"{rounds.ratio(name, OFF, LONE, 'p50_ms'):.2f}",
        f"{rounds.watched_us(name, FULL, 0):.0f}",
        f"{rounds.watched_us(name, FULL, 1):.0f}",
    ]


def _targets(rounds: Rounds) -> list[Target]:
    return [
        Target(
            what=f"reserves/s at {FULL} in flight with all eyes on, of off",
            measured=rounds.ratio(ON, OFF, FULL),
            limit=RATE_MIN,
            unit="x",
            at_least=True,
        ),
        Target(
            what=f"reserves, p99 at {FULL} in flight with all eyes on, of off",
            measured=rounds.ratio(ON, OFF, FULL, "p99_ms"),
            limit=P99_MAX,
            unit="x",
        ),
    ]
