"""Does what a server prints at its start work as pasted, for every transport?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.app import Running
from gatekeeper.cli.next_steps import next_steps
from gatekeeper.settings import load_settings

TOKEN_FILE = Path("/srv/my gatekeeper/operator.token")


def printed(
    *addresses: str, token_file: Path | None = None, secured: bool = True, embedded: bool = True, **settings: Any
) -> str:
    """Return what is printed."""
    running = Running(
        addresses=addresses or ("127.0.0.1:50051",), embedded=embedded, secured=secured, token_file=token_file
    )
    return next_steps(running, load_settings(**settings))


def test_the_operators_token() -> None:
    """Its file is named, and both commands read it from there, whatever its name is."""
    text = printed(token_file=TOKEN_FILE)
    assert text.startswith("gatekeeper serves on 127.0.0.1:50051\n")
    assert "  token       an operator's is in /srv/my gatekeeper/operator.token\n" in text
    assert "--amount 0.10 --token-file '/srv/my gatekeeper/operator.token'\n" in text
    called = "TOKEN=$(cat '/srv/my gatekeeper/operator.token') grpcurl -plaintext -expand-headers"
    assert f"{called} -H 'authorization: Bearer ${{TOKEN}}' -d" in text


def test_the_token_is_no_argument(tmp_path: Path) -> None:
    """Pasted into a shell, the command gives the token by the environment: arguments are shown to every user."""
    (tmp_path / "my token").write_text("gk_hush")
    (tmp_path / "grpcurl").write_text('#!/bin/sh\necho "$TOKEN"\nprintf "%s\\n" "$@"\n')
    (tmp_path / "grpcurl").chmod(0o700)
    text = printed(token_file=tmp_path / "my token")
    command = text[text.index("TOKEN=") :].partition("\n  stop")[0]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    environment_has, *arguments = told.stdout.splitlines()
    assert environment_has == "gk_hush"
    assert "authorization: Bearer ${TOKEN}" in arguments
    assert "gk_hush" not in arguments


def test_tokens_that_are_elsewhere() -> None:
    """Without such a file it is said how one comes to a token."""
    text = printed()
    assert "token create` makes one" in text
    assert "TOKEN=$(cat TOKEN_FILE) grpcurl" in text


def test_a_server_that_asks_nobody() -> None:
    """It says so below its address, and shows no token."""
    text = printed(secured=False, insecure=True)
    assert text.splitlines()[1].startswith("  CAUTION     --insecure: whoever reaches this server may do everything")
    assert "authorization" not in text
    assert "CAUTION" not in printed()


@pytest.mark.parametrize(
    ("address", "settings", "flags", "options"),
    [
        ("127.0.0.1:50051", {}, "-plaintext", ""),
        ("127.0.0.1:7", {}, "-plaintext", " --target 127.0.0.1:7"),
        ("unix:/run/gk.sock", {}, "-plaintext -unix", " --target unix:/run/gk.sock"),
        ("h:7", {"tls_certificate_file": "c"}, "-cacert CA", " --target h:7 --ca-file CA"),
        (
            "h:7",
            {"tls_certificate_file": "c", "tls_client_ca_file": "a"},
            "-cacert CA -cert CERTIFICATE -key KEY",
            " --target h:7 --ca-file CA --certificate-file CERTIFICATE --key-file KEY",
        ),
        ("unix:/run/gk.sock", {"tls_certificate_file": "c"}, "-plaintext -unix", " --target unix:/run/gk.sock"),
    ],
)
def test_transports(address: str, settings: dict[str, Any], flags: str, options: str) -> None:
    """Each has its own flags; Unix sockets speak no TLS."""
    text = printed(address, secured=False, **settings)
    assert f"grpcurl {flags} -d " in text
    assert f"}}' {address.removeprefix('unix:')} \\\n" in text
    assert f"--amount 0.10{options}\n" in text


def test_other_addresses() -> None:
    """Each is named on a line of its own."""
    text = printed("127.0.0.1:1", "unix:/run/gk.sock", embedded=False)
    assert text.endswith("  stop        Ctrl-C\ngatekeeper serves on unix:/run/gk.sock too\n")
    assert "PostgreSQL at the given URL" in text
