"""Does a caller that calls far too often slow the others down?"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.bench import Bench, Door, Server, said
from benchmarks.calls import CREATE_TOKEN_PATH, agent_token
from benchmarks.plan import Caller, Credentials, Pace, Report, cpu_s, processes
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, report_of
from benchmarks.unary import call
from gatekeeper_client.v1 import admin_service_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE, BESIDE, LOUD = "alone", "beside", "loud"
OPEN_LOOP: Final = 0  # in the place of calls in flight: as many as there are
CALMS: Final = 20  # organizations with one calm caller each
CALLS_PER_S_MAX: Final = 10  # so that fifty times as many are a part of what the server can answer
CALM_PER_S: Final = 7
LOUD_TIMES: Final = 50
SENT_TIMES_MIN: Final = 49
P99_MAX: Final = 1.25
# Calm callers call seldom, so a p99 takes much longer rounds than usual: noise must not be its whole slowest hundredth.
LONGER: Final = 6
MORE: Final = 1
FIGURES: Final = ("p50_ms", "p99_ms", "max_ms", "late_p99_ms")
LEAD_S: Final = 1.5  # for processes to start and connect


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was measured in all rounds: reports by who calls, and the share of a core that the server took."""

    rounds: Rounds = field(default_factory=Rounds)
    cores: dict[str, list[float]] = field(default_factory=lambda: {ALONE: [], BESIDE: []})

    def ratio_p99(self) -> float:
        """Return the median of the rounds' ratios."""
        return self.rounds.ratio(BESIDE, ALONE, OPEN_LOOP, "p99_ms")

    def ratios_p99(self) -> str:
        """Return the rounds' ratios, the least first, to be shown."""
        pairs = zip(*(self.rounds.reports[name, OPEN_LOOP] for name in (BESIDE, ALONE)), strict=True)
        ratios = sorted(beside.p99_ms / alone.p99_ms for beside, alone in pairs if alone.p99_ms)
        return "p99 beside ÷ alone, each round: " + ", ".join(f"{ratio:.2f}" for ratio in ratios)

    def refusal_us(self) -> float:
        """Return the server's processor time for a loud call, nearly all of which are refused."""
        more = [beside - alone for alone, beside in zip(self.cores[ALONE], self.cores[BESIDE], strict=True)]
        return statistics.median(more) * 1e6 / self.rounds.median(LOUD, OPEN_LOOP, "offered")


def isolation(bench: Bench) -> Outcome:
    """Measure calm callers alone and beside a loud one, in turns."""
    url = bench.migrated("bench_isolation")
    token = said("token", "create", "bench", "--role", "operator", "--database-url", url).strip()
    operator = Credentials(token=token)
    door = Door(settings={"GATEKEEPER_CALLS_PER_S_MAX": str(CALLS_PER_S_MAX)}, operator=operator)
    with bench.gatekeeper(url, "isolation", door) as server:
        calm = tuple(_caller(server, operator, f"calm-{number}") for number in range(CALMS))
        seen = _take_turns(bench, server, calm, _caller(server, operator, LOUD))
    failed, told = seen.rounds.failures()
    slowed = sum(report.refused for name in (ALONE, BESIDE) for report in seen.rounds.reports[name, OPEN_LOOP])
    return Outcome(
        scenario="isolation",
        tables=[_calm_table(seen), _loud_table(seen.rounds, seen.refusal_us())],
        targets=_targets(seen),
        figures=seen.rounds.figures(),
        failed_calls=failed + slowed,
        notes=[seen.ratios_p99(), *([told] if told else [])],
    )


def _caller(server: Server, operator: Credentials, organization: str) -> Caller:
    time.sleep(1 / CALLS_PER_S_MAX)  # the operator has the same rate
    answer = call(server.port, CREATE_TOKEN_PATH, agent_token(organization), operator)
    return Caller(organization=organization, token=admin_service_pb2.CreateTokenResponse.FromString(answer).secret)


def _take_turns(bench: Bench, server: Server, calm: tuple[Caller, ...], loud: Caller) -> Seen:
    seen = Seen()
    last = MORE * bench.effort.rounds
    for number in range(1, last + 1):
        for name in (ALONE, BESIDE) if number % 2 else (BESIDE, ALONE):
            paces = _paces(bench, server, calm, loud if name == BESIDE else None)
            (report, *others), cores = _measured(server, paces)
            seen.rounds.add(name, OPEN_LOOP, report)
            seen.cores[name].append(cores)
            for other in others:
                seen.rounds.add(LOUD, OPEN_LOOP, other)
            bench.say(
                f"round {number} of {last}: {name}: "
                f"p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms of {report.admitted:,}"
            )
    return seen


