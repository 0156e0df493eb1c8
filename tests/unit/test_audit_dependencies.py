"""What does `make audit` make of the advisory database's answer?"""

from __future__ import annotations

from typing import Any

from tools.audit_dependencies import NOT_CHECKED, judged

SAFE = {"name": "grpcio", "version": "1.85.0", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}
ADVISORY = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "bad"}
BAD = {"name": "jinja", "version": "1.0", "vulns": [ADVISORY]}


def judge(*packages: Any, ignored: dict[str, str] | None = None) -> tuple[list[str], bool]:
    return judged({"dependencies": [*packages]}, ignored or {})


def test_no_advisory_is_good_news() -> None:
    """It says how many packages it knows that of."""
    assert judge(SAFE) == (["1 packages checked, 0 vulnerabilities"], False)


def test_an_advisory_is_bad_news() -> None:
    """It is named, with its aliases and the version that mends it."""
    lines, vulnerable = judge(SAFE, BAD)
    assert vulnerable
    assert lines[0] == "jinja 1.0: PYSEC-2026-1 (CVE-2026-1), mended in 1.1"


def test_an_ignored_advisory_is_no_news() -> None:
    """By its id or an alias; one that concerns nothing any more is to be removed."""
    assert judge(BAD, ignored={"CVE-2026-1": "not used that way"}) == (["1 packages checked, 0 vulnerabilities"], False)
    lines, vulnerable = judge(SAFE, ignored={"CVE-2020-1": "was ours"})
    assert not vulnerable
    assert "CVE-2020-1" in lines[0]


def test_a_mirror_that_knows_nothing_has_checked_nothing() -> None:
    """That is said, and is no failure; packages that alone are unknown are named."""
    lines, vulnerable = judge(UNKNOWN, UNKNOWN)
    assert not vulnerable
    assert lines[0].startswith(NOT_CHECKED)
    assert "ours" in judge(SAFE, UNKNOWN)[0][0]
