"""The attempts and waits of a case as bars on a time axis, and as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from schemas.lean_case import Case, StepState
from schemas.result import Result

Kind = Literal["work", "wait"]
RUNNING = "running"
_KINDS: dict[str, Kind] = {
    "sent": "work",
    "mapping": "work",
    "delegated": "work",
    "asking": "wait",
    "listening": "wait",
}
"""What a step does while it has this status; else it does nothing."""
_NAMES = {"asking": "asks a person", "listening": "listens", "mapping": "maps"}
_NEVER = frozenset(("waiting", "skipped"))
MARKS: dict[Kind, str] = {"work": "━", "wait": "┄"}
LABEL_PART, NOTE_PART, CELLS_MIN = 4, 3, 10
"""At most a fourth of a line for the label and a third for the note, the rest for the axis."""


@dataclass(slots=True)
class Bar:
    """One attempt, or one wait; seconds since the epoch."""

    step: str
    label: str
    kind: Kind
    start: float
    end: float | None = None
    outcome: str = RUNNING
    why: str = ""


class Line(NamedTuple):
    """A bar as text: what it is, where it lies, what became of it."""

    label: str
    axis: str
    note: str
    outcome: str


@dataclass(slots=True)
class _Drawing:
    bars: list[Bar] = field(default_factory=list)
    open: dict[str, tuple[object, Bar]] = field(default_factory=dict)
    """By step: what it is at."""


def bars_of(states: Sequence[tuple[Case, float]], result: Result | None) -> list[Bar]:
    """Bars in the order in which they began, from successive states and when each was written.

    States that are no longer kept have no bars of their own: then a bar reaches back to the first
    sending of its step.
    """
    drawing = _Drawing()
    for case, at in states:
        undos = {f"{name}~undo": step for name, step in case.undos.items()}
        for name, step in {**case.steps, **undos}.items():
            _follow(drawing, name, step, at)
    if result is not None:
        _finish(drawing, result)
    return sorted(drawing.bars, key=lambda bar: bar.start)


def _follow(drawing: _Drawing, name: str, step: StepState, at: float) -> None:
    kind = _KINDS.get(step.status)
    mark = (step.status, step.attempt, step.iteration, step.replay)
    known = drawing.open.get(name)
    if known is not None:
        if known[0] == mark:
            return
        bar = known[1]
        del drawing.open[name]
        bar.end = step.ended if step.ended is not None and kind is None else at
        bar.outcome, bar.why = _ending(step, kind)
    elif kind is None and step.ended is not None and step.status not in _NEVER:
        if any(each.step == name and each.end == step.ended for each in drawing.bars):
            return
        if step.first_sent is not None:
            bar = Bar(name, _label(name, step), "work", step.first_sent, step.ended)
            bar.outcome, bar.why = _ending(step, kind)
            drawing.bars.append(bar)
        return
    if kind is not None:
        first = not any(each.step == name for each in drawing.bars)
        start = step.first_sent if first and step.first_sent is not None else at
        bar = Bar(name, _label(name, step), kind, start)
        drawing.bars.append(bar)
        drawing.open[name] = mark, bar


def _ending(step: StepState, kind: Kind | None) -> tuple[str, str]:
    why = step.error.message or step.error.kind if step.error else ""
    if kind is not None:  # it goes on with something else: another attempt, round, or a person
        return ("retry", why) if why else ("done", "")
    return ("retry", why) if step.status == "retrying" else (step.status, why)


def _label(name: str, step: StepState) -> str:
    if step.status in _NAMES:
        return f"{name} {_NAMES[step.status]}"
    rounds = f" round {step.iteration + 1}" if step.iteration else ""
    return f"{name}{rounds} #{step.attempt}" if step.attempt > 1 else f"{name}{rounds}"


def _finish(drawing: _Drawing, result: Result) -> None:
    """What was under way in the last state ended with the result, or in it."""
    closed = result.closed_at.timestamp()
    for name, (_, bar) in drawing.open.items():
        report, undo = result.steps.get(name), result.undone.get(name.removesuffix("~undo"))
        if report is not None and not name.endswith("~undo"):
            first = min(each.start for each in drawing.bars if each.step == name)
            end = first + report.ms / 1000 if report.ms else closed
            bar.end = min(max(end, bar.start), max(closed, bar.start))
            bar.outcome, bar.why = report.status, report.error or ""
        else:
            bar.end = max(closed, bar.start)
            bar.outcome = undo.status if undo is not None else result.status
    drawing.open.clear()


def drawn(bars: Sequence[Bar], begin: float, end: float, width: int) -> tuple[str, list[Line]]:
    """An axis and a line for each bar, each of *width* columns at most. *end*: of the axis."""
    notes = [_note(bar, end) for bar in bars]
    label = min(max((len(bar.label) for bar in bars), default=0), width // LABEL_PART)
    note = min(max(map(len, notes), default=0), width // NOTE_PART)
    cells = max(CELLS_MIN, width - label - note - 4)
    whole = max(end - begin, 1e-6)
    lines = [
        Line(
            _cut(bar.label, label).ljust(label),
            _axis(bar, begin, whole, cells),
            _cut(text, note),
            bar.outcome,
        )
        for bar, text in zip(bars, notes, strict=True)
    ]
    last = span_of(whole)
    head = "0".ljust(cells - len(last)) + last
    return f"{'':{label}}  {head}", lines


def _axis(bar: Bar, begin: float, whole: float, cells: int) -> str:
    """Cells that the bar touches, one at the least; `>` at the end of one that goes on."""
    start = min(cells - 1, max(0, int((bar.start - begin) / whole * cells)))
    over = bar.end is None
    end = cells if bar.end is None else round((bar.end - begin) / whole * cells)
    length = max(1, min(cells, end) - start)
    marks = MARKS[bar.kind] * (length - over) + ">" * over
    return (" " * start + marks).ljust(cells)


def _note(bar: Bar, now: float) -> str:
    took = span_of(max(0.0, (now if bar.end is None else bar.end) - bar.start))
    return f"{took}  {bar.outcome}" + (f": {bar.why}" if bar.why else "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def span_of(seconds: float) -> str:
    """A time span for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.3g} min"
    return f"{minutes / 60:.3g} h" if minutes < 2880 else f"{minutes / 1440:.3g} d"
