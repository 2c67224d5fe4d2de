"""What is wrong with a workflow: each problem with its place and what to change.

One set of checks for every door: signatures, YAML files, and what a planner proposes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from coordinator.expressions import compile_expression
from coordinator.off_peak import off_peak_of
from events.errors import DeclarationError
from schemas.agent import AgentSpec
from schemas.workflow import CACHE, ESCALATE, StepSpec, WorkflowSpec

STEPS_MAX = 200
"""More steps than this in one workflow are refused."""
FAN_MAX = 64
"""No step reads more steps (or inputs) than this, and none is read by more."""
RESERVED = frozenset(("event", "data", "output", "iteration", "item"))
"""Names that expressions use: no step may take them."""
ROLES = ("agent", "escalate_to", "undo")
AGENTS_ONLY = (
    "map",
    "loop",
    "fallback",
    "degrade_after_s",
    "escalate_to",
    "undo",
    "inputs",
    "deadline_s",
    "escalate_below",
    "review_below",
)
"""What a wait and an approval cannot have: nobody works there."""


def problems_of(spec: WorkflowSpec, agents: Mapping[str, AgentSpec] | None) -> tuple[str, ...]:
    """Every problem of a workflow; empty when it may run. `None`: the agents are not known."""
    too_large = tuple(_of_size(spec))
    if too_large:
        return too_large  # the other checks may take long
    found = list(_of_whole(spec))
    for step in spec.steps:
        found += [f"step {step.name!r}: {said}" for said in _of_step(step, spec)]
        found += [f"step {step.name!r}: {said}" for said in _of_agents(step, agents)]
    graph = list(_of_graph(spec))
    return (*found, *(graph or _of_names(spec)))


def order_of(steps: tuple[StepSpec, ...]) -> list[str]:
    """Names in the order of Kahn's algorithm, ties as written; steps on a cycle are left out."""
    order: list[str] = []
    placed: set[str] = set()
    while True:
        free = [s.name for s in steps if s.name not in placed and placed.issuperset(s.after)]
        if not free:
            return order
        order += dict.fromkeys(free)
        placed.update(free)


def readers_of(steps: Iterable[StepSpec]) -> dict[str, tuple[str, ...]]:
    """Who has each step in its `after`."""
    found: dict[str, tuple[str, ...]] = {}
    for step in steps:
        for name in step.after:
            found[name] = (*found.get(name, ()), step.name)
    return found


def _of_size(spec: WorkflowSpec) -> Iterator[str]:
    if len(spec.steps) > STEPS_MAX:
        yield f"{len(spec.steps)} steps, at most {STEPS_MAX} are allowed: split the workflow"
        return
    for step in spec.steps:
        if len(step.after) > FAN_MAX:
            yield f"step {step.name!r} reads {len(step.after)} steps, at most {FAN_MAX}: split it"
        if len(step.inputs) > FAN_MAX:
            yield f"step {step.name!r}: {len(step.inputs)} `inputs`, at most {FAN_MAX}: split it"


def _of_whole(spec: WorkflowSpec) -> Iterator[str]:
    if not spec.on:
        yield "no event type opens it: name one in `on`"
    if not spec.steps:
        yield "it has no steps: add at least one"
    yield from _of_intake(spec)
    names = [step.name for step in spec.steps]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"step {name!r} stands twice: remove or rename one"


def _of_intake(spec: WorkflowSpec) -> Iterator[str]:
    """What is made of an event before its case begins."""
    if spec.coalesce_by is not None:
        try:
            reads = compile_expression(spec.coalesce_by).names
        except DeclarationError as error:
            yield f"`coalesce_by`: {error}"
        else:
            for name in sorted(reads - {"event", "data"}):
                yield f"`coalesce_by` reads {name!r}: when an event comes there are event and data"
            if not reads:
                yield "`coalesce_by` reads nothing: all events would be one: use event or data"
    try:
        if spec.off_peak:
            off_peak_of(spec.off_peak, spec.off_peak_zone)
    except DeclarationError as error:
        yield str(error)
    if not spec.off_peak and spec.off_peak_zone != "UTC":
        yield "`off_peak_zone` without `off_peak`: name the hours, or remove it"


def _of_step(step: StepSpec, spec: WorkflowSpec) -> Iterator[str]:
    if step.name in RESERVED:
        yield f"expressions use the name {step.name!r}: rename the step"
    kinds = [kind for kind in ("agent", "wait", "approval") if getattr(step, kind) is not None]
    if not kinds:
        yield "nobody works there: give it an `agent`, a `wait` or an `approval`"
    elif len(kinds) > 1:
        yield f"{' and '.join(f'`{kind}`' for kind in kinds)}: keep one of them"
    elif step.agent is None:
        for name in AGENTS_ONLY:
            if getattr(step, name):
                yield f"`{name}` is for agents, and this is {_a(kinds[0])}: remove it"
    if step.map is not None and step.loop is not None:
        yield "`map` and `loop`: keep one, and put the other into a step of its own"
    if step.join == "any" and len(step.after) < 2:
        yield "`join: any` needs at least two steps in `after`: add one or remove `join`"
    yield from _of_times(step, spec)


