"""What I3 and I10 mean for maps, loops and undoing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from caseworks.check.evidence import Evidence
from schemas.approval import ApprovalEnded, ApprovalRequested
from schemas.lean_case import Case, ClosedCase
from schemas.task import task_name_of

Complaints = Iterator[str]
COMPENSATED = frozenset(("failed", "expired", "cancelled"))


def maps_are_whole(evidence: Evidence) -> Complaints:
    """A map is done when each of its items is, or was given up."""
    done: dict[tuple[str, str], set[int]] = defaultdict(set)
    for read in evidence.outcomes:
        named = task_name_of(read.said.task_id, read.said.case_id)
        if named is not None and named.item is not None and read.said.status == "done":
            done[read.said.case_id, named.step].add(named.item)
    for case_id, _, after in _changes(evidence):
        for name, state in after.steps.items():
            items = state.items
            if items is None or state.status != "done":
                continue
            if items.done + items.failed != items.total:
                missing = items.total - items.done - items.failed
                yield f"{case_id}:{name} is done, and {missing} of its {items.total} items are not"
            elif items.done > len(done[case_id, name]):
                yield f"{case_id}:{name} counts {items.done} items, {len(done[case_id, name])} were"


def undone_once_in_reverse(evidence: Evidence) -> Complaints:
    """When a case fails or is cancelled, what was done is undone, the last first."""
    undoing = {
        (read.said.case_id, named.step)
        for read in evidence.tasks
        if read.said and (named := task_name_of(read.said.task_id, read.said.case_id))
        if named.undo
    }
    for read in evidence.results:
        result = read.said
        plan = evidence.plans.get(result.workflow)
        if result.status not in COMPENSATED or plan is None:
            continue
        for name, report in result.steps.items():
            step = plan.steps.get(name)
            if step is None or step.undo is None or report.status != "done":
                continue
            if (result.case_id, name) not in undoing:
                yield f"{result.case_id} {result.status}, and {name} was done and not undone"
    for case_id, before, after in _changes(evidence):
        if after.undos and not before.undos:
            # What turned out to be done meanwhile comes last, whenever it ended.
            known = [n for n in after.undos if before.steps[n].status == "done"]
            ends = [after.steps[name].ended or 0.0 for name in known]
            if ends != sorted(ends, reverse=True):
                yield f"{case_id} undoes {', '.join(after.undos)}, which is not the last first"


def questions_end_once(evidence: Evidence) -> Complaints:
    """A question is asked once and ends once: answered, expired, or withdrawn with its case."""
    asked: dict[str, str] = {}
    ended: set[str] = set()
    for _, wrote in evidence.by_topic.get(evidence.settings.topics.approvals, ()):
        message = wrote.message
        if message.header("ce_type") == ApprovalRequested.ce_type:
            request = ApprovalRequested.from_json(message.value or b"")
            if request.approval_id in asked:
                yield f"{request.approval_id} was asked twice"
            asked[request.approval_id] = request.case_id
        elif message.header("ce_type") == ApprovalEnded.ce_type:
            ending = ApprovalEnded.from_json(message.value or b"")
            if ending.approval_id in ended:
                yield f"{ending.approval_id} ended twice"
            ended.add(ending.approval_id)
    for approval_id, case_id in asked.items():
        history = evidence.histories.get(case_id)
        held = history[-1].said if history else None
        closed = isinstance(held, ClosedCase) or (held is not None and held.closed is not None)
        if closed and approval_id not in ended:
            yield f"{approval_id} is still open, and its case is closed"


def rounds_and_items_are_bounded(evidence: Evidence) -> Complaints:
    """No loop goes round more often than it may, no map has more items at work."""
    for case_id, _, after in _changes(evidence):
        plan = evidence.plans.get(after.workflow)
        for name, state in after.steps.items():
            step = plan.steps.get(name) if plan else None
            if step is None:
                continue
            if step.loop is not None and state.iteration >= step.loop.iterations_max:
                yield f"{case_id}:{name} is in round {state.iteration + 1}"
            if step.map is not None and state.items is not None:
                running, limit = state.items.running, step.map.concurrency
                if running > limit:
                    yield f"{case_id}:{name} has {running} items at work, at most {limit}"


def _changes(evidence: Evidence) -> Iterator[tuple[str, Case, Case]]:
    for turn in evidence.turns:
        yield from turn.changes
