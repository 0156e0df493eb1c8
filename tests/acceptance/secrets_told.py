"""What does an installation tell while everything goes wrong? All that it printed, logged, answered and wrote down."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from gatekeeper.services import audit_keys
from tests.acceptance.commands import run
from tests.acceptance.rpcs import response_of
from tests.conftest import SERVER_PASSWORD, server_environment
from tests.contract.requests import full_name, valid
from tests.contract.wire import until
from tests.integration.certificates import Authority, Files

TIMEOUT_S = 30
SERVES = "serves on "


@dataclass(kw_only=True)
class Told:
    """What was told, by where; and what must not be in it, by what it is."""

    secrets: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, text: str) -> None:
        """Keep what was told in a place."""
        self.texts[place] = self.texts.get(place, "") + text

    def secret(self, name: str) -> str:
        """Make up a secret that is found wherever it is."""
        return self.secrets.setdefault(name, f"sesame{uuid.uuid4().hex}")


class Process:
    """A `gatekeeper serve` whose every word is kept."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        """Start it; wait until it serves or ends."""
        folder.mkdir()
        self.out, self.err = folder / "stdout", folder / "stderr"
        self.logs = folder / "logs"
        command = [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0", *arguments]
        settings = {"GATEKEEPER_INSECURE": "0", "GATEKEEPER_LOG_LEVEL": "debug"} | environment
        with self.out.open("w") as out, self.err.open("w") as err:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=err, env=server_environment(self.logs, **settings), start_new_session=True
            )
        until(lambda: SERVES in self.out.read_text() or self._process.poll() is not None, TIMEOUT_S)

    @property
    def address(self) -> str:
        """Where it serves."""
        return self.out.read_text().partition(SERVES)[2].split()[0]

    @property
    def command_line(self) -> str:
        """What every user of the machine can read of it."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text().replace("\0", " ")

    def end(self) -> None:
        """Stop it, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(TIMEOUT_S)


@contextmanager
def processes(told: Told, folder: Path) -> Iterator[Callable[..., Process]]:
    """Yield what starts servers; in the end keep what they printed, logged and wrote."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        started.append(Process(folder / f"server-{len(started)}", *arguments, **environment))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.end()
            _keep(told, process)


def _keep(told: Told, process: Process) -> None:
    told.add("standard output", process.out.read_text())
    told.add("log", process.err.read_text())
    for path in process.logs.rglob("*.md"):
        told.add("Markdown log", path.read_text())


class Speaker:
    """Somebody who calls a server, and keeps every error with all that comes with it."""

    def __init__(self, told: Told, channel: grpc.Channel) -> None:
        """Call through a channel."""
        self._told = told
        self._channel = channel

    def call(self, rpc: str, request: Any, token: str = "", **metadata: str) -> Any:
        """Return the answer; None for an error. The request may be bytes."""
        serialized = request if isinstance(request, bytes) else request.SerializeToString()
        named = ({"authorization": f"Bearer {token}"} if token else {}) | metadata
        method: Any = self._channel.unary_unary(full_name(rpc))
        try:
            answer = method(serialized, timeout=TIMEOUT_S, metadata=tuple(named.items()))
        except grpc.RpcError as error:
            failed: Any = error
            self._told.add("errors on the wire", f"{rpc} {failed.code().name} {failed.details()}\n")
            self._told.add("errors on the wire", f"{[*failed.initial_metadata(), *failed.trailing_metadata()]}\n")
            return None
        return response_of(rpc).FromString(answer)


def command(told: Told, place: str, *arguments: str, **environment: str) -> None:
    """Run a command; keep what it prints."""
    done = run(*arguments, **environment)
    told.add(place, f"{' '.join(arguments[:1])}: {done.out}{done.err}\n")


def audit_key(told: Told, path: Path) -> None:
    """Make an audit key, and keep every form that it has."""
    secret = audit_keys.load(path, create=True).secret
    told.secrets["audit key"] = path.read_text().strip()
    told.secrets["audit key in hex"] = secret.hex()


def tls_files(told: Told, folder: Path) -> tuple[Authority, Files]:
    """Make a server's certificate and key; keep a line of the key."""
    authority = Authority()
    files = authority.write(folder, "localhost")
    told.secrets[f"TLS key {folder.name}"] = files.key.read_text().splitlines()[1]
    return authority, files


def unusable_urls(told: Told, url: str) -> list[str]:
    """Return connection strings with a password that is wrong, or that makes them something else."""
    password = told.secret("wrong password")
    return [
        url.replace(SERVER_PASSWORD, password),
        f"postgresq://u:{password}@h/d",
        f"password={password} port=x",
        f"postgresql://u:{password}/x@127.0.0.1:1/d",
        f"postgresql://u:x@{password}@127.0.0.1:1/d",
        password,
    ]


def spoilt_requests(told: Told) -> Iterator[tuple[str, Any]]:
    """Yield requests that are refused, each with a secret in its body."""
    label, task, reason = (told.secret(name) for name in ("label", "task", "reason"))
    for wrong in ("\n", "x" * 600):
        reserve = valid("Reserve")
        reserve.labels["key"] = label + wrong
        reserve.task = task + wrong
        yield "Reserve", reserve
        commit = valid("Commit")
        commit.labels["key"] = label + wrong
        yield "Commit", commit
        cap = valid("SetCap")
        cap.reason = reason + wrong
        cap.etag = told.secret("etag") + wrong
        yield "SetCap", cap
        yield "RevokeToken", type(valid("RevokeToken"))(organization="o", token="n", reason=reason + wrong)
    listed = valid("ListExecutions")
    listed.period, listed.page_token = told.secret("period"), told.secret("page token")
    yield "ListExecutions", listed
    for bad in (b"\xff", b"\x00"):
        text = task.encode() + bad
        yield "Reserve", valid("Reserve").SerializeToString() + b"\x42" + bytes([len(text)]) + text
    yield "Reserve", valid("Reserve").SerializeToString() + b"\xfa\x07" + bytes([len(task)]) + task.encode()