def _of_times(step: StepSpec, spec: WorkflowSpec) -> Iterator[str]:
    times = {"deadline_s": step.deadline_s}
    if step.wait is not None:
        times["wait.timeout_s"] = step.wait.timeout_s
    if step.approval is not None:
        times["approval.timeout_s"] = step.approval.timeout_s
    if step.review_below is not None:
        times["review_timeout_s"] = step.review_timeout_s
    for name, given in times.items():
        if given is not None and given > spec.deadline_s:
            yield (
                f"`{name}` is {given:g}, later than the case's deadline of {spec.deadline_s:g}: "
                "lower it, or raise `deadline_s` of the workflow"
            )


def _of_agents(step: StepSpec, agents: Mapping[str, AgentSpec] | None) -> Iterator[str]:
    for role in ROLES:
        agent = getattr(step, role)
        if agent is None:
            continue
        if agents is not None and agent not in agents:
            known = ", ".join(sorted(agents)) or "none"
            yield f"unknown {role} {agent!r} (known: {known})"
        if role != "agent" and agent == step.agent:
            yield f"its {role} is its own agent: name another or remove it"
    yield from _of_chain(step, agents)


def _of_chain(step: StepSpec, agents: Mapping[str, AgentSpec] | None) -> Iterator[str]:
    """Each link is asked once, and each must be able to answer."""
    chain = step.chain
    for link in step.stand_ins:
        if agents is not None and link not in agents:
            names = ", ".join(sorted(agents)) or "none"
            yield f"unknown fallback {link!r} (known: {names}, and `cache`, `escalate`)"
        if link == step.agent:
            yield "its fallback is its own agent: name another or remove it"
        if link == step.escalate_to:
            yield "its escalate_to is its fallback: remove one"
    yield from _of_words(step, chain, agents or {})


def _of_words(
    step: StepSpec, chain: tuple[str, ...], known: Mapping[str, AgentSpec]
) -> Iterator[str]:
    """What is no agent has its place in a chain."""
    for link in sorted({link for link in chain if chain.count(link) > 1}):
        yield f"`fallback` goes round: {link!r} stands twice in it: each link is asked once"
    for word in (CACHE, ESCALATE):
        if word in (step.agent, step.escalate_to, step.undo):
            yield f"{word!r} is no agent but a link of `fallback`: name an agent, {word} after it"
        elif word in chain and word in known:
            yield f"{word!r} is an agent here, and a word of `fallback`: rename the agent"
    if ESCALATE in chain[:-1]:
        yield f"`fallback` goes on after `{ESCALATE}`, which ends it: put it last"
    if ESCALATE in chain and step.optional:
        yield f"it is optional, and `{ESCALATE}` ends its case: keep one of them"
    if CACHE in chain and step.loop is not None:
        yield f"`{CACHE}` in a `loop`: a round is not what an earlier case had: remove it"
    if step.degrade_after_s is not None and not chain:
        yield "`degrade_after_s` without a `fallback`: nobody stands in: add one or remove it"


def _of_graph(spec: WorkflowSpec) -> Iterator[str]:
    names = {step.name for step in spec.steps}
    broken = False
    for step in spec.steps:
        for missing in dict.fromkeys(step.after):
            if missing not in names:
                broken = True
                yield f"step {step.name!r} reads {missing!r}, which is no step of this workflow"
            elif step.after.count(missing) > 1:
                yield f"step {step.name!r} has {missing!r} twice in `after`: remove one"
    for name, readers in readers_of(spec.steps).items():
        if len(readers) > FAN_MAX:
            yield f"{len(readers)} steps read {name!r}, at most {FAN_MAX}: use `map`"
    stuck = names.difference(order_of(spec.steps))
    if stuck and not broken:
        told = ", ".join(sorted(stuck))
        yield f"a cycle among the steps {told}: one of them must not read back"


def _of_names(spec: WorkflowSpec) -> Iterator[str]:
    """What expressions read must have ended before the step starts."""
    ancestors: dict[str, set[str]] = {}
    steps = {step.name: step for step in spec.steps}
    for name in order_of(spec.steps):
        after = steps[name].after
        ancestors[name] = set(after).union(*(ancestors[before] for before in after))
    for step in spec.steps:
        for place, text, extra in _expressions(step):
            where = f"step {step.name!r}: `{place}`"
            try:
                reads = compile_expression(text).names
            except DeclarationError as error:
                yield f"{where}: {error}"
                continue
            for name in sorted(reads - ancestors[step.name] - extra):
                yield f"{where} reads {name!r}, {_why_unknown(name, step, steps)}"


def _expressions(step: StepSpec) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Each expression of a step: its place, its text, and what it may read besides ancestors."""
    known = frozenset(("event", "data"))
    own = known | {step.name} if step.loop is not None else known
    if step.when is not None:
        yield "when", step.when, known
    for parameter, text in step.inputs.items():
        yield f"inputs.{parameter}", text, own
    if step.map is not None:
        yield "map.over", step.map.over, known
    if step.loop is not None:
        yield "loop.until", step.loop.until, own | {"output", "iteration"}
    if step.approval is not None:
        yield "approval.of", step.approval.of, known


def _why_unknown(name: str, step: StepSpec, steps: Mapping[str, StepSpec]) -> str:
    if name == step.name:
        return "the step itself: its output is not there yet"
    if name in steps:
        return f"which need not have ended: add {name!r} to `after`"
    if name in ("output", "iteration"):
        return "which only `loop.until` knows: remove it"
    return "which is no step of this workflow: use event, data or a step that it comes after"


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
