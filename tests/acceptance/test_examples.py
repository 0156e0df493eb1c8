"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.replaying import ask
from tests.conftest import Server

EXAMPLES = Path(__file__).parents[2] / "examples"


def simulate(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation of agents."""
    return subprocess.run(
        [sys.executable, EXAMPLES / "simulate_agents.py", *options], check=False, capture_output=True, text=True
    )


def test_the_simulated_agents_spend_and_the_runaway_is_stopped(server: Server, database_url: str) -> None:
    """A run with a budget of its own ends there, and no agent leaves a hold behind."""
    done = simulate("--target", server.address, "--organization", "acme", "--agents", "6", "--seconds", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "runaway is stopped. The total budget of run 'runaway-" in done.stdout
    assert "spring-launch" in done.stdout
    made, types = ask(database_url, "SELECT count(*), count(DISTINCT agent_type) FROM executions")
    assert f"{made} made" in done.stdout
    assert types == 5
    assert ask(database_url, "SELECT count(*) FROM reservations WHERE state = 'HELD'") == (0,)
    assert ask(database_url, "SELECT spent <= cap, reserved FROM balances WHERE scope_kind = 'RUN'") == (True, 0)


def test_without_a_server_the_simulation_says_so_in_one_line() -> None:
    """It does not fill the screen with a traceback."""
    done = simulate("--target", "127.0.0.1:1", "--seconds", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("The gatekeeper does not take part: UNAVAILABLE")
    assert done.stderr.count("\n") == 1
