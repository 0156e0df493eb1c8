"""What does it cost to know who calls?

The same program on the same database, asking nobody, or for a token, in the clear or over TLS, or for a certificate.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.bench import INSECURE, ORGANIZATION, Door, said
from benchmarks.certificates import certificates
from benchmarks.plan import Credentials
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, take_turns

if TYPE_CHECKING:
    from benchmarks.bench import Bench

NOBODY_ASKED, TOKENS, TLS, MUTUAL_TLS = "insecure", "tokens", "tokens over TLS", "mutual TLS"
MODES: Final = (NOBODY_ASKED, TOKENS, TLS, MUTUAL_TLS)
LONE, FULL = 1, 64  # calls in flight where the latency is compared, and where the rate is
RATE_MIN: Final = 0.9
P50_MAX: Final = 1.1
AGENT: Final = "bench-agent"
# What is compared differs by a few percent: more and shorter rounds than usual, so that noise hits all alike.
SHORTER: Final = 2


def access(bench: Bench) -> Outcome:
    """Measure Reserve on one server of each kind, in turns; the others are idle meanwhile."""
    short = replace(bench.effort, rounds=SHORTER * bench.effort.rounds, seconds=bench.effort.seconds / SHORTER)
    url = bench.migrated("bench_access")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(bench.gatekeeper(url, name, door)) for name, door in _doors(bench, url).items()]
        rounds = take_turns(replace(bench, effort=short), servers, (LONE, FULL), 0)
    failed, told = rounds.failures()
    return Outcome(
        scenario="access",
        tables=[_table(rounds)],
        targets=_targets(rounds),
        figures=rounds.figures(),
        failed_calls=failed,
        notes=[told] if told else [],
    )


def _doors(bench: Bench, url: str) -> dict[str, Door]:
    place = ("--database-url", url)
    operator = Credentials(token=said("token", "create", "bench", "--role", "operator", *place).strip())
    agents = ("--role", "agent", "--organization", ORGANIZATION, *place)
    agent = Credentials(token=said("token", "create", AGENT, *agents).strip())
    said("token", "create", f"{AGENT}-certificate", "--certificate", f"CN={AGENT}", *agents)

    files = certificates(bench.folder, AGENT)
    tls = {"GATEKEEPER_TLS_CERTIFICATE_FILE": files.server, "GATEKEEPER_TLS_KEY_FILE": files.server_key}
    mutual = tls | {"GATEKEEPER_TLS_CLIENT_CA_FILE": files.ca}
    certified = Credentials(ca_file=files.ca, certificate_file=files.agent, key_file=files.agent_key)
    return {
        NOBODY_ASKED: INSECURE,
        TOKENS: Door(settings={}, agent=agent, operator=operator),
        TLS: Door(settings=tls, agent=replace(agent, ca_file=files.ca), operator=replace(operator, ca_file=files.ca)),
        MUTUAL_TLS: Door(settings=mutual, agent=certified, operator=replace(certified, token=operator.token)),
    }


def _table(rounds: Rounds) -> Table:
    header = ["server", "/s", "p50 ms", "p99 ms", "÷ insecure", "1 in flight: p50 ms", "÷ insecure"]
    header += ["µs a call: server", "client"]
    return Table(
        title=f"reserves a second at {FULL} in flight, by what callers are asked for; medians",
        header=header,
        rows=[_row(rounds, mode) for mode in MODES],
    )


def _row(rounds: Rounds, mode: str) -> list[str]:
    return [
        mode,
        f"{rounds.median(mode, FULL, 'rate'):,.0f}",
        f"{rounds.median(mode, FULL, 'p50_ms'):.2f}",
        f"{rounds.median(mode, FULL, 'p99_ms'):.2f}",
        f"{rounds.ratio(mode, NOBODY_ASKED, FULL):.2f}",
        f"{rounds.median(mode, LONE, 'p50_ms'):.2f}",
        f"{rounds.ratio(mode, NOBODY_ASKED, LONE, 'p50_ms'):.2f}",
        f"{rounds.watched_us(mode, FULL, 0):.0f}",
        f"{rounds.median(mode, FULL, 'client_us_per_call'):.0f}",
    ]


def _targets(rounds: Rounds) -> list[Target]:
    return [
        Target(
            what=f"reserves/s at {FULL} in flight with tokens, of insecure",
            measured=rounds.ratio(TOKENS, NOBODY_ASKED, FULL),
            limit=RATE_MIN,
            unit="x",
            at_least=True,
        ),
        Target(
            what=f"reserves, p50 at {LONE} in flight with tokens, of insecure",
            measured=rounds.ratio(TOKENS, NOBODY_ASKED, LONE, "p50_ms"),
            limit=P50_MAX,
            unit="x",
        ),
    ]
