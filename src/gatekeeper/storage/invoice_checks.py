"""What does verification ask about invoices? As `verification_checks` does about the ledger.

What is wrong is told with the invoice's number. What an invoice says in its document is checked where documents can be
read (`services/invoice_verification`).
"""

from __future__ import annotations

from .verification_checks import MINE, NO_KEY, Check

# Invoices that stand, with their spans.
STANDING_SPANS = f"""
SELECT t.organization, t.number, s.period, s.recorded_from, s.recorded_before
FROM invoices t JOIN invoice_spans s USING (organization, number)
WHERE {MINE} AND t.kind = 'INVOICE' AND NOT EXISTS (
    SELECT FROM invoices c
    WHERE c.organization = t.organization AND c.credited_number = t.number AND c.kind = 'CREDIT_NOTE')
"""

# The numbers of a year begin with 1 and leave none out, and say the year and the place.
NUMBERS = f"""
SELECT 'invoices of ' || year || ', by the highest number', organization, {NO_KEY}, '', max(sequence)::numeric,
       count(*)::numeric
FROM invoices t WHERE {MINE} GROUP BY organization, year HAVING max(sequence) <> count(*) OR min(sequence) <> 1
UNION ALL
SELECT 'invoice ' || quote_literal(number) || ' is not what its place is called', organization, {NO_KEY}, '', NULL, NULL
FROM invoices t
WHERE {MINE} AND number <> year || '-' || lpad(sequence::text, greatest(6, length(sequence::text)), '0')
"""

# What is on each invoice is what the executions in its spans come to: by the month, for there is no other index that
# all spans of an old month could use together.
AMOUNTS = f"""
SELECT what || quote_literal(t.number), t.organization, {NO_KEY}, '', expected, found
FROM invoices t
LEFT JOIN (
    SELECT s.organization, s.number, sum(e.cost) AS cost, count(*) AS entries
    FROM invoice_spans s
    JOIN executions e ON e.organization = s.organization AND e.month = s.period
        AND e.committed_at >= s.recorded_from AND e.committed_at < s.recorded_before
    GROUP BY s.organization, s.number
) AS of_spans USING (organization, number)
CROSS JOIN LATERAL (VALUES
    ('executions on invoice ', coalesce(of_spans.cost, 0), t.ledger_amount),
    ('entries on invoice ', coalesce(of_spans.entries, 0)::numeric, t.entries::numeric)
) AS v(what, expected, found)
WHERE {MINE} AND t.kind = 'INVOICE' AND expected <> found
"""

# A credit note is the negative of its invoice, which is there, and there is one for an invoice at most.
CREDIT_NOTES = f"""
SELECT what || quote_literal(t.number), t.organization, {NO_KEY}, '', expected, found
FROM invoices t LEFT JOIN invoices i
    ON i.organization = t.organization AND i.number = t.credited_number AND i.kind = 'INVOICE'
CROSS JOIN LATERAL (VALUES
    ('ledger amount of credit note ', -i.ledger_amount, t.ledger_amount),
    ('net amount of credit note ', -i.net_amount, t.net_amount),
    ('tax of credit note ', -i.tax_amount, t.tax_amount)
) AS v(what, expected, found)
WHERE {MINE} AND t.kind = 'CREDIT_NOTE' AND (expected IS DISTINCT FROM found OR i.period <> t.period)
UNION ALL
SELECT 'credit notes of invoice ' || quote_literal(credited_number), organization, {NO_KEY}, '', 1.0, count(*)::numeric
FROM invoices t WHERE {MINE} AND t.kind = 'CREDIT_NOTE' GROUP BY organization, credited_number HAVING count(*) > 1
"""

# No execution is on two invoices that stand.
ONCE = f"""
WITH spans AS MATERIALIZED ({STANDING_SPANS})
SELECT 'invoices ' || quote_literal(a.number) || ' and ' || quote_literal(b.number) || ' share executions of '
       || a.period, a.organization, {NO_KEY}, '', NULL, NULL
FROM spans a JOIN spans b ON b.organization = a.organization AND b.period = a.period
    AND a.recorded_from < b.recorded_before AND b.recorded_from < a.recorded_before
    AND (a.number, a.recorded_from) < (b.number, b.recorded_from)
UNION ALL
SELECT 'months with two invoices: ' || t.period, t.organization, {NO_KEY}, '', 1.0, count(*)::numeric
FROM invoices t
WHERE {MINE} AND t.kind = 'INVOICE' AND NOT EXISTS (
    SELECT FROM invoices c
    WHERE c.organization = t.organization AND c.credited_number = t.number AND c.kind = 'CREDIT_NOTE')
GROUP BY t.organization, t.period HAVING count(*) > 1
"""

# Spans and files belong to an invoice that is there; each file is what its hash says.
PARTS = f"""
SELECT 'spans of an invoice that does not exist, ' || quote_literal(t.number), t.organization, {NO_KEY}, '', NULL, NULL
FROM invoice_spans t WHERE {MINE} AND NOT EXISTS (
    SELECT FROM invoices i WHERE i.organization = t.organization AND i.number = t.number AND i.kind = 'INVOICE')
UNION ALL
SELECT CASE WHEN i.number IS NULL THEN 'a file of an invoice that does not exist, '
            ELSE 'a file that does not fit its hash, of invoice ' END || quote_literal(t.number),
       t.organization, {NO_KEY}, '', NULL, NULL
FROM invoice_files t LEFT JOIN invoices i USING (organization, number)
WHERE {MINE} AND (i.number IS NULL OR sha256(t.content) <> t.content_hash)
"""

INVOICE_CHECKS = (
    Check(name="numbers of invoices", statement=NUMBERS),
    Check(name="amounts of invoices", statement=AMOUNTS),
    Check(name="credit notes", statement=CREDIT_NOTES),
    Check(name="executions on one invoice", statement=ONCE),
    Check(name="parts of invoices", statement=PARTS),
)

# Every document, with what stands beside it, in the order of the primary key.
DOCUMENTS = f"""
SELECT t.organization, t.number, t.kind, t.period, t.credited_number, t.issued_at, t.entries, t.ledger_amount,
       t.net_amount, t.tax_amount, t.document, t.content_hash,
       s.periods, s.begins, s.ends
FROM invoices t LEFT JOIN LATERAL (
    SELECT array_agg(period ORDER BY period, recorded_from) AS periods,
           array_agg(recorded_from ORDER BY period, recorded_from) AS begins,
           array_agg(recorded_before ORDER BY period, recorded_from) AS ends
    FROM invoice_spans WHERE organization = t.organization AND number = t.number
) AS s ON true
WHERE {MINE} ORDER BY t.organization, t.number
"""
