"""Is what SECURITY.md says still so?"""

from __future__ import annotations

import re
from pathlib import Path

from gatekeeper.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()


def test_its_limits_are_the_settings() -> None:
    """Each setting that it names has the default that it says."""
    told = re.findall(r"^\| `GATEKEEPER_(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert len(told) >= 13
    assert {name: int(default) for name, default in told} == {
        name: Settings.model_fields[name.lower()].default for name, _ in told
    }


def test_what_it_refers_to_is_there() -> None:
    """Every test, page and make target."""
    for path in [*re.findall(r"`(tests/[\w/]+\.py)`", PAGE), *re.findall(r"\]\(([^)#:]+)", PAGE)]:
        assert (ROOT / path).is_file(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", PAGE):
        assert f"\n{target}:" in makefile, target
