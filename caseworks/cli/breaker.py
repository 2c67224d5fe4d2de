"""`breaker list|open|close|hold|release`: the breakers that all workers share."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import BootstrapOption, JsonOption, deps_of, settings_of
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.control import Breaker, BreakerOrder, BreakerOrdered, Decision, PauseOrder

breaker = typer.Typer(
    help="What agents call, and whether the fleet calls it.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dependency, as in `calls`.")]
ByOption = Annotated[str, typer.Option(help="Who orders it; default: you.", show_default=False)]
WhyOption = Annotated[str, typer.Option(help="Why, for who looks later.", show_default=False)]
TimeoutOption = Annotated[
    float, typer.Option("--timeout-s", min=0, help="How long to wait for the decision.")
]
ORDERS: dict[BreakerOrdered, str] = {
    "open": "Call it no more, until you close or release it: tasks that need it wait in Kafka.",
    "close": "Call it again; what waits is taken up slowly.",
    "hold": "Keep it as it is, whatever workers report.",
    "release": "End a hold: reports move it again.",
}
NO_EFFECT = 1
"""Exit code of an order that nothing was heard of."""


@breaker.command(name="list")
def list_(
    context: typer.Context, bootstrap: BootstrapOption = "", as_json: JsonOption = False
) -> None:
    """List the breakers that ever moved, open ones first."""
    from caseworks.fleet import breakers, decisions

    broker = deps_of(context).connect(settings_of(bootstrap))
    found = breakers(decisions(broker, settings_of(bootstrap)).values())
    if as_json:
        for each in found:
            write_json(each.model_dump(mode="json"))
        return
    columns = ("dependency", "state", "held", "since", "probe from", "probe by", "by", "reason")
    write_table("", columns, [_row(each) for each in found])
    say(f"{sum(each.state != 'closed' for each in found)} of {len(found)} let nothing through")


def _ordering(wanted: BreakerOrdered) -> Callable[..., None]:
    """The command of an order: they differ in nothing but their word."""

    def run(
        context: typer.Context,
        name: NameArgument,
        *,
        by: ByOption = "",
        why: WhyOption = "",
        timeout_s: TimeoutOption = 5.0,
        bootstrap: BootstrapOption = "",
        as_json: JsonOption = False,
    ) -> None:
        from schemas.control import BreakerOrder

        request = BreakerOrder(dependency=name, order=wanted, by=by or getpass.getuser(), why=why)
        give(context, request, timeout_s, bootstrap, look="breaker list", as_json=as_json)

    return run


for _wanted, _does in ORDERS.items():
    breaker.command(name=_wanted, help=_does)(_ordering(_wanted))


def give(
    context: typer.Context,
    request: BreakerOrder | PauseOrder,
    timeout_s: float,
    bootstrap: str,
    *,
    look: str,
    as_json: bool,
) -> None:
    """Send an order and tell what came of it; *look* is the command that shows the state."""
    from caseworks.fleet import order

    settings, deps = settings_of(bootstrap), deps_of(context)
    decided = order(deps.connect(settings), settings, request, deps.clock(), timeout_s)
    _tell(decided, f"caseworks {look}", as_json=as_json)


def _tell(decided: Decision | None, look: str, *, as_json: bool) -> None:
    """What came of an order; ends the command when nothing did."""
    from schemas.control import Breaker

    if decided is None:
        note(f"sent, and nothing changed: it is so already, or no coordinator runs; {look}")
        raise typer.Exit(NO_EFFECT)
    if as_json:
        write_json(decided.model_dump(mode="json"))
    elif isinstance(decided, Breaker):
        held = ", held" if decided.held else ""
        say(f"{plain(decided.dependency)} is {decided.state}{held}")
    else:
        version = f" (version {decided.agent_version})" if decided.agent_version else ""
        say(f"{plain(decided.agent)}{version} is {'paused' if decided.paused else 'at work'}")


def _row(found: Breaker) -> tuple[object, ...]:
    return (
        found.dependency,
        found.state.replace("_", " "),
        "held" if found.held else "",
        f"{found.at:%Y-%m-%d %H:%M:%S}" if found.at else "",
        f"{found.until:%H:%M:%S}" if found.until else "",
        found.probe.worker if found.probe else "",
        found.by,
        found.reason,
    )
