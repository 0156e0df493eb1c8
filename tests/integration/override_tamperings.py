"""How can books be wrong about overrides and alerts? As `tamperings` has it for the ledger."""

from __future__ import annotations

BEYOND = (
    "(SELECT reservation_id FROM reservations"
    " WHERE organization = 'acme' AND state = 'HELD' AND override_amount = 0.04 LIMIT 1)"
)
LOST_DELIVERY = (
    "INSERT INTO alert_deliveries (organization, alert_id, channel, next_attempt_at)"
    " VALUES ('acme', 9999, 'log', clock_timestamp())"
)

OVERRIDE_TAMPERINGS = {
    "overridden is too high": (
        "UPDATE balances SET overridden = overridden + 0.000000001 WHERE scope_kind = 'DEPARTMENT'",
        "'acme', department 'marketing', month .*: overridden: expected .*, found ",
    ),
    "overridden is forgotten": (
        "UPDATE balances SET overridden = 0 WHERE scope_kind = 'CAMPAIGN'",
        "'acme', campaign 'spring', day .*: overridden: expected .*, found 0.00",
    ),
    "overridden is not in a hold": (
        f"UPDATE reservations SET override_parts = '[]' WHERE reservation_id = {BEYOND}",
        "'acme', department 'marketing', month .*: overridden: expected ",
    ),
    "an override's reserved is too low": (
        "UPDATE overrides SET reserved = 0 WHERE organization = 'acme'",
        "'acme': reserved of override '.*': expected 0.04, found 0.00",
    ),
    "an override's spent is too high": (
        "UPDATE overrides SET spent = spent + 0.01",
        "'acme': spent of override '.*': expected .*, found ",
    ),
    "an override paid for what was not executed": (
        "UPDATE executions SET override_amount = override_amount / 2 WHERE override_id <> '' AND kind = 'COMMIT'",
        "'acme': executions that were paid by override '.*': expected .*, found ",
    ),
    "an overdrawn override": (
        "UPDATE overrides SET max_amount = 0.01",
        "reserved and spent beyond the amount of override '.*': expected 0.01, found ",
    ),
    "a part that is more than its override paid": (
        f"UPDATE reservations SET override_amount = 0.03 WHERE reservation_id = {BEYOND}",
        "reservation '.*': a part beyond a cap is more than what its override pays: expected 0.04, found 0.03",
    ),
    "an override that paid more than was held": (
        f"UPDATE reservations SET override_amount = 9 WHERE reservation_id = {BEYOND}",
        "reservation '.*': more is paid by its override than it holds or has cost: expected 0.04, found 9.00",
    ),
    "a use that was not given back": (
        "UPDATE reservations SET override_amount = amount WHERE override_id <> '' AND state = 'RELEASED'",
        "more is paid by its override than it holds or has cost: expected 0.00, found 0.04",
    ),
    **{
        f"parts like {parts}": (
            f"UPDATE reservations SET override_parts = '{parts}' WHERE reservation_id = {BEYOND}",
            "reservation '.*': parts beyond caps that cannot be read",
        )
        for parts in (
            '{"a": 1}',
            "7",
            "[7]",
            '[["CAMPAIGN", "spring", "DAY"]]',
            '[["CAMPAIGN", "spring", "DAY", "all"]]',
        )
    },
    "an override that is lost": (
        "DELETE FROM overrides WHERE organization = 'acme'",
        "reservation '.*': paid by override '.*', which does not exist",
    ),
    "a use without an override": (
        f"UPDATE reservations SET override_id = '' WHERE reservation_id = {BEYOND}",
        "reservation '.*': paid by override '', which has no name",
    ),
    "an execution of another override": (
        "UPDATE executions SET override_id = 'x' WHERE override_id <> '' AND kind = 'COMMIT'",
        "reservation '.*': execution paid by override 'x', which its reservation does not use",
    ),
    "overrides that calls do not look for": (
        "UPDATE organizations SET overrides_until = NULL",
        "'acme': in force, but calls do not look for it any more: override '",
    ),
    "overrides that calls do not look for long enough": (
        "UPDATE organizations SET overrides_until = overrides_until - interval '1 s'",
        "'acme': in force, but calls do not look for it any more: override '",
    ),
    "a delivery of nothing": (
        LOST_DELIVERY,
        "'acme': delivery by 'log' of an alert that does not exist: expected nothing, found 9999",
    ),
    "an alert of an organization that is lost": (
        "INSERT INTO alerts (organization, kind, message, occurred_at) VALUES ('lost', 'TEST', '', clock_timestamp())",
        "'lost': rows in alerts of an organization that does not exist",
    ),
}
