"""What is a token, who may have which, and how does its secret get into a file?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatekeeper.domain.access import Role
from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.tokens import (
    NewToken,
    check,
    check_expiry,
    digest_of_identity,
    digest_of_secret,
    is_token,
)
from gatekeeper.services.token_file import write_secret

SECRET = "gk_" + "aB3-_" * 8 + "xyz"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def problem_of(new: NewToken) -> str:
    """Return the field that is refused, and why."""
    with pytest.raises(InvalidField) as refused:
        check(new)
    return str(refused.value)


def of(role: Role, **fields: object) -> NewToken:
    """Return a token that may be made, but for the given fields."""
    organization = "" if role is Role.OPERATOR else "acme"
    return NewToken(**({"name": "ci", "role": role, "organization": organization} | fields))  # type: ignore[arg-type]


def test_the_form_of_a_token() -> None:
    """It is the prefix and 43 characters of base 64 for URLs; nothing else is one."""
    assert is_token(SECRET)
    for other in (
        "",
        "gk_",
        SECRET[:-1],
        SECRET + "a",
        SECRET + "\n",
        SECRET[1:] + "a",
        SECRET[:-1] + "é",
        SECRET.upper(),
    ):
        assert not is_token(other), other


def test_digests() -> None:
    """A secret and an identity of the same text have different digests, of 32 bytes."""
    digests = {digest_of_secret("uid=1"), digest_of_identity("uid=1"), digest_of_identity("uid=2")}
    assert len(digests) == 3
    assert {len(digest) for digest in digests} == {32}
    assert digest_of_secret("identity\0uid=1") == digest_of_identity("uid=1")
    assert not is_token("identity\0uid=1")


@pytest.mark.parametrize("role", Role)
def test_what_each_role_may_be(role: Role) -> None:
    """Operators are for all organizations, others for one; only agents are narrowed, to one campaign or agent."""
    check(of(role))
    check(of(role, identity="uid=1000", expires_at=NOW, reason="why not"))
    other = "acme" if role is Role.OPERATOR else ""
    assert problem_of(of(role, organization=other)).startswith("organization: ")
    for kind in ScopeKind:
        narrowed = of(role, scope=Scope(kind, "x"))
        if role is Role.AGENT and kind in {ScopeKind.CAMPAIGN, ScopeKind.AGENT}:
            check(narrowed)
        else:
            assert problem_of(narrowed).startswith("scope")


@pytest.mark.parametrize("field", ["name", "organization"])
@pytest.mark.parametrize("text", ["", " ci", "ci ", "a\nb", "a\0b", "\ud800", "x" * 129])
def test_names_that_no_request_could_carry(field: str, text: str) -> None:
    """They are refused, wherever they come from."""
    assert problem_of(of(Role.ADMIN, **{field: text})).startswith(f"{field}: ")


def test_other_texts_that_no_request_could_carry() -> None:
    """So are reasons and the ids of scopes."""
    for reason in ("a\nb", "x" * 501):
        assert problem_of(of(Role.ADMIN, reason=reason)).startswith("reason: ")
    for scope_id in ("", " x", "x" * 129):
        scope = Scope(ScopeKind.CAMPAIGN, scope_id)
        assert problem_of(of(Role.AGENT, scope=scope)).startswith("scope.id: ")


IDENTITIES = (
    "spiffe://example.org/writer",
    "spiffe://example.org/ns/a.b_c-d/sa/Writer",
    "spiffe://a/...",
    "CN=writer",
    "CN=Jürgen O'Neil, writer",
    "uid=0",
    "uid=4294967294",
)
NO_IDENTITIES = (
    "spiffe://example.org",
    "spiffe://example.org/",
    "spiffe://Example.org/writer",
    "spiffe://example.org//writer",
    "spiffe://example.org/a/../b",
    "spiffe://example.org/./b",
    "spiffe://example.org/a/",
    "spiffe://example.org/a b",
    "spiffe:///writer",
    "spiffe:writer",
    "CN=",
    "CN= writer ",
    "cn=writer",
    "writer",
    "uid=",
    "uid=-1",
    "uid=01",
    "uid=4294967295",
    "uid=99999999999",
    "uid=root",
    "uid=١",
    "CN=" + "x" * 510,
    "CN=a\nb",
)


def test_identities() -> None:
    """A SPIFFE id with a path, a common name, or the number of a user."""
    for identity in IDENTITIES:
        check(of(Role.AGENT, identity=identity))
    for identity in NO_IDENTITIES:
        assert problem_of(of(Role.AGENT, identity=identity)).startswith("identity: must be "), identity


def test_expiry() -> None:
    """It lies in the future, and at most ten years from now."""
    for expires_at in (None, NOW + timedelta(microseconds=1), NOW.replace(year=2036)):
        check_expiry(expires_at, NOW)
    for expires_at, fix in (
        (NOW, "in the future"),
        (NOW - timedelta(days=1), "in the future"),
        (NOW.replace(year=2037), "ten years"),
        (datetime.max.replace(tzinfo=UTC), "ten years"),
    ):
        with pytest.raises(InvalidField, match=fix):
            check_expiry(expires_at, NOW)


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Run the test under different masks, in a folder that was made before."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_secret_is_for_its_owner_alone(umask: None, tmp_path: Path) -> None:
    """Whatever the mask: the file has mode 0600, folders that had to be made 0700; nothing else is left there."""
    path = tmp_path / "a" / "b" / "operator.token"
    write_secret(path, SECRET)
    assert path.read_text() == SECRET + "\n"
    assert [mode_of(entry) for entry in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert [*path.parent.iterdir()] == [path]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    """Who has it open, or another name for it, does not see the new secret; its folder stays as it is."""
    path, other = tmp_path / "operator.token", tmp_path / "other"
    path.write_text("old")
    path.chmod(0o666)
    other.hardlink_to(path)
    tmp_path.chmod(0o750)
    write_secret(path, SECRET)
    assert (path.read_text(), other.read_text()) == (SECRET + "\n", "old")
    assert (mode_of(path), mode_of(tmp_path)) == (0o600, 0o750)


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_is_replaced_not_followed(there: bool, tmp_path: Path) -> None:
    """What it leads to is neither written nor made."""
    path, target = tmp_path / "operator.token", tmp_path / "target"
    if there:
        target.write_text("precious")
    path.symlink_to(target)
    write_secret(path, SECRET)
    assert not path.is_symlink()
    assert path.read_text() == SECRET + "\n"
    assert (target.read_text() if target.exists() else None) == ("precious" if there else None)


def test_places_that_take_no_file(tmp_path: Path) -> None:
    """A folder at the path, a file or a link to nothing where a folder should be: refused, and nothing is left."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    for place in ("folder", "file/operator.token", "dangling/operator.token", "x" * 300):
        with pytest.raises(InvalidField, match=r"^operator_token_file: .* cannot be written: [A-Z]"):
            write_secret(tmp_path / place, SECRET)
    assert sorted(tmp_path.iterdir()) == before
