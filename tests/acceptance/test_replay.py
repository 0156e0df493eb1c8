"""A file of calls goes through a running server."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from gatekeeper_client import Client
from tests.acceptance.replaying import (
    BOOKED,
    HELD_AND_EXPIRED,
    ask,
    command,
    price_of_ended_calls,
    replay,
    replay_through,
)
from tests.conftest import Server, ServerFactory

HEADER = (
    "trace_id,agent_id,subagent_type,seq,t_s,model,input_tokens,output_tokens,cached_input_tokens_est,api_time_s,stop"
)
CALLS = [
    "s1,,,0,0,claude-opus-4-6,1000,100,0,1.5,end_turn",
    "s1,agent_001,Explore,1,2,claude-opus-4-6,3000,10,2000,0.5,tool_use",
    "s2,,,0,0,claude-haiku-4-5-20251001,500,50,0,,",
    "s2,,,1,9,claude-haiku-4-5-20251001,800,5,512,2,end_turn",
]
# By the list: Opus 4.6 takes 5 USD for a million input tokens, 0.50 cached, 25 output; Haiku 4.5 takes 1, 0.10 and 5.
SPENT = Decimal("0.0075") + Decimal("0.00625") + Decimal("0.0003642")


def write(tmp_path: Path, *lines: str) -> Path:
    """Write a file of calls."""
    path = tmp_path / "calls.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_calls_are_committed_and_those_without_an_end_expire(server: Server, tmp_path: Path, database_url: str) -> None:
    """The summary, the ledger and the price list say the same."""
    ended = replay_through(server, write(tmp_path, HEADER, *CALLS), "--ttl", "1")
    assert (ended.code, ended.errors) == (0, "")
    counted = {
        name: ended.summary[name] for name in ("calls", "admitted", "committed", "left_open", "expired", "still_held")
    }
    assert counted == {"calls": 4, "admitted": 4, "committed": 3, "left_open": 1, "expired": 1, "still_held": 0}
    assert Decimal(ended.summary["spent"]) == SPENT
    assert ended.summary["reserved"] == "0.00"
    assert sum(Decimal(campaign["spent"]) for campaign in ended.summary["campaigns"]) == SPENT
    assert ask(database_url, BOOKED) == (3, SPENT)
    assert ask(database_url, HELD_AND_EXPIRED) == (0, 1)
    assert ask(database_url, "SELECT agent, agent_type, run, latency::text FROM executions WHERE agent <> 'main'") == (
        "agent_001",
        "Explore",
        "s1",
        "00:00:00.5",
    )


def test_rows_that_cannot_be_read_are_named_and_skipped(server: Server, tmp_path: Path, database_url: str) -> None:
    """Their lines and reasons are on standard error, the first twenty one by one, and the exit code is 1."""
    bad = [
        "s1,,,0,0,claude-opus-4-6,-5,1,0,1,stop",
        "s1,,,0,0,,5,1,0,1,stop",
        "s1,,,0,0,claude-opus-4-6,nan,1,0,1,stop",
    ]
    more = ["s1,,,0,0,claude-opus-4-6,5,1,9,1,stop"] * 20
    ended = replay_through(server, write(tmp_path, HEADER, CALLS[0], *bad, CALLS[1], *more))
    assert ended.code == 1
    assert (ended.summary["calls"], ended.summary["skipped"]) == (2, 23)
    named = ended.errors.splitlines()
    assert named[0].startswith("line 3: input_tokens '-5'")
    assert named[1].startswith("line 4: model is missing")
    assert named[2].startswith("line 5: input_tokens 'nan'")
    assert named[3].startswith("line 7: cached_input_tokens 9 is more than input_tokens 5")
    assert len(named) == 21
    assert named[20].startswith("and 3 more lines")
    assert ask(database_url, BOOKED)[0] == 2


def test_packed_files_and_json_lines_cost_the_same(server: Server, tmp_path: Path) -> None:
    """The form of a file does not matter."""
    names = HEADER.split(",")
    packed = tmp_path / "calls.dat"
    packed.write_bytes(gzip.compress("\n".join([HEADER, *CALLS]).encode()))
    objects = write(tmp_path, *(json.dumps(dict(zip(names, call.split(","), strict=True))) for call in CALLS))
    spent = [replay_through(server, path, "--no-wait").summary["spent"] for path in (packed, objects)]
    assert list(map(Decimal, spent)) == [SPENT, SPENT]


def test_a_cut_file_is_replayed_up_to_the_cut(server: Server, tmp_path: Path) -> None:
    """It says where, and the exit code is 1."""
    content = gzip.compress(
        "\n".join([HEADER, *(CALLS[0].replace("1000", str(n * 7919)) for n in range(500))]).encode()
    )
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(content[: len(content) // 2])
    ended = replay_through(server, path)
    assert ended.code == 1
    assert ended.summary["calls"] > 0
    assert f"line {ended.summary['calls'] + 2}: the file is damaged from here on" in ended.errors


def test_other_names_are_mapped(server: Server, tmp_path: Path) -> None:
    """A file without models takes the one that is given."""
    path = write(tmp_path, "who,in,out", "a,1000,100")
    options = ["--column", "input_tokens=in", "--column", "output_tokens=out", "--column", "run=who"]
    ended = replay_through(server, path, *options, "--model", "claude-opus-4-6")
    assert ended.code == 0
    assert Decimal(ended.summary["spent"]) == Decimal("0.0075")
    assert [campaign["campaign"] for campaign in ended.summary["campaigns"]] == ["campaign-3"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "--column input_tokens=NAME"),
        (["--column", "input_tokens=in", "--column", "output_tokens=out"], "--model"),
        (["--column", "input_tokens=nowhere"], "there is no such column"),
        (["--column", "tokens=in"], "there is no such field"),
        (["--column", "in"], "NAME=VALUE"),
        (["--target", "https://example.com/x"], "not of the form"),
        (["--concurrency", "0"], "--concurrency"),
    ],
)
def test_a_mistake_in_usage_is_told_before_any_call(tmp_path: Path, options: list[str], problem: str) -> None:
    """The exit code is 2, and no server is needed to find out."""
    ended = replay(write(tmp_path, "in,out", "1,2"), ["127.0.0.1:1"], *options)
    assert ended.code == 2
    assert problem in ended.errors


def test_a_server_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    """No call is counted as failed, because none was sent."""
    ended = replay(write(tmp_path, HEADER, *CALLS), ["127.0.0.1:1"])
    assert (ended.code, ended.summary) == (1, {})
    assert ended.errors.startswith("gatekeeper: 127.0.0.1:1 does not take calls")
    assert ended.errors.count("\n") == 1


def test_denials_are_no_failures(server: Server, tmp_path: Path) -> None:
    """They are counted by reason."""
    with Client(server.address) as client:
        client.set_cap("acme", cap="0.008")
    unpriced = CALLS[0].replace("claude-opus-4-6", "my-own-model")
    path = write(tmp_path, HEADER, CALLS[0], CALLS[1], unpriced)
    ended = replay_through(server, path, "--concurrency", "1")
    assert ended.code == 0
    assert ended.summary["denied_by_reason"] == {"OUT_OF_BUDGET": 1, "UNPRICED_MODEL": 1}
    assert Decimal(ended.summary["spent"]) == Decimal("0.0075")


def test_a_reserve_may_ask_for_less_than_is_used(server: Server, tmp_path: Path) -> None:
    """What goes beyond is overage: 100 output tokens cost 0.0025, 10 were reserved."""
    ended = replay_through(server, write(tmp_path, HEADER, CALLS[0]), "--max-output-tokens", "10")
    assert Decimal(ended.summary["overage"]) == Decimal("0.00225")
    assert Decimal(ended.summary["spent"]) == Decimal("0.0075")


def test_speed_compresses_the_time_of_the_file(server: Server, tmp_path: Path, database_url: str) -> None:
    """Of 9 s and a call of 2 s, 1.1 s remain at ten times the speed; each hold lasts as long as its call."""
    path = write(tmp_path, HEADER, CALLS[3], CALLS[2], CALLS[0])
    ended = replay_through(server, path, "--speed", "10", "--spread", "0", "--no-wait")
    assert ended.code == 0
    assert 1.05 < ended.summary["duration_s"] < 5
    first, second, longest_s = ask(
        database_url,
        "SELECT (array_agg(run ORDER BY created_at))[1], (array_agg(run ORDER BY created_at))[3],"
        " extract(epoch FROM max(ended_at - created_at)) FROM reservations",
    )
    assert {first, second} <= {"s1", "s2"}
    assert second == "s2"
    assert longest_s > 0.19


def test_an_interrupted_replay_gives_back_what_it_holds(server: Server, tmp_path: Path, database_url: str) -> None:
    """After Ctrl-C it prints what was done until then, and exits as shells expect."""
    path = write(tmp_path, HEADER, *(CALLS[0].replace(",0,0,", f",0,{n},").replace("1.5", "60") for n in range(60)))
    replaying = command(path, [server.address], "--speed", "2", "--spread", "0")
    with subprocess.Popen(replaying, stdout=subprocess.PIPE, text=True) as process:
        while not ask(database_url, HELD_AND_EXPIRED)[0]:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    summary = json.loads(output)
    assert process.returncode == 130
    assert summary["interrupted"]
    assert 0 < summary["released"] == summary["calls"] < 60
    assert ask(database_url, HELD_AND_EXPIRED) == (0, 0)


def test_calls_that_meet_a_dead_server_are_counted(server: Server, tmp_path: Path, database_url: str) -> None:
    """By reason, and with the holds whose fate is not known; the exit code is 1."""
    path = write(tmp_path, HEADER, *[CALLS[0].replace(",0,0,", f",0,{second},") for second in (0, 0, 0, 40, 40)])
    replaying = command(path, [server.address], "--speed", "10", "--ttl", "1")
    with subprocess.Popen(replaying, stdout=subprocess.PIPE, text=True) as process:
        while ask(database_url, BOOKED)[0] < 3:
            time.sleep(0.05)
        server.kill()
        output, _ = process.communicate(timeout=60)
    summary = json.loads(output)
    assert process.returncode == 1
    assert (summary["committed"], summary["unknown"]) == (3, 2)
    assert summary["failed_by_reason"] == {"list UNAVAILABLE": 1, "reserve UNAVAILABLE": 2}


def test_servers_take_turns(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Two servers on one database each get half of the calls."""
    servers = [start_server(database_url=database_url) for _ in range(2)]
    path = write(tmp_path, HEADER, *[CALLS[0]] * 10)
    ended = replay(path, [server.address for server in servers])
    assert ended.summary["committed"] == 10
    assert ask(
        database_url, "SELECT array_agg(calls) FROM (SELECT count(*) AS calls FROM reservations GROUP BY owner) AS x"
    ) == ([5, 5],)


def test_the_first_real_calls_cost_what_the_price_list_says(server: Server, trace: Path, database_url: str) -> None:
    """To the last nano, in the ledger and in the summary, and no hold is left."""
    ended = replay_through(server, trace, "--limit", "2000")
    expected = price_of_ended_calls(trace, 2000)
    assert ended.code == 0
    assert Decimal(ended.summary["spent"]) == expected
    assert ask(database_url, BOOKED) == (2000, expected)
    assert ask(database_url, HELD_AND_EXPIRED) == (0, 0)
