"""What does a seal cover, and what does it tell? The key's file, the content's form, the state of a seal."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.admission import DenialReason, Denied
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey, AuditSource, first_link, link
from gatekeeper.domain.reservation import Attribution
from gatekeeper.domain.verdicts import Denial
from gatekeeper.services import audit_keys
from gatekeeper.services.audit_keys import AuditKeyUnusable
from gatekeeper.services.audit_seals import Seals, SealState
from gatekeeper.storage import audit, rows, tables

KEY = AuditKey(b"k" * 32)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACTOR = Actor(Caller(caller_id="7", name="ada", role=Role.ADMIN), "ipv4:127.0.0.1:9")
EVENT = AuditEvent(
    action=AuditAction.BUDGET_SET, actor=ACTOR, subject="campaign 'spring', MONTH", occurred_at=NOON, after={"cap": "5"}
)
DENIAL = Denial(
    reservation_id="r-1",
    attribution=Attribution("", "spring", "writer", "", "", ""),
    model="opus",
    denied=Denied(DenialReason.OUT_OF_BUDGET, None, Decimal("1.50")),
    requested=Decimal("2.5"),
    message="",
    balances=(),
    denied_at=NOON,
    actor=ACTOR,
)


@pytest.mark.parametrize("source", AuditSource)
def test_every_column_is_sealed(source: AuditSource) -> None:
    """A seal covers every column that its table has, but the row's number and the seal itself."""
    columns = set(tables.metadata.tables[audit.TABLES[source]].columns.keys())
    assert set(audit.CONTENT_NAMES[source]) == columns - {audit.IDS[source], "seal"}


def test_event_record_is_whole() -> None:
    """The row of an event has every column that json_to_recordset is told of."""
    record = audit.event_record("acme", EVENT, KEY)
    assert ", ".join(record) == audit.EVENT_COLUMNS
    assert record["after"] == '{"cap":"5"}'
    assert record["before"] is None
    assert record["occurred_at"] == "2026-11-20T12:00:00.000000+00:00"


def test_unstorable_text_is_replaced() -> None:
    """What a command line may bring and PostgreSQL cannot hold does not keep a change from being recorded."""
    event = AuditEvent(
        action=AuditAction.BUDGET_SET,
        actor=ACTOR,
        subject="a\0b",
        occurred_at=NOON,
        after={"x": "\udcff"},
        reason="\udc80",
    )
    record = audit.event_record("acme", event, KEY)
    assert record["subject"] == "a\N{REPLACEMENT CHARACTER}b"
    assert record["reason"] == "?"
    rows.as_json([record]).encode()


@pytest.mark.parametrize(
    ("field", "same"),
    [
        ("requested", "2.500000000"),
        ("requested", "25E-1"),
        ("shortfall", "1.5"),
        ("denied_at", "2026-11-20T13:00:00+01:00"),
        ("denied_at", "2026-11-20T12:00:00.000000+00:00"),
    ],
)
def test_form_does_not_matter(field: str, same: str) -> None:
    """The same amount or instant, written another way, has the same seal."""
    record = rows.of_denial(DENIAL)
    assert audit.denial_seal("acme", {**record, field: same}, KEY) == audit.denial_seal("acme", record, KEY)


@pytest.mark.parametrize("field", [name for name in audit.CONTENT_NAMES[AuditSource.DENIAL] if name != "organization"])
def test_each_field_matters(field: str) -> None:
    """Another value anywhere in a denial, or another organization, has another seal."""
    record = rows.of_denial(DENIAL)
    kinds = {"requested": "9", "shortfall": "9", "headroom_at": "2026-11-21T00:00:00+00:00"}
    other = {**record, field: kinds.get(field, "2026-11-20T12:00:00.000001+00:00")}
    seal = audit.denial_seal("acme", record, KEY)
    assert audit.denial_seal("acme", other, KEY) != seal
    assert audit.denial_seal("acme2", record, KEY) != seal


@pytest.mark.parametrize(
    ("amount", "canonical"),
    [
        ("0", "0.000000000"),
        ("-0", "0.000000000"),
        ("0E-12", "0.000000000"),
        ("1E+3", "1000.000000000"),
        ("0.0000000005", "0.000000001"),
        ("0.00000000049", "0.000000000"),
        ("9999999999999999999.999999999", "9999999999999999999.999999999"),
    ],
)
def test_amounts(amount: str, canonical: str) -> None:
    """Amounts are written as NUMERIC(28,9) prints them, rounding included."""
    record = {**rows.of_denial(DENIAL), "requested": amount}
    assert audit.denial_seal("a", record, KEY) == audit.denial_seal("a", {**record, "requested": canonical}, KEY)


def test_events_and_denials_in_any_zone() -> None:
    """An event's seal does not depend on the zone that its instant is told in."""
    zone = timezone(timedelta(hours=5, minutes=45))
    there = AuditEvent(
        **{name: getattr(EVENT, name) for name in EVENT.__slots__} | {"occurred_at": NOON.astimezone(zone)}
    )
    assert audit.event_record("acme", there, KEY) == audit.event_record("acme", EVENT, KEY)


