"""The case machine, broken rule by rule; see `bugs`."""

from __future__ import annotations

from tests.sim.bug import Bug

CASE_BUGS = (
    Bug(
        "applied twice",
        "I5",
        "coordinator/case.py",
        "    if draft.closed is not None or state.status in ENDED:\n",
        "    if draft.closed is not None:\n",
        profile="agents",
    ),
    Bug(
        "attempts confused",
        "I3",
        "coordinator/case.py",
        'said = (outcome.attempt, outcome.agent, "sent")',
        'said = (state.attempt, outcome.agent, "sent")',
        runs_max=100,
        profile="echoes",
    ),
    Bug(
        "iterations confused",
        "I3",
        "coordinator/case.py",
        "    if name.iteration != state.iteration:\n",
        "    if name.iteration > state.iteration:\n",
        runs_max=60,
        profile="agents",
    ),
    Bug(
        "more rounds than allowed",
        "I10",
        "coordinator/steps.py",
        "    elif iteration < limit:\n",
        "    elif iteration <= limit:\n",
    ),
    Bug(
        "more items at once than allowed",
        "I10",
        "coordinator/mapping.py",
        "    while room > 0 and (again",
        "    while (again",
    ),
    Bug(
        "a map done before its last item",
        "I3",
        "coordinator/mapping.py",
        "    elif items.done + items.failed == items.total:\n",
        "    elif items.done + items.failed >= items.total - 1:\n",
    ),
    Bug(
        "compensation twice",
        "I3",
        "coordinator/draft.py",
        "        elif key.endswith(UNDO):\n            undo.advance(self)\n",
        "        elif key.endswith(UNDO):\n"
        "            if self.at(key).attempt == 1:\n"
        '                self.put(key, self.at(key).evolve(status="waiting"))\n'
        "            undo.advance(self)\n",
        runs_max=40,
        profile="agents",
    ),
    Bug(
        "no compensation",
        "I3",
        "coordinator/undo.py",
        "    if not names:\n        return False\n",
        "    if names:\n        return False\n",
        runs_max=40,
        profile="agents",
    ),
    Bug(
        "compensation in the order of doing",
        "I3",
        "coordinator/undo.py",
        "place[name]), reverse=True)",
        "place[name]))",
        runs_max=100,
        profile="agents",
    ),
    Bug(
        "spent twice",
        "I6",
        "coordinator/steps.py",
        '    draft.spend(outcome.usage)\n    if state.status == "delegated":\n',
        "    draft.spend(outcome.usage)\n"
        "    draft.spend(outcome.usage)\n"
        '    if state.status == "delegated":\n',
    ),
    Bug(
        "a result's number used again",
        "I1",
        "coordinator/draft.py",
        "        self.published += 1\n",
        "        self.published = 1\n",
        runs_max=60,
        profile="agents",
    ),
    Bug(
        "keyed by the case and not as asked",
        "I7",
        "coordinator/records.py",
        "((event.subject or event.id) if form.by_subject else case.case_id).encode()",
        "case.case_id.encode()",
    ),
)
