"""Where a token comes from, what is none, and which files make a connection a TLS one."""

from __future__ import annotations

import asyncio
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme

from gatekeeper_client import AsyncClient, Client, Unauthenticated, Unavailable, tls_credentials
from gatekeeper_client.credentials import TOKEN_LENGTH_MAX, token_of
from gatekeeper_client.v1.gatekeeper_service_pb2 import GetStatusResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "gk_s3cret"  # noqa: S105 - of nobody


class Listener(grpc.GenericRpcHandler):
    """A server that keeps what callers show, and lets in those who show the right token."""

    def __init__(self) -> None:
        """Nobody has called yet."""
        self.shown: list[Any] = []

    def service(self, _details: object) -> Any:
        """Answer every RPC alike."""
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        """Keep what the caller shows."""
        shown = dict(context.invocation_metadata()).get("authorization")
        self.shown.append((shown, context.auth_context().get("x509_common_name")))
        if shown == "Bearer wrong":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "The token is none of this installation.")
        return GetStatusResponse(can_execute=True).SerializeToString()


@pytest.fixture
def listener() -> Listener:
    """Return a listener."""
    return Listener()


@pytest.fixture
def server(listener: Listener) -> Iterator[grpc.Server]:
    """Return a server without an address, which stops with the test."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((listener,))
        yield server
        server.stop(None).wait()


@pytest.fixture
def plain(server: grpc.Server) -> str:
    """Serve without TLS; return where."""
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"127.0.0.1:{port}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of TLS: ca.pem, own.pem and own.key; other.pem is of another authority."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", common_name="agent-7")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    return tmp_path


@pytest.fixture
def mutual(server: grpc.Server, folder: Path) -> str:
    """Serve those who show a certificate; return where."""
    pair = ((folder / "own.key").read_bytes(), (folder / "own.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (folder / "ca.pem").read_bytes(), require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    return f"localhost:{port}"


def test_a_token_is_given_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument before GATEKEEPER_TOKEN before the file; an empty argument means none."""
    (tmp_path / "token").write_text(f"{SECRET}-of-file\n")
    assert token_of(None) == ""
    monkeypatch.setenv("GATEKEEPER_TOKEN_FILE", str(tmp_path / "token"))
    assert token_of(None) == f"{SECRET}-of-file"
    monkeypatch.setenv("GATEKEEPER_TOKEN", SECRET)
    assert token_of(None) == SECRET
    assert token_of("other") == "other"
    assert token_of("") == ""


@pytest.mark.parametrize("odd", [" ", "\n", "\x00", "\x7f", "\u00df", "\u2028", "x" * TOKEN_LENGTH_MAX])
def test_what_is_no_token_is_refused_unseen(odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes from; gRPC itself would repeat it in its message."""
    (tmp_path / "token").write_text(f"{SECRET}{odd}-", encoding="utf-8")
    monkeypatch.setenv("GATEKEEPER_TOKEN_FILE", str(tmp_path / "token"))
    for token in (f"{SECRET}{odd}-", None):
        with pytest.raises(ValueError, match=r"^(the token|token file .*) (has white space|is longer)") as caught:
            Client("127.0.0.1:1", token=token)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_file_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and what is wrong with it."""
    monkeypatch.setenv("GATEKEEPER_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ValueError, match="token: No such file or directory"):
        Client("127.0.0.1:1")
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="token is empty"):
        Client("127.0.0.1:1")
    monkeypatch.setenv("GATEKEEPER_TOKEN_FILE", str(tmp_path))
    with pytest.raises(ValueError, match="Is a directory"):
        Client("127.0.0.1:1")


def test_both_faces_show_the_token_of_the_environment(
    plain: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program need not know that there are tokens."""
    monkeypatch.setenv("GATEKEEPER_TOKEN", SECRET)
    with Client(plain) as client:
        assert client.get_status("acme").can_execute
    assert asyncio.run(_status(plain)).can_execute
    assert listener.shown == [(f"Bearer {SECRET}", None)] * 2


def test_a_channel_of_ones_own_gets_no_token_by_itself(
    plain: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows where it leads: its maker says which token it may see."""
    monkeypatch.setenv("GATEKEEPER_TOKEN", SECRET)
    with grpc.insecure_channel(plain) as channel:
        Client(channel=channel).get_status("acme")
        Client(channel=channel, token="other").get_status("acme")
    assert listener.shown == [(None, None), ("Bearer other", None)]


def test_a_refused_caller_asks_once(plain: str, listener: Listener) -> None:
    """No retry makes a wrong token right, and no error shows it."""
    with Client(plain, token="wrong") as client, pytest.raises(Unauthenticated) as caught:
        client.get_status("acme")
    assert len(listener.shown) == 1
    assert "Bearer" not in f"{caught.value!r} {caught.value.__cause__!r} {client!r}"


@pytest.mark.parametrize("name", ["https://{}", "{}"])
def test_tls_by_the_environment(
    name: str, mutual: str, listener: Listener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is known by its authority, the program by its certificate; both faces speak TLS, shown a token too."""
    monkeypatch.setenv("GATEKEEPER_CA_FILE", str(folder / "ca.pem"))
    monkeypatch.setenv("GATEKEEPER_CERTIFICATE_FILE", str(folder / "own.pem"))
    monkeypatch.setenv("GATEKEEPER_KEY_FILE", str(folder / "own.key"))
    monkeypatch.setenv("GATEKEEPER_TOKEN", SECRET)
    with Client(name.format(mutual)) as client:
        client.get_status("acme")
    asyncio.run(_status(name.format(mutual)))
    assert listener.shown == [(f"Bearer {SECRET}", [b"agent-7"])] * 2


def test_tls_by_the_program(mutual: str, listener: Listener, folder: Path) -> None:
    """Credentials from files; those that another authority made are not believed."""
    files = {"certificate_file": folder / "own.pem", "key_file": folder / "own.key"}
    with Client(mutual, credentials=tls_credentials(ca_file=folder / "ca.pem", **files)) as client:
        client.get_status("acme")
    other = tls_credentials(ca_file=folder / "other.pem", **files)
    with Client(mutual, credentials=other, timeout_s=5) as client, pytest.raises(Unavailable):
        client.get_status("acme")
    assert listener.shown == [(None, [b"agent-7"])]


def test_a_unix_socket_is_no_place_for_tls(
    server: grpc.Server, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says of TLS is for the servers that are reached over a network."""
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    monkeypatch.setenv("GATEKEEPER_CA_FILE", "/nowhere")
    with Client(f"unix:{tmp_path}/s", token=SECRET) as client:
        client.get_status("acme")
    assert listener.shown == [(f"Bearer {SECRET}", None)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"ca_file": "missing"}, "TLS file .*missing: No such file"),
        ({"ca_file": "own.key"}, "CA file .*own.key: NO_CERTIFICATE"),
        ({"certificate_file": "own.pem"}, "needs a key file"),
        ({"key_file": "own.key"}, "needs a key file"),
        ({"certificate_file": "ca.pem", "key_file": "own.key"}, "ca.pem and key file .*own.key: KEY_VALUES_MISMATCH"),
        ({"certificate_file": "own.key", "key_file": "own.key"}, "one is not PEM"),
    ],
)
def test_files_that_are_not_what_they_should_be(names: dict[str, str], message: str, folder: Path) -> None:
    """They are named before the first call, which would only say that nothing answers."""
    with pytest.raises(ValueError, match=message):
        tls_credentials(**{name: folder / file for name, file in names.items()})


async def _status(target: str) -> GetStatusResponse:
    async with AsyncClient(target) as client:
        return await client.get_status("acme")