def _paces(bench: Bench, server: Server, calm: tuple[Caller, ...], loud: Caller | None) -> list[Pace]:
    begin_s, seconds = time.monotonic() + LEAD_S, LONGER * bench.effort.seconds
    warm_up_s = bench.effort.warm_up_s
    paces = [
        Pace(
            port=server.port,
            callers=calm,
            calls_per_s=CALM_PER_S,
            begin_s=begin_s,
            warm_up_s=warm_up_s,
            seconds=seconds,
        )
    ]
    if loud is not None:
        loud_per_s = LOUD_TIMES * CALLS_PER_S_MAX
        paces.append(
            Pace(
                port=server.port,
                callers=(loud,),
                calls_per_s=loud_per_s,
                begin_s=begin_s,
                warm_up_s=warm_up_s,
                seconds=seconds,
                even=True,
            )
        )
    return paces


def _measured(server: Server, paces: Sequence[Pace]) -> tuple[list[Report], float]:
    """Let all call at the same time, each pace from a process of its own; return the server's share of a core too."""
    group = processes(server.pid)
    before_s = cpu_s(group)
    with ThreadPoolExecutor(len(paces)) as pool:
        reports = list(pool.map(lambda pace: report_of("benchmarks.pace", pace), paces))
    return reports, (cpu_s(group) - before_s) / (paces[0].warm_up_s + paces[0].seconds)


def _calm_table(seen: Seen) -> Table:
    rows = []
    for name in (ALONE, BESIDE):
        figures = [f"{seen.rounds.median(name, OPEN_LOOP, figure):.2f}" for figure in FIGURES]
        cores = statistics.median(seen.cores[name])
        rows.append([name, f"{seen.rounds.median(name, OPEN_LOOP, 'rate'):,.0f}", *figures, f"{cores:.2f}"])
    p50 = seen.rounds.ratio(BESIDE, ALONE, OPEN_LOOP, "p50_ms")
    rows.append(["beside ÷ alone", "", f"{p50:.2f}", f"{seen.ratio_p99():.2f}", "", "", ""])
    title = (
        f"reserves of {CALMS} calm callers of as many organizations, {CALM_PER_S} a second each, "
        f"alone and beside one at {LOUD_TIMES} times its rate; medians"
    )
    header = ["callers", "/s", "p50 ms", "p99 ms", "max ms", "sent late, p99 ms", "server's cores"]
    return Table(title=title, header=header, rows=rows)


def _loud_table(rounds: Rounds, refusal_us: float) -> Table:
    offered, admitted = (rounds.median(LOUD, OPEN_LOOP, figure) for figure in ("offered", "rate"))
    reports = rounds.reports[LOUD, OPEN_LOOP]
    refused = statistics.median(report.refused / max(report.calls, 1) for report in reports)
    row = [
        f"{CALLS_PER_S_MAX}",
        f"{offered:,.0f}",
        f"{admitted:,.0f}",
        f"{refused:.1%}",
        f"{rounds.median(LOUD, OPEN_LOOP, 'refused_p50_ms'):.2f}",
        f"{rounds.median(LOUD, OPEN_LOOP, 'refused_p99_ms'):.2f}",
        f"{refusal_us:.0f}",
    ]
    header = ["its rate /s", "sent /s", "admitted /s", "refused", "refusal p50 ms", "p99 ms", "server µs a call"]
    return Table(title="the loud caller", header=header, rows=[row])


def _targets(seen: Seen) -> list[Target]:
    return [
        Target(
            what=f"p99 of calm callers beside one at {LOUD_TIMES} times its rate, of alone",
            measured=seen.ratio_p99(),
            limit=P99_MAX,
            unit="x",
        ),
        Target(
            what="what the loud caller sends, of its rate",
            measured=seen.rounds.median(LOUD, OPEN_LOOP, "offered") / CALLS_PER_S_MAX,
            limit=SENT_TIMES_MIN,
            unit="x",
            at_least=True,
        ),
    ]
