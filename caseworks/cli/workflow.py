"""`workflow lint|graph|price`: a workflow before it runs, from a file or from an app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caseworks.cli.base import DEFAULT_APP, JsonOption
from caseworks.cli.output import note, plain, say, write_json, write_table

if TYPE_CHECKING:
    from coordinator.pricing import Line, Price
    from schemas.agent import AgentSpec
    from schemas.workflow import WorkflowSpec

workflow = typer.Typer(help="A workflow before it runs.", no_args_is_help=True)

PROBLEMS = 1

File = Annotated[
    str, typer.Argument(metavar="[FILE]", help="A workflow in YAML; default: those of the app.")
]
AppOption = Annotated[
    str,
    typer.Option(
        "--app",
        metavar="MODULE:APP",
        help="The app that has the agents; without it, those of a file are taken on trust.",
    ),
]
NameOption = Annotated[
    str, typer.Option("--workflow", metavar="NAME", help="Only this one of the app.")
]


class Format(StrEnum):
    """Languages of pictures."""

    MERMAID = "mermaid"
    DOT = "dot"


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow that was asked for, or why there is none."""

    place: str
    spec: WorkflowSpec | None
    agents: Mapping[str, AgentSpec] | None
    """`None`: not known."""
    problems: tuple[str, ...]


@workflow.command()
def lint(file: File = "", app: AppOption = "", name: NameOption = "") -> None:
    """Say what is wrong: a line for each problem, and exit code 1 when there is one."""
    wrong = False
    for each in _find(file, app, name):
        wrong = wrong or bool(each.problems)
        for problem in each.problems:
            say(plain(problem))
        if each.spec is not None and not each.problems:
            known = "" if each.agents is not None else " (agents not looked for: no --app)"
            say(f"{each.place}: {each.spec.name} is fine{known}")
    if wrong:
        raise typer.Exit(PROBLEMS)


@workflow.command()
def graph(
    file: File = "",
    app: AppOption = "",
    name: NameOption = "",
    language: Annotated[Format, typer.Option("--format", help="The language.")] = Format.MERMAID,
) -> None:
    """Draw it: steps, conditions, maps, loops, waits, approvals and undo."""
    from coordinator.graph import dot, mermaid

    wrong = False
    for each in _find(file, app, name):
        wrong = _warn(each) or wrong
        if each.spec is not None:
            say(mermaid(each.spec) if language is Format.MERMAID else dot(each.spec))
    if wrong:
        raise typer.Exit(PROBLEMS)


@workflow.command()
def price(
    file: File = "", app: AppOption = "", name: NameOption = "", as_json: JsonOption = False
) -> None:
    """Say what it may cost at worst: runs, tokens, money, and time against its deadline.

    A budget holds for one run of an agent. What an agent without a budget spends is unknown.
    """
    from coordinator import pricing
    from coordinator.workflow import agents_of, compile_workflow
    from schemas.agent import AgentSpec

    wrong = False
    for each in _find(file, app, name):
        wrong = _warn(each) or wrong
        if each.spec is None or each.problems:
            continue
        named = {agent for step in each.spec.steps for agent in agents_of(step)}
        agents = {agent: AgentSpec(name=agent) for agent in named} | dict(each.agents or {})
        worst = pricing.price(compile_workflow(each.spec, agents))
        write_json(_as_json(worst)) if as_json else _show(worst)
        wrong = wrong or bool(worst.problems)
    if wrong:
        raise typer.Exit(PROBLEMS)


def _find(file: str, app: str, name: str) -> Iterator[Found]:
    return _in_file(file, app, name) if file else _in_app(app or DEFAULT_APP, name)


