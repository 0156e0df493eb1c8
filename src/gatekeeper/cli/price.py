"""The commands that show prices, and set an organization's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .actor import actor
from .amounts import read_decimal
from .options import AsJson, DatabaseUrl, DataDir, Organization, PgBin, fail_cleanly, settings_of
from .output import print_json, print_table

if TYPE_CHECKING:
    from gatekeeper.domain.rates import ModelRates, Rate
    from gatekeeper.services.price_admin import AgentTypePrice, ModelPrice, PricesInForce
    from gatekeeper.settings import Settings

RATES = ("input", "cached_input", "cache_write_input", "output", "call")
COLUMNS = ("Model", "From", "Input", "Cached", "Cache write", "Output", "Call", "Book")
OPTIONAL = ("Book", "From", "Call", "Cache write")


def _price_option(help_text: str, *names: str) -> Any:
    return typer.Option(*names, metavar="PRICE", parser=read_decimal, help=help_text, show_default=False)


PerMillion = Annotated[Decimal | None, _price_option("Per million tokens, in the organization's currency.")]

app = typer.Typer(help="Show prices, and set an organization's own.", rich_markup_mode=None)


@app.command("list")
def list_prices(
    *,
    organization: Annotated[
        str | None,
        typer.Option(help="Its own prices first.", envvar="GATEKEEPER_ORGANIZATION", show_default="everyone's"),
    ] = None,
    model: Annotated[str, typer.Option(metavar="PREFIX", help="Only models whose names begin so.")] = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Show the prices that are in force and to come, per million tokens. The first that is listed counts."""
    with fail_cleanly():
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        prices = asyncio.run(_prices_in_force(settings, organization))
    models, agent_types = list(_models(prices, model.lower())), [] if model else list(_agent_types(prices))
    if as_json:
        print_json({"currency": prices.currency, "models": models, "agent_types": agent_types})
        return
    if models:
        print_table(COLUMNS, [_row(entry) for entry in models], right=COLUMNS[2:7], optional=OPTIONAL)
        typer.echo(f"{prices.currency} per million tokens, and per call.")
    if agent_types:
        rows = [tuple(entry.values()) for entry in agent_types]
        print_table(("Agent type", "1,000 tokens", "Book"), rows, right=("1,000 tokens",))
    if not models and not agent_types:
        typer.echo("No price is known.")


@app.command("set")
def set_price(
    *,
    organization: Organization,
    model: Annotated[str, typer.Option(help="The model, as callers name it.", show_default=False)] = "",
    input_: Annotated[Decimal | None, _price_option("Per million tokens of input.", "--input")] = None,
    output: PerMillion = None,
    cached_input: PerMillion = None,
    cache_write_input: PerMillion = None,
    agent_type: Annotated[
        str, typer.Option(help="Price tokens that come without a model; * for all other types.", show_default=False)
    ] = "",
    per_1000_tokens: Annotated[Decimal | None, _price_option("Of an agent type.", "--per-1000-tokens")] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="A UTC date to come.", show_default="now"),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.", show_default=False)] = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Set a price of an organization's own, in its currency.

    It makes a new version of the organization's price book, which comes before
    everyone's. What was committed before keeps its cost.
    """
    with fail_cleanly():
        from gatekeeper.services.price_admin import AgentTypePrice, ModelPrice

        rates = {
            "input": input_,
            "output": output,
            "cached_input": cached_input,
            "cache_write_input": cache_write_input,
        }
        price: ModelPrice | AgentTypePrice
        if _is_of_agent_type(model, agent_type, rates, per_1000_tokens, since):
            price = AgentTypePrice(agent_type=agent_type, per_1000_tokens=per_1000_tokens or Decimal(0))
        else:
            given: dict[str, Any] = {name: rate for name, rate in rates.items() if rate is not None}
            price = ModelPrice(model=model, since=since.date() if since else None, **given)
        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        version = asyncio.run(_set_price(settings, organization, price, reason))
    if as_json:
        print_json({"organization": organization, "version": version})
    else:
        start = f"from {since:%Y-%m-%d} on" if since else "from now on"
        typer.echo(f"{organization} prices {model or agent_type} {start}, by its book {version}.")


def _is_of_agent_type(
    model: str,
    agent_type: str,
    rates: dict[str, Decimal | None],
    per_1000_tokens: Decimal | None,
    since: datetime | None,
) -> bool:
    """Tell which of the two kinds of prices the options set; refuse a mixture."""
    for_model = [name for name, rate in rates.items() if rate is not None]
    if bool(model) == bool(agent_type):
        problem = "give either --model or --agent-type"
    elif model and (rates["input"] is None or rates["output"] is None or per_1000_tokens is not None):
        problem = "--model takes --input and --output, 0 where it costs nothing"
    elif agent_type and (per_1000_tokens is None or for_model or since):
        problem = "--agent-type takes --per-1000-tokens alone, from now on"
    else:
        return bool(agent_type)
    raise typer.BadParameter(problem)


async def _prices_in_force(settings: Settings, organization: str | None) -> PricesInForce:
    from gatekeeper.services.price_admin import prices_in_force

    from .database import ledger

    async with ledger(settings) as pool:
        return await prices_in_force(pool, organization)


async def _set_price(settings: Settings, organization: str, price: ModelPrice | AgentTypePrice, reason: str) -> str:
    from gatekeeper.database import audit_key
    from gatekeeper.services.price_admin import set_price as set_it

    from .database import ledger

    async with ledger(settings) as pool:
        return await set_it(pool, organization, price, actor(), audit_key(settings), reason=reason)


def _models(prices: PricesInForce, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the models that begin with a prefix, or the one that is meant by it."""
    from gatekeeper.domain.rates import rates_at

    today = prices.at.astimezone(UTC).date()
    for book in prices.books:
        listed = [*book.models, *(model for provider in book.providers for model in provider.models)]
        chosen = [m for m in listed if m.name.startswith(prefix) or m.name.partition("/")[2].startswith(prefix)]
        if not chosen and (meant := book.find(prefix)):
            chosen = [meant]
        for model in chosen:
            to_come = [(dated.since, dated.rates) for dated in model.prices if dated.since and dated.since > today]
            for since, rates in ((None, rates_at(model.prices, prices.at)), *to_come):
                if rates is not None:
                    yield {
                        "model": model.name,
                        "from": since and since.isoformat(),
                        **_rates(rates),
                        "book": book.version,
                    }


def _rates(rates: ModelRates) -> dict[str, Any]:
    given: dict[str, Rate | None] = {name: getattr(rates, name) for name in RATES}
    return {name: None if rate is None else rate.to_document() for name, rate in given.items()}


def _agent_types(prices: PricesInForce) -> Iterator[dict[str, str]]:
    for book in prices.books:
        for agent_type, rate in book.agent_types.items():
            yield {"agent_type": agent_type, "per_1000_tokens": f"{rate:f}", "book": book.version}


def _row(entry: dict[str, Any]) -> Sequence[str]:
    return [entry["model"], entry["from"] or "", *(_rate_text(entry[name]) for name in RATES), entry["book"]]


def _rate_text(rate: str | dict[str, Any] | None) -> str:
    """Write a rate and its tiers."""
    if rate is None:
        return ""
    if isinstance(rate, str):
        return rate
    tiers = (f"{tier['rate']} above {tier['above']:,}" for tier in rate["tiers"])
    return f"{rate['base']}, {', '.join(tiers)}"
