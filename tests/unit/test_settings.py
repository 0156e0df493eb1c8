"""Do settings that contradict each other keep a server from starting?"""

from __future__ import annotations

from decimal import Decimal

import pytest
import typer
from pydantic import ValidationError

from gatekeeper.cli.options import settings_of
from gatekeeper.settings import load_settings

BOTH = ("GATEKEEPER_START_OVERRIDE_MAX=100", "GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE=50")


def test_the_override_at_start_is_one_that_an_admin_could_grant() -> None:
    """With an amount that takes two admins, it is refused, and both settings are named; in one line for people."""
    with pytest.raises(ValidationError) as raised:
        load_settings(allow_budget_override=True, override_second_admin_above=50)
    assert all(setting in str(raised.value) for setting in BOTH)
    with pytest.raises(typer.BadParameter) as shown:
        settings_of(allow_budget_override=True, override_second_admin_above=50)
    assert shown.value.message.startswith(f"Value error, {BOTH[0]} must be at most {BOTH[1]} where")


@pytest.mark.parametrize(
    "settings",
    [
        {"allow_budget_override": True, "override_second_admin_above": 100},
        {"allow_budget_override": True, "override_second_admin_above": 50, "start_override_max": 50},
        {"allow_budget_override": True},
        {"override_second_admin_above": 50},
    ],
)
def test_otherwise_it_is_fine(settings: dict[str, int]) -> None:
    """Up to that amount, without such an amount, and where nothing is turned on at start."""
    assert load_settings(**settings).start_override_max >= Decimal(50)
