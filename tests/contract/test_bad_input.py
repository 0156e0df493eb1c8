"""What happens to a request whose names, words or choices break the rules? Refused by field, it leaves no trace."""

from __future__ import annotations

import grpc
import pytest

from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb

from .requests import VALID, names_in, owner_of, refused, send, valid
from .wire import Wire

NAMES = {
    "over-long": "x" * 129,
    "NUL": "a\0b",
    "newline": "a\nb",
    "trailing newline": "a\n",
    "tabulator": "\ta",
    "escape": "\x1b[31ma",
    "C1": "a\x85b",
    "zero width": "a\u200bb",
    "right to left": "\u202ea",
    "private": "\ue000",
    "leading blank": " a",
    "trailing blank": "a ",
    "blank": " ",
}
ENUMS = [
    ("Commit", "outcome"),
    ("SetCap", "window"),
    ("SetCap", "enforcement"),
    ("SetCap", "scope.kind"),
    ("ListBudgets", "scope_kind"),
    ("ListReservations", "state"),
    ("ListExecutions", "outcome"),
    ("ListExecutions", "kind"),
    ("Reserve", "priority"),
    ("SetOverride", "scope.kind"),
    ("RequestOverride", "scope.kind"),
    ("ListOverrides", "state"),
    ("ListAlerts", "kind"),
    ("ListAlerts", "delivery_state"),
]
PERIODS = [
    *("2026-13", "2026-00", "2026-1", "26-11", "2026-11-", "2026-11-31", "2026-02-30", "2027-02-29", "2026-04-31"),
    *("2026-11-00", "0000-01-01", "0000-01", "2026-11-20T00:00", "20261120", "Total", "TOTAL", " total", "total\n"),
    *("november", "-1", "٢٠٢٦-١١", "2026-11-20 ", "*", "%"),
]
LABELS: dict[str, dict[str, str]] = {
    "too many": {f"k{number}": "v" for number in range(33)},
    "no key": {"": "v"},
    "key too long": {"k" * 64: "v"},
    "value too long": {"k": "v" * 256},
    "control in key": {"a\nb": "v"},
    "control in value": {"k": "a\0b"},
}


@pytest.mark.parametrize("name", VALID)
def test_what_is_to_be_spoilt_is_good(wire: Wire, organization: str, name: str) -> None:
    """The requests that these tests begin with break no rule: at most there is nothing of that name, or no token."""
    request = valid(name)
    request.organization = organization
    try:
        send(wire, name, request)
    except grpc.RpcError as error:
        changes_tokens = name in {"CreateToken", "RevokeToken"}
        assert error.code() == (grpc.StatusCode.UNAUTHENTICATED if changes_tokens else grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("name", VALID)
def test_names(wire: Wire, name: str) -> None:
    """A name has up to 128 characters, none of them a control, and no blank at either end; every bad one is told."""
    for bad, text in NAMES.items():
        request = valid(name)
        paths = set()
        for path, owner, field in names_in(request):
            setattr(owner, field, text)
            paths.add(path)
        assert set(refused(wire, name, request).violations) == paths, bad


# By the reservation, or else the caller; an operator's tokens and what concerns the installation have none.
FIND_THEIR_ORGANIZATION = {
    "Commit",
    "Release",
    "Extend",
    "ListAuditEvents",
    "ListAlerts",
    "RetryAlerts",
    "CreateToken",
    "ListTokens",
    "RevokeToken",
    "ListOrganizations",
}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *((name, "organization") for name in VALID if name.split()[0] not in FIND_THEIR_ORGANIZATION),
        *((name, "reservation_id") for name in ("Commit", "Release", "Extend")),
    ],
)
def test_names_that_are_needed(wire: Wire, name: str, field: str) -> None:
    """A call needs its organization, or its reservation."""
    request = valid(name)
    request.ClearField(field)
    assert list(refused(wire, name, request).violations) == [field]


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
@pytest.mark.parametrize(("name", "path"), ENUMS)
def test_enums(wire: Wire, name: str, path: str, number: int) -> None:
    """A number that the contract does not name is refused, not read as something else."""
    request = valid(name)
    owner, field = owner_of(request, path)
    setattr(owner, field, number)
    assert list(refused(wire, name, request).violations) == [path]


def test_an_outcome_that_only_the_server_gives(wire: Wire) -> None:
    """Nobody commits as UNKNOWN: that is what an expiry says."""
    request = valid("Commit")
    request.outcome = 4
    assert list(refused(wire, "Commit", request).violations) == ["outcome"]


@pytest.mark.parametrize(
    ("kind", "scope_id", "field"), [(1, "x", "id"), (3, "", "id"), (5, "", "id"), (0, "x", "kind")]
)
def test_scopes(wire: Wire, kind: int, scope_id: str, field: str) -> None:
    """The organization has no id, everything else has a kind and one."""
    for name in ("SetCap", "SetOverride", "RequestOverride"):
        request = valid(name)
        request.scope.kind, request.scope.id = kind, scope_id
        assert list(refused(wire, name, request).violations) == [f"scope.{field}"]
    asked = valid("GetStatus")
    asked.scopes.add(kind=kind, id=scope_id)
    assert list(refused(wire, "GetStatus", asked).violations) == [f"scopes[1].{field}"]


def test_too_many_scopes(wire: Wire) -> None:
    """At most a hundred scopes are asked for at once."""
    request = valid("GetStatus")
    request.scopes.extend([request.scopes[0]] * 100)
    assert list(refused(wire, "GetStatus", request).violations) == ["scopes"]


@pytest.mark.parametrize("name", ["GetStatus", "ListExecutions"])
def test_periods(wire: Wire, name: str) -> None:
    """A period is a month or a day that there is, or `total`."""
    for period in PERIODS:
        request = valid(name)
        request.period = period
        assert list(refused(wire, name, request).violations) == ["period"], period


@pytest.mark.parametrize("bad", LABELS)
@pytest.mark.parametrize("name", ["Reserve", "Commit"])
def test_labels(wire: Wire, name: str, bad: str) -> None:
    """At most 32 labels, with keys of 1 to 63 characters and values of up to 255, none of them a control."""
    request = valid(name)
    request.labels.clear()
    request.labels.update(LABELS[bad])
    (violation,) = refused(wire, name, request).violations
    assert violation.startswith("labels")


@pytest.mark.parametrize(("field", "text"), [("reason", "x" * 501), ("reason", "a\nb"), ("etag", "x" * 65)])
def test_texts(wire: Wire, field: str, text: str) -> None:
    """A reason has up to 500 characters on one line, an etag up to 64."""
    request = valid("SetCap")
    setattr(request, field, text)
    assert list(refused(wire, "SetCap", request).violations) == [field]


@pytest.mark.parametrize(("name", "choice"), [("Reserve", "estimate"), ("Commit", "cost")])
def test_neither_money_nor_tokens(wire: Wire, name: str, choice: str) -> None:
    """A Reserve says what the call may cost, a Commit what it did."""
    request = valid(name)
    request.ClearField("amount")
    assert list(refused(wire, name, request).violations) == [choice]


def test_all_that_is_wrong_is_told_at_once(wire: Wire) -> None:
    """Several bad fields are several violations, and the message counts them."""
    request = pb.ReserveRequest(reservation_id=" ", organization="", run="\n", validate_only=True)
    found = refused(wire, "Reserve", request)
    assert set(found.violations) == {"reservation_id", "organization", "run", "estimate"}
    assert "4 of its fields" in found.message
