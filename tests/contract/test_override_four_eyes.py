"""Can one admin be two, or make one large override of several small ones? On a server that demands two admins."""

from __future__ import annotations

import asyncio

import pytest

from gatekeeper_client.money import from_money

from .overriding import ACTIVE, HOUR_S, PENDING, Office, Overriding, bearer_of
from .refusals import refusal
from .secured import Secured, first_token
from .test_override_second_admin import SECOND_NEEDED


def assert_no_second(admin: Overriding, override_id: str) -> None:
    """See that an admin cannot approve what another one has granted."""
    refused = refusal(admin.approve, override_id)
    assert (refused.code, refused.reason) == SECOND_NEEDED


def test_what_an_admin_has_made_is_no_other_admin(office: Office) -> None:
    """Neither whom the first admin has made, nor whoever has made the first, nor whom one admin has made beside."""
    alan = office.made_by(office.ada)
    alice, bob = office.made_by(alan), office.made_by(office.ada)
    for first, others in ((office.ada, (alan, alice)), (alice, (alan, bob, office.ada))):
        granted = first.on("80")
        for other in others:
            assert_no_second(other, granted.override_id)
        assert office.grace.approve(granted.override_id).state == ACTIVE
        office.grace.off(override_id=granted.override_id)


def test_an_admin_who_is_gone_has_made_others_all_the_same(wary: Secured, organization: str, office: Office) -> None:
    """A token that has ended still tells who has made whom."""
    alan = office.made_by(office.ada)
    alice = office.made_by(alan)
    name = alan.on("80").granted_by
    wary.wire.sql("UPDATE tokens SET revoked_at = now() WHERE organization = %s AND name = %s", organization, name)
    assert_no_second(alice, office.ada.on("80").override_id)


def test_a_second_admin_was_there_before(office: Office) -> None:
    """An admin who is made once the override is there is no second, whoever makes it."""
    granted = office.ada.on("80")
    late = office.made_by(office.operator)
    assert_no_second(late, granted.override_id)
    assert late.on("80").state == PENDING
    assert office.grace.approve(granted.override_id).state == ACTIVE


def test_an_operator_needs_another_than_its_own(wary: Secured, organization: str, office: Office) -> None:
    """What an operator grants, none approves whom that operator has made; another operator does."""
    other = bearer_of(wary, organization, asyncio.run(first_token(wary.wire.database_url)))
    granted = office.operator.on("80")
    for made in (office.ada, office.made_by(office.ada)):
        assert_no_second(made, granted.override_id)
    assert other.approve(granted.override_id).state == ACTIVE


def test_several_small_ones_are_a_large_one(office: Office) -> None:
    """What is in force of what an admin has granted alone counts, also what it has approved; another one's does not."""
    assert office.ada.on("30").state == ACTIVE
    waiting = office.ada.on("20.01")
    assert waiting.state == PENDING
    asked = office.agent.request("20.01")
    assert office.ada.approve(asked.override_id).state == PENDING
    assert_no_second(office.ada, asked.override_id)
    office.ada.off(override_id=waiting.override_id)
    assert office.ada.approve(asked.override_id, "20").state == ACTIVE
    office.ada.off()
    assert office.grace.on("50").state == office.ada.on("50").state == ACTIVE


def test_what_two_have_granted_counts_for_neither(office: Office) -> None:
    """It has been looked at twice already."""
    office.grace.approve(office.ada.on("80").override_id, "45")
    assert office.ada.on("50").state == ACTIVE
    office.ada.off()
    assert office.grace.on("50").state == ACTIVE


def test_a_hand_grants_once(office: Office) -> None:
    """What an admin grants in the name of another that it has made counts together."""
    alan = office.made_by(office.ada)
    assert alan.on("30").state == ACTIVE
    assert [admin.on("20.01").state for admin in (office.ada, alan)] == [PENDING, PENDING]
    assert office.ada.on("20").state == ACTIVE


@pytest.mark.parametrize("end", ["ended", "expired"])
def test_what_was_used_counts_for_a_day(wary: Secured, organization: str, office: Office, end: str) -> None:
    """Of what is over, what it has paid or still holds counts; what it has not paid is as if it had not been."""

    def shift(by: str, column: str = "expires_at") -> None:
        wary.wire.sql(
            f"UPDATE overrides SET {column} = {column} - %s::interval WHERE organization = %s",
            by,
            organization,
        )

    granted = office.ada.on("50")
    assert office.agent.reserve("3").HasField("reservation")
    if end == "ended":
        office.ada.off(override_id=granted.override_id)
    else:
        shift("1 hour")
    assert office.ada.on("48.01").state == PENDING
    full = office.ada.on("48")
    assert full.state == ACTIVE
    office.ada.off(override_id=full.override_id)
    shift("1 day")
    shift("1 day", "created_at")
    assert office.ada.on("50").state == ACTIVE


def test_the_second_admin_grants_no_more_time(office: Office) -> None:
    """It may lower the time that the first has granted, not raise it; the first may raise what an agent asked for."""
    asked = office.agent.request("80", ttl_s=60)
    office.ada.approve(asked.override_id, ttl_s=HOUR_S)
    for admin in (office.grace, office.ada):
        assert list(refusal(admin.approve, asked.override_id, ttl_s=HOUR_S + 1).violations) == ["ttl"]
    before = office.grace.approve(asked.override_id, ttl_s=HOUR_S - 60)
    assert before.state == ACTIVE
    assert (before.expire_time.ToDatetime() - before.create_time.ToDatetime()).total_seconds() < HOUR_S


def test_the_first_admin_may_try_again(office: Office) -> None:
    """The same request is answered with what has become of it, however much of it the second admin has approved."""
    granted = office.ada.on("80", request_id="o-1")
    assert office.ada.on("80", request_id="o-1") == granted
    approved = office.grace.approve("o-1", "60", ttl_s=60)
    assert office.ada.on("80", request_id="o-1") == approved
    assert (approved.state, from_money(approved.max_amount)) == (ACTIVE, 60)
    for fields in ({"amount": "60", "ttl_s": 60}, {"amount": "80", "ttl_s": 60}, {"amount": "80", "reason": "why"}):
        assert refusal(office.ada.on, request_id="o-1", **fields).reason == "OVERRIDE_MISMATCH"


def test_an_agent_may_try_again(office: Office) -> None:
    """It is shown its request, though the first admin has granted less."""
    asked = office.agent.request("80")
    first = office.ada.approve(asked.override_id, "70", ttl_s=60)
    assert (first.override_id, first.state) == (asked.override_id, PENDING)
    assert office.agent.request("80") == first
