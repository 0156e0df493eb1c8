"""Which commands are there?"""

from __future__ import annotations

import typer

from . import replay, server

app = typer.Typer(
    name="gatekeeper",
    help="The authority that AI agents ask before they spend money on a language model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(server.serve)
app.command()(server.migrate)
app.command()(replay.replay)
