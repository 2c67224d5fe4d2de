"""What happened in a case, told from its successive states and its result. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.lean_case import Case, StepState
from schemas.result import Result, StepReport


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened in a case."""

    at: float
    what: str
    step: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        told = datetime.fromtimestamp(self.at, UTC).isoformat().replace("+00:00", "Z")
        return {"at": told, "what": self.what, "step": self.step, "detail": self.detail}


@dataclass(slots=True)
class Timeline:
    """Turns successive states of one case into what happened between them."""

    case: Case | None = None
    seen: dict[str, StepState] = field(default_factory=dict)
    """The steps, and their undoing as `<step>~undo`, as they stood last."""

    def changed(self, case: Case, at: float) -> list[Moment]:
        """What is new in this state; *at* is when it was written, seconds since the epoch."""
        told: list[Moment] = []
        if self.case is None:
            told.append(Moment(case.opened, "opened", detail=f"{case.workflow} {case.event.type}"))
        undos = {f"{name}~undo": step for name, step in case.undos.items()}
        for name, step in {**case.steps, **undos}.items():
            before = self.seen.get(name)
            if before is None or _mark(before) != _mark(step):
                told += step_moments(name, step, at)
            self.seen[name] = step
        self.case = case
        return told

    def answered(self, result: Result) -> list[Moment]:
        """What a result tells beyond the states that were seen: steps that ended with it."""
        at = result.closed_at.timestamp()
        told = [
            Moment(at, report.status, name, _report(report))
            for name, report in result.steps.items()
            if name not in self.seen or self.seen[name].status != report.status
        ]
        return [*told, Moment(at, result.status, detail=result.reason or "")]


def _report(report: StepReport) -> str:
    sure = f"confidence {report.confidence:.2f}" if report.confidence is not None else ""
    took = f"{report.ms} ms" if report.ms else ""
    return ", ".join(part for part in (took, sure, report.error or "") if part)


def step_moments(name: str, step: StepState, at: float) -> list[Moment]:
    """What a step's new state tells; *at* is when it was written, seconds since the epoch."""
    match step.status:
        case "waiting":
            return []
        case "sent":
            detail = f"to {step.agent}" + (f", attempt {step.attempt}" if step.attempt > 1 else "")
            return [Moment(at, "sent", name, detail)]
        case "retrying":
            why = step.error.message if step.error else ""
            return [Moment(at, "will retry", name, why)]
        case "done":
            took = f"{ms:.0f} ms" if (ms := took_ms(step)) is not None else ""
            sure = f"confidence {step.confidence:.2f}" if step.confidence is not None else ""
            return [Moment(step.ended or at, "done", name, ", ".join(filter(None, (took, sure))))]
        case "listening":
            return [Moment(at, "listens", name, f"until {_when(step.deadline)}")]
        case "asking":
            return [Moment(at, "asks", name, f"a person, until {_when(step.deadline)}")]
        case "mapping":
            return [Moment(at, "maps", name, standing(step))]
        case "delegated":
            return [Moment(at, "delegates", name)]
        case _:
            why = step.error.message if step.error else ""
            return [Moment(step.ended or at, step.status, name, why)]


def standing(step: StepState) -> str:
    """How a step stands, for people: its status, and of a `map` how far it is."""
    if step.status == "asking":
        return "asks a person"
    if step.items is None:
        return step.status
    items = step.items
    failed = f", {items.failed} failed" if items.failed else ""
    return f"{step.status}, {items.done} of {items.total} done{failed}"


def _mark(step: StepState) -> tuple[object, ...]:
    """What must differ for something to have happened; of a `map` every tenth of its items."""
    items = step.items
    tenth = items.done * 10 // max(1, items.total) if items else 0
    return step.status, step.attempt, step.iteration, tenth


def _when(epoch_s: float | None) -> str:
    if epoch_s is None:
        return "the case's deadline"
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M:%S}Z"


def took_ms(step: StepState) -> float | None:
    """From the first send to the end, in milliseconds; `None` while it is not over."""
    if step.ended is None or step.first_sent is None:
        return None
    return (step.ended - step.first_sent) * 1000
