"""What does verification ask about overrides and alerts? As `verification_checks` does about the ledger.

An override that is wrong is named with what is wrong.
"""

from __future__ import annotations

from .verification_checks import KEY, MINE, NO_KEY, Check

# What a part beyond a cap must look like: kind, id and window of a budget, and an amount as Python writes one.
IS_AMOUNT = r"part->>3 ~ '^[0-9]{1,19}(\.[0-9]{1,9})?(E[+-]?[0-9]{1,2})?$'"
IS_PART = f"CASE jsonb_typeof(part) WHEN 'array' THEN jsonb_array_length(part) = 4 AND {IS_AMOUNT} ELSE false END"
# The parts of a reservation `t`, each in its row; whatever else stands there is told, and not counted.
PARTS = f"""
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(t.override_parts) WHEN 'array' THEN t.override_parts ELSE '[]' END
    ) AS p(part)
    CROSS JOIN LATERAL (SELECT CASE WHEN {IS_PART} THEN (part->>3)::numeric END AS amount) AS a
"""

# What overrides have paid for in each balance, by the index on reservations that use one.
OVERRIDDEN = f"""
SELECT 'overridden', {KEY}, '', coalesce(r.total, 0), coalesce(b.overridden, 0)
FROM (SELECT * FROM balances t WHERE {MINE} AND overridden <> 0) b
FULL JOIN (
    SELECT t.organization, part->>0 AS scope_kind, part->>1 AS scope_id, part->>2 AS budget_window,
           CASE part->>2 WHEN 'DAY' THEN t.day WHEN 'MONTH' THEN t.month ELSE 'total' END AS period,
           sum(a.amount) AS total
    FROM reservations t {PARTS}
    WHERE {MINE} AND t.override_id <> '' AND a.amount IS NOT NULL GROUP BY 1, 2, 3, 4, 5
) r USING ({KEY})
WHERE coalesce(r.total, 0) <> coalesce(b.overridden, 0)
"""

# What each override is booked for, and what it has paid by reservations and by the billing log.
BOOKED = f"""
SELECT wrong || quote_literal(t.override_id), t.organization, {NO_KEY}, '', expected, found
FROM overrides t
LEFT JOIN (
    SELECT organization, override_id, sum(override_amount) FILTER (WHERE state = 'HELD') AS held,
           sum(override_amount) FILTER (WHERE state <> 'HELD') AS paid
    FROM reservations t WHERE {MINE} AND override_id <> '' GROUP BY 1, 2
) r USING (organization, override_id)
LEFT JOIN (
    SELECT organization, override_id, sum(override_amount) AS billed
    FROM executions t WHERE {MINE} AND override_id <> '' GROUP BY 1, 2
) e USING (organization, override_id)
CROSS JOIN LATERAL (VALUES
    ('reserved of override ', coalesce(r.held, 0), t.reserved),
    ('spent of override ', coalesce(r.paid, 0), t.spent),
    ('executions that were paid by override ', t.spent, coalesce(e.billed, 0)),
    ('reserved and spent beyond the amount of override ', t.max_amount, greatest(t.max_amount, t.reserved + t.spent))
) AS v(wrong, expected, found)
WHERE {MINE} AND expected <> found
"""

# What a reservation says of its override: no more than it holds or has cost, and at least each part beyond a cap.
USES = f"""
SELECT CASE WHEN t.override_amount > u.most THEN 'more is paid by its override than it holds or has cost'
            WHEN t.override_amount < u.part THEN 'a part beyond a cap is more than what its override pays'
            ELSE 'parts beyond caps that cannot be read' END,
       t.organization, {NO_KEY}, t.reservation_id,
       CASE WHEN t.override_amount > u.most THEN u.most WHEN t.override_amount < u.part THEN u.part END,
       CASE WHEN t.override_amount > u.most OR t.override_amount < u.part THEN t.override_amount END
FROM reservations t CROSS JOIN LATERAL (
    SELECT CASE WHEN t.state = 'HELD' THEN t.amount ELSE coalesce(t.committed, t.charged) END AS most,
           (SELECT max(a.amount) FROM (VALUES (1)) AS one {PARTS}) AS part,
           jsonb_typeof(t.override_parts) <> 'array'
               OR EXISTS (SELECT FROM (VALUES (1)) AS one {PARTS} WHERE a.amount IS NULL) AS strange
) AS u
WHERE {MINE} AND (t.override_id <> '' OR t.override_amount <> 0 OR t.override_parts <> '[]')
    AND (t.override_amount > u.most OR t.override_amount < u.part OR u.strange)
"""

# Reservations and entries of the billing log that name an override which is not there, or not their own.
NAMELESS = "t.override_id = '' AND (t.override_amount <> 0 OR t.override_parts <> '[]')"
LOST = """t.override_id <> '' AND NOT EXISTS (
    SELECT FROM overrides o WHERE o.organization = t.organization AND o.override_id = t.override_id)"""
FOREIGN = """t.override_id <> '' AND NOT EXISTS (
    SELECT FROM reservations r WHERE r.organization = t.organization AND r.reservation_id = t.reservation_id
        AND r.override_id = t.override_id)"""
NAMED = " UNION ALL ".join(
    f"SELECT '{what} override ' || quote_literal(t.override_id) || '{wrong}', t.organization, {NO_KEY},"
    f" t.reservation_id, NULL, t.override_amount FROM {table} t WHERE {MINE} AND {condition}"
    for what, wrong, table, condition in (
        ("paid by", ", which has no name", "reservations", NAMELESS),
        ("paid by", ", which does not exist", "reservations", LOST),
        ("execution paid by", ", which its reservation does not use", "executions", FOREIGN),
    )
)

# Until when calls look for overrides. One in force beyond that would not be found.
IN_FORCE = f"""
SELECT 'in force, but calls do not look for it any more: override ' || quote_literal(t.override_id),
       t.organization, {NO_KEY}, '', NULL, NULL
FROM overrides t JOIN organizations o USING (organization)
WHERE {MINE} AND t.state = 'ACTIVE' AND t.expires_at > clock_timestamp()
    AND (o.overrides_until IS NULL OR o.overrides_until < t.expires_at)
"""

DELIVERIES = f"""
SELECT 'delivery by ' || quote_literal(t.channel) || ' of an alert that does not exist', t.organization, {NO_KEY}, '',
       NULL, t.alert_id::numeric
FROM alert_deliveries t WHERE {MINE} AND NOT EXISTS (
    SELECT FROM alerts a WHERE a.organization = t.organization AND a.alert_id = t.alert_id)
"""

OVERRIDE_CHECKS = (
    Check(name="overridden", statement=OVERRIDDEN),
    Check(name="overrides", statement=BOOKED),
    Check(name="uses of overrides", statement=USES),
    Check(name="names of overrides", statement=NAMED),
    Check(name="overrides in force", statement=IN_FORCE),
    Check(name="deliveries", statement=DELIVERIES),
)
