"""Does a secret get out? Nowhere in what an installation tells, whatever goes right or wrong in it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from gatekeeper.domain.access import Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.settings import load_settings
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from tests.acceptance.secrets_told import (
    Process,
    Speaker,
    Told,
    audit_key,
    command,
    processes,
    spoilt_requests,
    tls_files,
    unusable_urls,
)
from tests.conftest import SERVER_PASSWORD, served_url
from tests.contract.conftest import _database
from tests.contract.requests import SERVICE_OF, valid
from tests.contract.secured import Secured
from tests.contract.wire import Wire, until
from tests.integration.certificates import Files

PLACES = {"standard output", "log", "errors on the wire", "command line", "doctor", "commands", "settings"}
PLACES |= {"Markdown log", "audit events"}
# The audit trail is for reasons.
BY_DESIGN = {("audit events", "reason")}
# Each lets a kind of call fail in a way that nobody foresaw.
BREAKAGES = (
    "ALTER TABLE reservations ADD CONSTRAINT odd CHECK (strpos(task, 'sesame') = 0) NOT VALID",
    "ALTER TABLE reservations DROP CONSTRAINT odd",
    "ALTER TABLE executions ADD CONSTRAINT odd CHECK (strpos(labels::text, 'sesame') = 0) NOT VALID",
    "ALTER TABLE audit_events ADD CONSTRAINT odd CHECK (strpos(reason, 'sesame') = 0) NOT VALID",
    "ALTER TABLE denials RENAME TO gone",
    "ALTER TABLE tokens RENAME TO gone_too",
)
SHOWN = 300

Start = Callable[..., Process]


@pytest.fixture
def told(postgres: EmbeddedPostgres, template: str, tmp_path: Path) -> Told:
    """Let everything happen once; return what was told."""
    told, folder = Told(), tmp_path
    with _database(postgres, template, "acceptance_secrets") as url:
        audit_key(told, folder / "audit.key")
        told.secrets["database password"] = SERVER_PASSWORD
        told.secrets["owner's password"] = str(urlsplit(url).password)
        with processes(told, folder) as start:
            _serve(told, start, folder, url)
            _fail_to_start(told, start, folder, served_url(url))
        _ask_commands(told, folder, served_url(url))
    _show_settings(told, served_url(url))
    return told


def test_no_secret_is_told(told: Told) -> None:
    """No token, key, password or text of a request is in what is told while everything goes wrong that can."""
    _require_everything(told)
    found = {
        f"{name} in {place}": text[max(text.find(secret) - SHOWN, 0) : text.find(secret) + SHOWN]
        for place, text in told.texts.items()
        for name, secret in told.secrets.items()
        if secret in text and (place, name) not in BY_DESIGN
    }
    assert not found


def _require_everything(told: Told) -> None:
    """Require that there is something in each place, and of each kind."""
    assert told.texts.keys() == PLACES
    log, wire = told.texts["log"], told.texts["errors on the wire"]
    for rpc in ("Reserve", "Commit", "SetCap", "ListTokens"):
        assert f"{rpc} INTERNAL" in wire
    for status in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "NOT_FOUND", "ABORTED"):
        assert status in wire
    assert log.count("rpc.internal") >= 8
    assert log.count("tls.reload_failed") == 2
    assert "CheckViolation" in log
    assert told.secrets["reason"] in told.texts["audit events"]
    assert "CALL_DENIED" in told.texts["audit events"]
    assert "OUT_OF_BUDGET" in told.texts["Markdown log"]
    assert "password=***" in told.texts["doctor"]


def _serve(told: Told, start: Start, folder: Path, url: str) -> None:
    """Serve twice, with the URL as an option and by the environment; call well and badly, and break the database."""
    authority, files = tls_files(told, folder / "tls")
    settings = {"GATEKEEPER_AUDIT_KEY_FILE": str(folder / "audit.key"), "GATEKEEPER_TLS_RELOAD_INTERVAL_S": "0.05"}
    tls = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    plain = start("--database-url", served_url(url), **settings, GATEKEEPER_LOG_FORMAT="json")
    encrypted = start(*tls, **settings, GATEKEEPER_DATABASE_URL=served_url(url), GATEKEEPER_LOG_FORMAT="console")
    told.add("command line", plain.command_line + encrypted.command_line)
    target = f"localhost:{encrypted.address.rpartition(':')[2]}"
    roots = grpc.ssl_channel_credentials(authority.pem)
    with closing(Wire(plain.address, url)) as wire, grpc.secure_channel(target, roots) as channel:
        _make_tokens(told, Secured(wire))
        speakers = [Speaker(told, wire.channel), Speaker(told, channel)]
        for speaker in speakers:
            _call_badly(told, speaker)
            _call_well(told, speaker)
            _read_audit(told, speaker)
        until(lambda: list(plain.logs.rglob("*.md")) + list(encrypted.logs.rglob("*.md")))
        for statement in BREAKAGES:
            wire.sql(statement)
            for speaker in speakers:
                _call_well(told, speaker)
        _spoil_tls(told, encrypted, folder, files)


def _make_tokens(told: Told, secured: Secured) -> None:
    told.secrets["operator's token"] = secured.operator
    cap = valid("SetCap")
    cap.cap.units = 1000
    secured.call("SetCap", cap, secured.operator)
    for role in (Role.AGENT, Role.VIEWER, Role.ADMIN):
        told.secrets[f"{role}'s token"] = secured.token(role, "o")
    secured.wire.sql("UPDATE tokens SET expires_at = now() WHERE role = 'ADMIN'")
    told.secrets["unknown token"] = f"gk_{uuid.uuid4().hex}{'x' * 11}"


def _call_badly(told: Told, speaker: Speaker) -> None:
    """Show every kind of wrong token, and send every kind of wrong request."""
    operator = told.secrets["operator's token"]
    wrong = ("", f"{operator}x", *(told.secrets[name] for name in ("ADMIN's token", "AGENT's token", "unknown token")))
    for rpc in SERVICE_OF:
        for token in (*wrong, told.secret("no token")):
            speaker.call(rpc, valid(rpc) if rpc != "Reserve" else b"\xff", token)
        speaker.call(rpc, valid(rpc), authorization=f"Basic {operator}")
        speaker.call(rpc, valid(rpc), **{"x-api-key": operator})
    for rpc, request in spoilt_requests(told):
        speaker.call(rpc, request, operator)
        speaker.call(rpc, request, told.secrets["VIEWER's token"])
    missing = valid("Commit")
    missing.labels["key"] = told.secret("label")
    speaker.call("Commit", missing, operator)


def _call_well(told: Told, speaker: Speaker) -> None:
    """Make calls that are answered, unless the database is broken: with every text that a call can have."""
    token = told.secrets["operator's token"]
    labels = {"key": told.secret("label")}
    for units in (1, 10**6):
        request = pb.ReserveRequest(
            organization="o", campaign="c", amount=to_money(units, "USD"), task=told.secret("task"), labels=labels
        )
        answer = speaker.call("Reserve", request, token)
        if answer is not None and answer.HasField("reservation"):
            held = answer.reservation.reservation_id
            commit = pb.CommitRequest(organization="o", reservation_id=held, labels=labels)
            commit.amount.CopyFrom(to_money(0, "USD"))
            speaker.call("Commit", commit, token)
    cap = valid("SetCap")
    cap.cap.units = 1000
    cap.reason = told.secret("reason")
    speaker.call("SetCap", cap, token)
    cap.etag = told.secret("etag")
    speaker.call("SetCap", cap, token)
    speaker.call("ListTokens", valid("ListTokens"), token)


def _read_audit(told: Told, speaker: Speaker) -> None:
    listed = report_pb.ListAuditEventsRequest(organization="o", page_size=1000)
    told.add("audit events", str(speaker.call("ListAuditEvents", listed, told.secrets["operator's token"])))


def _spoil_tls(told: Told, server: Process, folder: Path, files: Files) -> None:
    """Put another's key beside the certificate, then what is no key; connect without TLS."""
    _, others = tls_files(told, folder / "others")
    keys = (others.key.read_bytes(), told.secret("no key").encode())
    for count, key in enumerate(keys, start=1):
        files.key.write_bytes(key)
        until(partial(_fails, server, count))


