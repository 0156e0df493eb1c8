"""How does a test get a server process without waiting for its imports? It is forked from one that has made them.

Three quarters of what a start costs are imports, which are the same each time. `multiprocessing` keeps a process that
has made them, once for each worker; servers are forked from it, and are processes like any other: with their own
environment, output, session and end.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

from setproctitle import setproctitle

PRELOADED = ["gatekeeper.cli.app", "gatekeeper.app", "gatekeeper.web.server", "gatekeeper.alerting.webhook", "uvloop"]


class ServerProcess:
    """A process of `gatekeeper serve`, with those parts of `subprocess.Popen` that tests use."""

    def __init__(self, process: Any, stdout: TextIO) -> None:
        """Keep a process that was started, and the end to read of what it prints."""
        self._process = process
        self.stdout = stdout

    @property
    def pid(self) -> int:
        """Its number."""
        return int(self._process.pid)

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended. Raises `TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def start_serving(*arguments: str, log: Path, environment: Mapping[str, str]) -> ServerProcess:
    """Start `gatekeeper serve` with these arguments and this environment; what it logs is added to `log`."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    reading, writing = context.Pipe(duplex=False)
    start = _Start(
        arguments=arguments,
        environment=environment,
        folder=Path.cwd(),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE),
        log=log,
    )
    with reading, writing:
        process = context.Process(target=start.serve, args=(writing,), daemon=True)
        process.start()
        return ServerProcess(process, os.fdopen(os.dup(reading.fileno())))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What a server would have got from its parent, had it been started by it."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    descriptors: tuple[int, int]
    log: Path

    def serve(self, output: Connection) -> None:
        """Be what `python -m gatekeeper serve` is."""
        from gatekeeper.cli import main

        # What was imported is no garbage; looking through it would copy it, too.
        gc.freeze()
        # While the environment is where the process found it, or the title has no place.
        setproctitle(" ".join(["python -m gatekeeper serve", *self.arguments]))
        os.setsid()
        os.chdir(self.folder)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.descriptors)
        os.environ.clear()
        os.environ.update(self.environment)
        with output, self.log.open("a") as error:
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.dup2(error.fileno(), sys.stderr.fileno())
        sys.argv = ["gatekeeper", "serve", *self.arguments]
        main()
