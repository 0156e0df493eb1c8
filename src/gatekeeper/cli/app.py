"""Which commands are there?"""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper import __version__

from . import (
    alerts,
    audit,
    billing,
    cap,
    check,
    doctor,
    invoice,
    migrate,
    organization,
    override,
    price,
    replay,
    report,
    server,
    spend,
    split,
    statement,
    status,
    token,
    verify,
    watch,
)

app = typer.Typer(
    name="gatekeeper",
    help="The authority that AI agents ask before they spend money on a language model.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes cut the names of options short
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(server.serve)
app.command()(organization.init)
app.command()(status.status)
app.command()(check.check)
app.command()(watch.watch)
app.command()(cap.cap)
app.add_typer(override.app, name="override")
app.add_typer(alerts.app, name="alerts")
app.add_typer(spend.app, name="spend")
app.add_typer(price.app, name="price")
app.add_typer(token.app, name="token")
app.command()(report.report)
app.command()(statement.statement)
app.command()(split.split)
app.command()(invoice.invoice)
app.command()(billing.billing)
app.command()(audit.audit)
app.command()(replay.replay)
app.command()(verify.verify)
app.command()(doctor.doctor)
app.command()(migrate.migrate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatekeeper {__version__}")
        raise typer.Exit


@app.callback()
def gatekeeper(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tell what can be done, where nothing is asked for."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