def _fails(server: Process, count: int) -> bool:
    """Connect without trusting the server, and without TLS; tell whether so many reloads have failed."""
    target = f"localhost:{server.address.rpartition(':')[2]}"
    for channel in (grpc.secure_channel(target, grpc.ssl_channel_credentials()), grpc.insecure_channel(target)):
        with channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=0.2)
    return server.err.read_text().count("tls.reload_failed") == count


def _fail_to_start(told: Told, start: Start, folder: Path, url: str) -> None:
    """Start servers that cannot: wrong passwords, connection strings that are none, files with other content."""
    bad_urls = unusable_urls(told, url)
    for bad, other in zip(bad_urls[::2], bad_urls[1::2], strict=True):
        start("--database-url", bad)
        start(GATEKEEPER_DATABASE_URL=other)
    for bad in bad_urls:
        for place, name in (("doctor", "doctor"), ("commands", "verify"), ("commands", "migrate")):
            command(told, place, name, "--database-url", bad)
            command(told, place, name, GATEKEEPER_DATABASE_URL=bad)
    bad_file = folder / "bad"
    bad_file.touch(0o600)
    bad_file.write_text(told.secret("content of a file"))
    _, files = tls_files(told, folder / "swapped")
    certificate, key, bad = str(files.certificate), str(files.key), str(bad_file)
    start("--database-url", url, GATEKEEPER_AUDIT_KEY_FILE=bad)
    for pair in ((certificate, bad), (bad, key), (key, certificate), (certificate, str(folder / "others" / "tls.key"))):
        start("--database-url", url, "--tls-certificate", pair[0], "--tls-key", pair[1])
    start("--database-url", url, "--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca", bad)


