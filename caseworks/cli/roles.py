"""`coordinator` and `worker`: one role, for `up` and for your own supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caseworks.cli.base import (
    DEFAULT_APP,
    AppOption,
    BootstrapOption,
    InstanceOption,
    app_of,
    deps_of,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from threading import Event

    from caseworks.cli.base import Deps
    from caseworks.compose import System

    Groups = Mapping[str, Sequence[str]]
    """Consumer groups, and the topics that each reads."""


def coordinator(
    context: typer.Context,
    app: AppOption = DEFAULT_APP,
    instance: InstanceOption = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Run a coordinator: it takes events, decides what is next, publishes results."""
    from caseworks.lag import groups_of

    def groups(system: System) -> Groups:
        """All of the app: a worker that is gone cannot tell how far behind it is."""
        return groups_of(system.settings.topics, system.app.agents)

    serve(
        deps_of(context),
        "coordinator",
        app,
        (bootstrap, instance),
        groups,
        lambda system, stop: system.run_coordinator(stop),
    )


def worker(
    context: typer.Context,
    agents: Annotated[
        list[str] | None, typer.Argument(metavar="[AGENT]...", help="Default: all of the app.")
    ] = None,
    agent: Annotated[list[str] | None, typer.Option(help="The same, as an option.")] = None,
    app: AppOption = DEFAULT_APP,
    instance: InstanceOption = "",
    bootstrap: BootstrapOption = "",
) -> None:
    """Run a worker: it does the tasks of one agent, or of several."""
    named = [*(agents or ()), *(agent or ())]

    def chosen(system: System) -> Sequence[str]:
        return _known(named, sorted(system.app.agents))

    serve(
        deps_of(context),
        "worker",
        app,
        (bootstrap, instance),
        lambda _system: {},
        lambda system, stop: _caged(system, chosen(system), stop),
    )


def _caged(system: System, agents: Sequence[str], stop: Event) -> int:
    """Run a worker within what its process may take and stand still."""
    from agents.processes.memory import limit_memory
    from agents.stalls import ended_when_frozen

    settings = system.settings
    if settings.worker_memory_max_mb is not None:
        limit_memory(settings.worker_memory_max_mb)
    with ended_when_frozen(settings.stuck_max_s):
        return system.run_worker(agents, stop)


def _known(named: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    from difflib import get_close_matches

    from events.errors import DeclarationError

    for name in named:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise DeclarationError(
                f"the app has no agent {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}",
            )
    return list(dict.fromkeys(named)) or known


def serve(
    deps: Deps,
    role: str,
    target: str,
    given: tuple[str, str],
    groups: Callable[[System], Groups],
    run: Callable[[System, Event], int],
) -> None:
    """Run a role of the app *target* with all that a process has around it, and exit.

    *given*: bootstrap and instance, as options said.
    """
    from caseworks.lifeline import Lifeline

    lifeline = Lifeline.hold()  # first: from here on this process dies with its supervisor
    from caseworks.cli.output import say
    from caseworks.compose import build
    from caseworks.process import run_role
    from events import logs
    from events.metrics import Prometheus

    settings = settings_of(*given)
    logs.configure(level=settings.log_level, role=role, instance=settings.instance)
    telemetry = Prometheus()
    app = app_of(target)
    system = build(app, settings, broker=deps.connect(settings), telemetry=telemetry)
    system.check_topics()
    if lifeline is not None:
        lifeline.wait_for_turn()
    code = run_role(
        system,
        telemetry,
        lambda stop: run(system, stop),
        groups(system),
        lifeline=lifeline,
        told=lambda port: say(f"http http://{settings.http_host}:{port}"),
    )
    raise typer.Exit(code)
