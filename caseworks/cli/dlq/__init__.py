"""`dlq list|show|diff|replay|drop|log`: dead letters, why they died, and putting them right."""

from __future__ import annotations

import typer

from caseworks.cli.dlq.acting import drop, replay
from caseworks.cli.dlq.comparing import diff
from caseworks.cli.dlq.listing import list_, log
from caseworks.cli.dlq.showing import show

dlq = typer.Typer(help="Dead letters: list, show, diff, replay, drop, log.", no_args_is_help=True)
dlq.command(name="list")(list_)
dlq.command()(show)
dlq.command()(diff)
dlq.command()(replay)
dlq.command()(drop)
dlq.command()(log)
