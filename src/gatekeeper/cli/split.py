"""The command that splits what campaigns or departments share of a month's cost."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatekeeper.domain.cost_splits import SplitModel

from .connection import open_client
from .csv_output import Cell, print_csv
from .months import MONTH_TIMEOUT_S, Month
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import print_json, print_table, shown
from .override_texts import instant_text
from .statuses import amount_text

if TYPE_CHECKING:
    from gatekeeper_client.v1.report_service_pb2 import GetAttributedSpendResponse
    from gatekeeper_client.v1.spend_pb2 import SplitRule

# More is no file of rules.
RULES_BYTES_MAX: Final = 1_000_000
AMOUNTS: Final = ("own", "shared", "cost")


class By(StrEnum):
    """Among what a month is split."""

    CAMPAIGN = "campaign"
    DEPARTMENT = "department"


def split(
    period: Month = "",
    *,
    organization: Organization,
    rules: Annotated[Path, typer.Option(metavar="FILE", help="TOML file of the rules: [[rules]] tables.")],
    by: Annotated[By, typer.Option(help="Who shares.")] = By.CAMPAIGN,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Split what campaigns or departments share of a month's cost, by rules.

    A rule names a label, a model (even, weighted or proportional) and who shares.
    All entries add up to the month's cost.
    """
    read = read_rules(rules)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = client.get_attributed_spend(
            organization,
            period=period,
            scope_kind="CAMPAIGN" if by is By.CAMPAIGN else "DEPARTMENT",
            rules=read,
            timeout_s=MONTH_TIMEOUT_S,
        )
    if as_json:
        print_json(_document(organization, by, found))
    elif as_csv:
        from gatekeeper_client import from_money

        cells: list[list[Cell]] = [
            [entry.id, *(from_money(getattr(entry, name)) for name in AMOUNTS), found.cost.currency_code]
            for entry in found.entries
        ]
        print_csv([by.value, *AMOUNTS, "currency"], cells)
    else:
        rows = [[shown(entry.id) or "(none)", *_amounts(entry)] for entry in found.entries]
        total = ["all", "", "", amount_text(found.cost)]
        print_table([by.value.capitalize(), "Own", "Shared", "Cost"], [*rows, total], right=["Own", "Shared", "Cost"])


def read_rules(path: Path) -> list[SplitRule]:
    """Read rules from a TOML file. Raises `typer.BadParameter` with what is wrong, and where."""
    try:
        with path.open("rb") as file:
            text = file.read(RULES_BYTES_MAX + 1)
        if len(text) > RULES_BYTES_MAX:
            message = f"{path} is longer than {RULES_BYTES_MAX:,} bytes"
            raise typer.BadParameter(message)
        document = tomllib.loads(text.decode())
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise typer.BadParameter(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is no TOML: {error}"
        raise typer.BadParameter(message) from None
    tables = document.get("rules")
    if not isinstance(tables, list) or not tables or document.keys() != {"rules"}:
        message = f"{path}: there must be [[rules]] tables, and nothing else"
        raise typer.BadParameter(message)
    return [_rule(table, f"{path}: rules[{index}]") for index, table in enumerate(tables)]


def _rule(table: Any, where: str) -> SplitRule:
    from gatekeeper_client.v1.spend_pb2 import SplitRule, SplitShare

    if not isinstance(table, dict):
        message = f"{where} is no table"
        raise typer.BadParameter(message)
    label, value, model = (_text(table, name, where) for name in ("label", "value", "model"))
    if model.upper() not in SplitModel.__members__:
        message = f"{where}.model is {model!r}; write one of {', '.join(SplitModel).lower()}"
        raise typer.BadParameter(message)
    shares = _shares(table.get("shares"), where)
    if unknown := sorted(table.keys() - {"label", "value", "model", "shares"}):
        message = f"{where} has {unknown[0]!r}, which no rule has: label, value, model, shares"
        raise typer.BadParameter(message)
    return SplitRule(
        label=label,
        value=value,
        model=f"SPLIT_MODEL_{model.upper()}",  # type: ignore[arg-type]
        shares=[SplitShare(id=name, weight=weight) for name, weight in shares.items()],
    )


def _text(table: dict[str, Any], name: str, where: str) -> str:
    found = table.get(name, "")
    if not isinstance(found, str):
        message = f"{where}.{name} must be a text"
        raise typer.BadParameter(message)
    return found


def _shares(found: Any, where: str) -> dict[str, int]:
    """Read who shares: a list of names, or a table of names with their weights."""
    if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
        return dict.fromkeys(found, 0)
    if isinstance(found, dict) and found and all(type(weight) is int for weight in found.values()):
        return found
    message = f'{where}.shares must be names, ["spring", "autumn"], or whole weights, {{spring = 2, autumn = 1}}'
    raise typer.BadParameter(message)


def _amounts(entry: Any) -> list[str]:
    return [amount_text(getattr(entry, name)) for name in AMOUNTS]


def _document(organization: str, by: By, found: GetAttributedSpendResponse) -> dict[str, Any]:
    return {
        "organization": organization,
        "by": by.value,
        "currency": found.cost.currency_code,
        "entries": [
            {"id": entry.id, **{name: amount_text(getattr(entry, name)) for name in AMOUNTS}} for entry in found.entries
        ],
        "cost": amount_text(found.cost),
        "read_time": instant_text(found.read_time),
    }