def test_states_of_seals() -> None:
    """A seal is right, keyless, wrong, missing, or another key's, which nobody without that key can tell about."""
    content = {"organization": "acme"}
    ours, keyless = Seals(KEY), Seals(AuditKey())
    seal = KEY.seal(content)
    assert ours.state(content, seal) is SealState.RIGHT
    assert ours.state({"organization": "acmf"}, seal) is SealState.WRONG
    assert ours.state(content, None) is SealState.MISSING
    assert ours.state(content, b"") is SealState.FOREIGN
    assert ours.state(content, AuditKey().seal(content)) is SealState.KEYLESS
    assert ours.state({"organization": "b"}, AuditKey().seal(content)) is SealState.WRONG
    assert keyless.state(content, AuditKey().seal(content)) is SealState.RIGHT
    assert keyless.state(content, seal) is SealState.FOREIGN
    assert Seals(AuditKey(b"o" * 32)).state(content, seal) is SealState.FOREIGN


def test_links_depend_on_everything() -> None:
    """A link is another one where anything before or in it is."""
    seal = KEY.seal({})
    one = link(first_link("a"), 1, AuditSource.EVENT, 1, seal)
    others = {
        link(first_link("b"), 1, AuditSource.EVENT, 1, seal),
        link(first_link("a"), 2, AuditSource.EVENT, 1, seal),
        link(first_link("a"), 1, AuditSource.DENIAL, 1, seal),
        link(first_link("a"), 1, AuditSource.EVENT, 2, seal),
        link(first_link("a"), 1, AuditSource.EVENT, 1, KEY.seal({"x": "y"})),
    }
    assert len(others | {one}) == 6


def test_key_is_made_once(tmp_path: Path) -> None:
    """Whoever comes at the same time gets the same key, and only its owner can read it."""
    path = tmp_path / "keys" / "audit.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: audit_keys.load(path, create=True), range(16)))
    assert keys == {audit_keys.load(path, create=False)}
    assert len(keys.pop().secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["audit.key"]


@pytest.mark.parametrize(
    "line",
    [
        ("6b" * 32) + "\n",
        base64.b64encode(b"k" * 32).decode(),
        base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=") + "\r\n",
    ],
)
def test_forms_of_a_key(tmp_path: Path, line: str) -> None:
    """A key may be written in hex, or in base64 of either kind."""
    path = tmp_path / "key"
    path.write_text(line)
    path.chmod(0o400)
    assert audit_keys.load(path, create=False) == KEY


def test_rotated_keys(tmp_path: Path) -> None:
    """The first line of a key file seals; seals of every line are right."""
    path = tmp_path / "key"
    path.write_text("6e" * 32 + "\n\n" + "6b" * 32 + "\r\n" + base64.b64encode(b"o" * 32).decode())
    path.chmod(0o600)
    rotated = audit_keys.load(path, create=False)
    new, old = AuditKey(b"n" * 32), AuditKey(b"o" * 32)
    assert rotated == AuditKey(new.secret, older=(KEY, old))
    content = {"organization": "acme"}
    assert rotated.seal(content) == new.seal(content)
    states = [Seals(rotated).state(content, key.seal(content)) for key in (new, KEY, old, AuditKey(), AuditKey(b"x"))]
    assert states == [SealState.RIGHT] * 3 + [SealState.KEYLESS, SealState.FOREIGN]
    assert Seals(rotated).state({"organization": "b"}, KEY.seal(content)) is SealState.WRONG
    assert "nnnn" not in repr(rotated)
    assert "kkkk" not in repr(rotated)


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("", 0o600, "it is empty"),
        (" \n", 0o600, "it is empty"),
        ("6b" * 31, 0o600, "32 bytes in hex or base64"),
        ("6b" * 32 + "\n" + "6b" * 31, 0o600, "32 bytes in hex or base64"),
        (("6b" * 32 + "\n") * 100, 0o600, "longer than 4096 bytes"),
        ("\xff" * 43, 0o600, "32 bytes in hex or base64"),
        ("6b" * 32, 0o640, "mode 0640"),
        ("6b" * 32, 0o604, "mode 0604"),
    ],
)
def test_unusable_keys(tmp_path: Path, content: str, mode: int, problem: str) -> None:
    """A key that is none, or that others can read, is refused, without telling what is in the file."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    for create in (False, True):
        with pytest.raises(AuditKeyUnusable, match=problem) as refused:
            audit_keys.load(path, create=create)
        assert "6b6b" not in str(refused.value).replace(str(path), "")


def test_missing_key(tmp_path: Path) -> None:
    """A missing file is no reason to seal without a key; no path is."""
    with pytest.raises(AuditKeyUnusable, match=r"tmp.*key.*no such file.*`openssl rand -base64 32`.*mode 0600"):
        audit_keys.load(tmp_path / "key", create=False)
    assert not (tmp_path / "key").exists()
    with pytest.raises(AuditKeyUnusable, match="no regular file"):
        audit_keys.load(tmp_path, create=False)
    assert audit_keys.load(None, create=True) == AuditKey()


def test_keys_do_not_show() -> None:
    """A key's secret is in no text that is made of it."""
    assert "k" * 8 not in repr(KEY)