def _ask_commands(told: Told, folder: Path, url: str) -> None:
    """Run commands on the database, and some that show a token."""
    audit = {"GATEKEEPER_AUDIT_KEY_FILE": str(folder / "audit.key")}
    for flags in ((), ("--json",)):
        command(told, "doctor", "doctor", "--database-url", url, *flags, **audit)
        command(told, "doctor", "doctor", *flags, **audit, GATEKEEPER_DATABASE_URL=url)
    for name in (("verify",), ("verify", "--audit"), ("token", "list"), ("migrate",)):
        command(told, "commands", *name, "--database-url", url, **audit)
    nowhere = ("--organization", "o", "--target", "127.0.0.1:1")
    for token in (told.secrets["operator's token"], told.secret("no token"), told.secret("no token") + "\n\xe4"):
        command(told, "commands", "status", *nowhere, GATEKEEPER_TOKEN=token)
        command(told, "commands", "check", *nowhere, "--amount", "1", GATEKEEPER_TOKEN=token)
    command(told, "commands", "status", *nowhere, "--token-file", str(folder / "bad"))
    command(told, "commands", "status", *nowhere, "--ca-file", str(folder / "bad"))
    pair = ("--certificate-file", str(folder / "bad"), "--key-file", str(folder / "others" / "tls.key"))
    command(told, "commands", "status", *nowhere, "--ca-file", str(folder / "tls" / "ca.crt"), *pair)


def _show_settings(told: Told, url: str) -> None:
    settings = load_settings(database_url=url)
    key = AuditKey(bytes.fromhex(told.secrets["audit key in hex"]))
    told.add("settings", f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {key!r}")