def _in_file(file: str, app: str, name: str) -> Iterator[Found]:
    from caseworks.loading import find_app
    from caseworks.signatures import check_signatures
    from caseworks.workflow_file import WorkflowFileError, read_workflow
    from events.errors import DeclarationError

    if name:
        raise typer.BadParameter("--workflow chooses one of an app's, and a file holds only one")
    if not Path(file).exists():
        raise typer.BadParameter(f"there is no file {file}")
    owner = find_app(app) if app else None
    agents = None
    if owner is not None:
        agents = {agent: each.spec for agent, each in owner.agents.items()}
    try:
        found = read_workflow(Path(file))
    except WorkflowFileError as error:
        yield Found(file, None, agents, error.problems)
        return
    spec = found.with_limits_of(agents or {})
    problems = found.problems(agents)
    if owner is not None and not problems:
        try:
            found.load_on()
            check_signatures(spec, owner.agents, found.load_awaited())
        except DeclarationError as error:
            problems = (f"{file}: {error}",)
    yield Found(file, spec, agents, problems)


def _in_app(target: str, name: str) -> Iterator[Found]:
    from caseworks.loading import find_app
    from coordinator.workflow_problems import problems_of
    from events.errors import DeclarationError

    app = find_app(target)
    agents = {agent: each.spec for agent, each in app.agents.items()}
    names = [spec.name for spec in app.workflows]
    if name and name not in names:
        raise typer.BadParameter(f"{target} has no workflow {name!r}: it has {', '.join(names)}")
    fine = True
    for spec in app.workflows:
        problems = problems_of(spec, agents)
        fine = fine and not problems
        if not name or name == spec.name:
            located = tuple(f"{target}: workflow {spec.name!r}: {text}" for text in problems)
            yield Found(target, spec, agents, located)
    if fine:
        try:
            _ = app.plans
        except DeclarationError as error:  # workflows that do not go together
            yield Found(target, None, agents, (f"{target}: {error}",))


def _warn(found: Found) -> bool:
    for problem in found.problems:
        note(plain(problem))
    return bool(found.problems)


def _show(worst: Price) -> None:
    from coordinator.pricing import span

    columns = ("step", "role", "agent", "runs", "that is", "tokens", "USD", "one by one")
    write_table(f"{worst.workflow}, at worst", columns, map(_row, worst.lines), right="3 5 6 7")
    least = "unknown, at least " if worst.unknown else ""
    say(f"runs of agents: {worst.runs}")
    say(f"tokens: {least}{worst.tokens}; USD: {least}{worst.usd}")
    if worst.unknown:
        say(f"agents without a budget of tokens and USD: {', '.join(worst.unknown)}")
    say(f"time: {span(worst.path_s)} of {span(worst.deadline_s)} ({' -> '.join(worst.path)})")
    if worst.undo_s:
        say(f"time to undo: {span(worst.undo_s)} of {span(worst.undo_deadline_s)}")
    say("not counted: queueing, delegated steps, pauses that a dependency asks for")
    for problem in worst.problems:
        say(plain(f"problem: {problem}"))


def _row(line: Line) -> tuple[object, ...]:
    from coordinator.pricing import span

    tokens = "unknown" if line.tokens is None else line.tokens
    usd = "unknown" if line.usd is None else line.usd
    return (
        line.step,
        line.role,
        line.agent,
        line.runs,
        line.how,
        tokens,
        usd,
        span(line.seconds),
    )


def _as_json(worst: Price) -> dict[str, Any]:
    lines = [
        {
            "step": line.step,
            "role": line.role,
            "agent": line.agent,
            "runs": line.runs,
            "tokens": line.tokens,
            "usd": None if line.usd is None else str(line.usd),
            "seconds": line.seconds,
        }
        for line in worst.lines
    ]
    return {
        "workflow": worst.workflow,
        "lines": lines,
        "runs": worst.runs,
        "tokens_known": worst.tokens,
        "usd_known": str(worst.usd),
        "unknown": list(worst.unknown),
        "seconds": dict(worst.seconds),
        "path": list(worst.path),
        "path_s": worst.path_s,
        "deadline_s": worst.deadline_s,
        "undo_s": worst.undo_s,
        "undo_deadline_s": worst.undo_deadline_s,
        "problems": list(worst.problems),
    }
