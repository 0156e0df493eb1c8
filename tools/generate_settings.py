"""Which settings are there? Writes docs/reference/settings.md from the settings themselves: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from gatekeeper.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
HEAD = """# Settings

Each is read from the environment; `gatekeeper serve --help` tells which have an option too. Written by `make docs`.

| variable | default | what it sets, and why |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    return HEAD + "".join(row(name, field) for name, field in Settings.model_fields.items())


def row(name: str, field: FieldInfo) -> str:
    """Return a setting's line."""
    names = " or ".join(f"`{variable}`" for variable in variables(name, field))
    return f"| {names} | {default(field)} | {field.description} |\n"


def variables(name: str, field: FieldInfo) -> list[str]:
    """Return the names that a setting has in the environment."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"GATEKEEPER_{name.upper()}"]


def default(field: FieldInfo) -> str:
    """Return a setting's default as a cell."""
    if field.default_factory is not None:
        return "host and process id"
    value = field.default
    if value is None:
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if PAGE.read_text() == page() else "docs/reference/settings.md is stale; run `make docs`")
    PAGE.write_text(page())
