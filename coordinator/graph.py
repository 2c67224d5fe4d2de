"""A workflow as a picture: Mermaid (https://mermaid.js.org) or DOT (https://graphviz.org)."""

from __future__ import annotations

from coordinator.pricing import span
from schemas.workflow import StepSpec, WorkflowSpec

TEXT_MAX = 60
"""Longer texts (expressions) are cut in a picture."""


def mermaid(spec: WorkflowSpec) -> str:
    """The workflow as a Mermaid flowchart."""
    begin = "<br/>".join(_quoted(text) for text in _begin(spec))
    lines = ["flowchart TD", f'    start(["{begin}"])']
    for step in spec.steps:
        left, right = _MERMAID_SHAPES[_kind(step)]
        label = "<br/>".join(_quoted(text) for text in _label(step))
        lines.append(f'    s_{step.name}{left}"{label}"{right}')
    for step in spec.steps:
        arrow = '-->|"any"|' if step.join == "any" else "-->"
        lines += [f"    s_{before} {arrow} s_{step.name}" for before in step.after]
        if not step.after:
            lines.append(f"    start --> s_{step.name}")
        if step.loop is not None:
            lines.append(f'    s_{step.name} -->|"{_quoted(_until(step))}"| s_{step.name}')
        if step.undo is not None:
            lines.append(f'    u_{step.name}["{step.undo}"]')
            lines.append(f'    s_{step.name} -.->|"undo"| u_{step.name}')
    return "\n".join(lines)


def dot(spec: WorkflowSpec) -> str:
    """The workflow as a DOT digraph."""
    lines = [
        f"digraph {_escaped(spec.name)} {{",
        "    node [shape=box];",
        f"    start [shape=oval, label={_escaped(chr(10).join(_begin(spec)))}];",
    ]
    for step in spec.steps:
        label = _escaped("\n".join(_label(step)))
        lines.append(f"    s_{step.name} [shape={_DOT_SHAPES[_kind(step)]}, label={label}];")
    for step in spec.steps:
        any_of = " [label=any]" if step.join == "any" else ""
        lines += [f"    s_{before} -> s_{step.name}{any_of};" for before in step.after]
        if not step.after:
            lines.append(f"    start -> s_{step.name};")
        if step.loop is not None:
            label = _escaped(_until(step))
            lines.append(f"    s_{step.name} -> s_{step.name} [label={label}];")
        if step.undo is not None:
            lines.append(f"    u_{step.name} [label={_escaped(step.undo)}];")
            lines.append(f"    s_{step.name} -> u_{step.name} [style=dashed, label=undo];")
    return "\n".join([*lines, "}"])


_MERMAID_SHAPES = {"agent": ("[", "]"), "wait": ("{{", "}}"), "approval": ("[/", "/]")}
_DOT_SHAPES = {"agent": "box", "wait": "hexagon", "approval": "parallelogram"}


def _kind(step: StepSpec) -> str:
    if step.wait is not None:
        return "wait"
    return "approval" if step.approval is not None else "agent"


def _begin(spec: WorkflowSpec) -> list[str]:
    """The lines at the start: what opens a case, and what is made of it before it works."""
    lines = [", ".join(spec.on)]
    if spec.coalesce_by is not None:
        lines.append(f"one for each {_cut(spec.coalesce_by)} in {span(spec.coalesce_window_s)}")
    if spec.off_peak:
        lines.append(f"deferred: {spec.off_peak} {spec.off_peak_zone}")
    return lines


def _label(step: StepSpec) -> list[str]:
    """The lines in a node: the name, and what is out of the ordinary."""
    lines = [step.name]
    if step.when is not None:
        lines.append(f"when {_cut(step.when)}")
    if step.map is not None:
        lines.append(f"for each of {_cut(step.map.over)}, {step.map.concurrency} at a time")
    if step.wait is not None:
        lines.append(f"wait for {step.wait.event}, {span(step.wait.timeout_s)}")
    if step.approval is not None:
        lines.append(f"ask a person: {_cut(step.approval.of)}")
    if step.chain:
        after = "" if step.degrade_after_s is None else f", after {span(step.degrade_after_s)}"
        lines.append(f"else {', '.join(step.chain)}{after}")
    if step.escalate_to is not None:
        lines.append(f"higher: {step.escalate_to}")
    if step.optional:
        lines.append("optional")
    return lines


def _until(step: StepSpec) -> str:
    assert step.loop is not None
    return f"until {_cut(step.loop.until)}, {step.loop.iterations_max} times"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 3]}..."


def _quoted(text: str) -> str:
    """A text within quotes of Mermaid: what could end or format it is an entity code."""
    return "".join(f"#{ord(c)};" if c in '"#%<|' or not c.isprintable() else c for c in text)


def _escaped(text: str) -> str:
    """A text as a quoted identifier of DOT."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else " " for c in escaped) + '"'
