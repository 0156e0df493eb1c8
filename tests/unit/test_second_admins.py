"""In whose hand is an admin's token?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gatekeeper.domain.access import Caller, Role
from gatekeeper.domain.budget import ORGANIZATION
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.domain.second_admins import AdminToken, Hand, hand_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
# Who has made whom; the operator is root's, whom nobody knows.
MAKERS = {
    "ada": "operator",
    "alan": "ada",
    "alice": "alan",
    "bob": "ada",
    "grace": "operator",
    "george": "grace",
    "root": "root",
    "rita": "root",
}
GRANTED = Override(
    override_id="o",
    scope=ORGANIZATION,
    reservation_id="",
    max_amount=Decimal(80),
    ttl=timedelta(hours=1),
    state=OverrideState.PENDING,
    created_at=NOON,
    expires_at=NOON + timedelta(hours=24),
    reason="why",
)


def token(name: str, maker: str, organization: str = "acme", token_id: str = "") -> AdminToken:
    return AdminToken(organization, token_id or f"id of {name}", name, NOON - timedelta(days=1), maker)


TOKENS = [
    *(token(name, maker) for name, maker in MAKERS.items()),
    token("operator", "root", organization=""),
    token("deputy", "operator", organization=""),
]


def hand(name: str, *more: AdminToken) -> Hand:
    """Return in whose hand the token of a name is."""
    return hand_of(Caller(caller_id=f"id of {name}", name=name, role=Role.ADMIN), [*TOKENS, *more])


def names(found: Hand) -> set[str]:
    return {token_id.removeprefix("id of ") for token_id in found.token_ids}


@pytest.mark.parametrize(
    "together",
    [{"ada", "alan", "alice", "bob"}, {"grace", "george"}, {"root", "rita"}, {"operator"}, {"deputy"}],
    ids=min,
)
def test_what_leads_back_to_one_admin_is_in_one_hand(together: set[str]) -> None:
    """Whoever of them is asked about; an operator is in no hand with whom it has made."""
    assert [names(hand(name)) for name in together] == [together] * len(together)


def test_a_token_that_is_made_anew_is_in_the_same_hand() -> None:
    """The makers of all tokens of a name count, also of those that have ended."""
    assert "id of once" in hand("ada", token("ada", "operator", token_id="id of once")).token_ids
    assert names(hand("grace", token("grace", "ada", token_id="id of once"))) > {"ada", "grace", "george", "once"}


def test_who_is_not_known_is_in_no_hand() -> None:
    """Without a token, an admin is nobody's second."""
    found = hand("anyone")
    assert (names(found), found.created_at) == ({"anyone"}, None)
    assert not found.is_second(replace(GRANTED, granted_by="ada", granted_by_id="id of ada"))


@pytest.mark.parametrize(
    ("second", "first", "is_second"),
    [
        ("grace", "ada", True),
        ("george", "alice", True),
        ("ada", "ada", False),
        ("alice", "ada", False),
        ("ada", "alice", False),
        ("bob", "alice", False),
        ("operator", "ada", True),
        ("ada", "operator", False),
        ("alice", "operator", False),
        ("rita", "operator", True),
        ("ada", "deputy", True),
        ("deputy", "operator", False),
    ],
)
def test_two_admins(second: str, first: str, is_second: bool) -> None:
    """Two are two unless one hand has both; nobody is second to the operator who made it, or made its maker."""
    granted = replace(GRANTED, granted_by=first, granted_by_id=f"id of {first}")
    assert hand(second).is_second(granted) == is_second


@pytest.mark.parametrize(("age_s", "is_second"), [(1, True), (0, False), (-1, False)])
def test_a_second_admin_is_older_than_the_override(age_s: int, is_second: bool) -> None:
    """One that was made for it is none."""
    granted = replace(GRANTED, granted_by="ada", granted_by_id="id of ada")
    found = replace(hand("grace"), created_at=NOON - timedelta(seconds=age_s))
    assert found.is_second(granted) == is_second


def test_nobody_is_second_to_nobody() -> None:
    """Where nothing was granted yet, or by whom nobody knows, an admin is the first."""
    assert not hand("grace").is_second(GRANTED)
    assert not hand("grace").is_second(replace(GRANTED, granted_by="anyone"))
