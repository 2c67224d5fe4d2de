"""A run in words: what a person needs to see of its trace."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LINES_MAX = 60
HEAVY = 2
_LOOPS = {"0": "intake", "1": "orchestrator", "2": "controller"}
_PARTS = {"0": "loop", "1": "view of the fleet"}
"""Of a worker that has more than its loop."""
_FAULTS = {
    "stop": "stands still, and goes on later as if nothing had been",
    "clock_jump": "has its clock jump",
    "retriable": "gets no answer in time; the call was not carried out",
    "commit_timeout": "hears a time-out of its commit, which was carried out",
    "abort_commit": "is refused its commit",
    "abort_offsets": "is refused its offsets",
    "fenced": "is fenced: its transactional id was taken",
    "lost_delivery": "is told that a record was given up",
    "duplicate": "has a record written twice",
    "agent_fails": "runs an agent that does not succeed",
    "agent_lingers": "runs an agent that takes its time",
    "agent_kills": "runs an agent that kills its process",
    "agent_sticks": "runs an agent that ignores its cancellation",
}
_LABEL = re.compile(r"(?P<name>.+)\.(?P<life>\d+)(?:/(?P<end>\w+))?$")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    weight: int
    """2: something went wrong or came from outside; 1: a coordinator; 0: the rest."""


def story(trace: Sequence[str], namespace: str = "cw") -> list[str]:
    """The trace as numbered sentences; of a long one, what went wrong and what was near it."""
    told = list(_Teller(namespace).tell(trace))
    kept = _nearest(told) if len(told) > LINES_MAX else range(len(told))
    lines: list[str] = []
    before = -1
    for number, index in enumerate(kept, 1):
        if index != before + 1:
            lines.append(f"     … {index - before - 1} more …")
        before = index
        lines.append(f"{number:3}. {told[index].text}")
    return lines


def _nearest(told: Sequence[_Line]) -> list[int]:
    """The heavy lines, and as many others as there is room for, the nearest before them first."""
    heavy = [index for index, line in enumerate(told) if line.weight == HEAVY]
    kept = set(heavy[:LINES_MAX])

    def far(index: int) -> tuple[int, int]:
        after = next((h - index for h in heavy if h >= index), len(told))
        return after // 4 - 2 * told[index].weight, after

    others = sorted((i for i in range(len(told)) if i not in kept), key=far)
    return sorted(kept.union(others[: LINES_MAX - len(kept)]))


class _Teller:
    def __init__(self, namespace: str) -> None:
        self._prefix = f"{namespace}."
        self._last: dict[str, str] = {}
        """What each loop did last."""
        self._open: dict[str, list[str]] = {}
        """What each loop has put into its transaction."""

    def tell(self, trace: Sequence[str]) -> Iterator[_Line]:
        first = sum(line.endswith(".0 begins") for line in trace)
        if first:
            yield _Line(f"   0.000 s  {first} processes start", HEAVY)
        for line in trace:
            _, seconds, rest = line.split(" ", 2)
            who, _, text = rest.partition(" ")
            if who.endswith(".0") and text == "begins":
                continue
            said = self._said(who, text)
            if said:
                yield _Line(f"{float(seconds):8.3f} s  {said}", _weight(who, text))

    def _said(self, who: str, text: str) -> str | None:
        if who in ("agenda", "clients"):
            return text
        if who == "groups":
            return self._of_group(text)
        name = named(who)
        if text.startswith("!! "):
            return self._struck(who, name, text[3:])
        if text == "begins":
            return f"{name} starts again"
        if text.startswith(("exits", "continues", "clock", "ends", "crashed")):
            return f"{name}: {text}" if text.startswith(("exits", "crashed")) else f"{name} {text}"
        done = self._operation(text)
        if done is None:
            return None
        word = text.partition(" ")[0]
        if word in ("produce", "sendoffsets", "commit"):
            parts = [*self._open.pop(who, ()), done]
            if word != "commit" and "Error" not in text and "(unheard)" not in text:
                self._open[who] = parts  # told when it is decided
                self._last[who] = ", ".join(parts)
                return None
            done = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
        self._last[who] = done
        return f"{name} {done}"

    def _struck(self, who: str, name: str, kind: str) -> str | None:
        if kind in ("rebalance", "lost_partitions"):
            return None  # the next line says which group
        if kind == "kill":
            self._open.pop(who, None)
            last = self._last.pop(who, "")
            process = named(who.partition("/")[0])
            return f"{process} is killed" + (f", after {name} {last}" if last else "")
        return f"{name} {_FAULTS.get(kind, kind)}"

    def _of_group(self, text: str) -> str | None:
        word, _, rest = text.partition(" ")
        if word == "rebalance":
            return f"the group {rest} rebalances"
        if word == "expire":
            return f"the broker gives {rest.replace(' of ', ', a member of ')}, up"
        return None

    def _operation(self, text: str) -> str | None:  # noqa: C901, PLR0912 - a table
        asked, _, answer = text.partition(" -> ")
        word, _, rest = asked.partition(" ")
        failed = re.match(r"(\w+Error): (.*)", answer)
        end = f" and hears: {failed[2]}" if failed else ""
        if answer == "(unheard)":
            end = ", and does not live to hear the answer"
        match word:
            case "take":
                return f"fails to take{end}" if failed else self._took(answer)
            case "produce":
                return f"writes {self._records(rest)}{end}"
            case "sendoffsets":
                return f"adds the position {self._short(rest)}{end}"
            case "commit":
                return f"commits{end}"
            case "abort":
                return f"aborts its transaction{end}"
            case "commitoffsets":
                return f"commits the position {self._short(rest)}{end}"
            case "open":
                return f"starts reading at {self._short(rest)}{end}"
            case "renew":
                return f"makes a new producer{end}"
            case "release":
                return f"ends what {rest} left open{end}"
            case "start":
                return f"starts {self._short(rest)}"
            case "collect":
                return f"has settled {self._short(answer)}" if answer and not failed else None
            case "discard":
                return f"gives up its jobs of {self._short(rest)}"
            case _:
                return f"fails to {word}{end}" if failed else None

    def _took(self, answer: str) -> str | None:
        if answer.startswith("revoking"):
            return f"is told that {self._short(answer[9:])} will go"
        if answer == "(first)":
            return None
        messages, _, rest = answer.partition("of [")
        owned, _, lost = rest.partition("]")
        parts = []
        if messages.strip():
            parts.append(f"takes {self._short(messages.strip())}")
        if lost.strip():
            parts.append(f"learns that it lost {self._short(lost.strip()[5:])}")
            parts.append(f"now has {self._short(owned) or 'nothing'}")
        return ", ".join(parts) or None

    def _records(self, text: str) -> str:
        topics = Counter(found.split("/")[0] for found in re.findall(r"(\S+) [^ =]*=\w{8}", text))
        named = [
            f"{count} to {topic.removeprefix(self._prefix)}" for topic, count in topics.items()
        ]
        return ", ".join(named) or "nothing"

    def _short(self, text: str) -> str:
        return text.replace(self._prefix, "")


def _weight(who: str, text: str) -> int:
    odd = ("!!", "begins", "exits", "continues", "clock", "crashed", "renew", "release", "abort")
    if who in ("agenda", "clients", "groups", "driver") or text.startswith(odd):
        return HEAVY
    if "Error" in text or "(unheard)" in text or " lost " in text or "revoking" in text:
        return HEAVY
    return int(who.startswith("coordinator"))


def named(label: str) -> str:
    """`coordinator-1.0/1` as people say it: the orchestrator of coordinator-1."""
    found = _LABEL.match(label)
    if found is None:
        return label
    name, end = found["name"], found["end"]
    if end is None:
        return name
    if end == "agents":
        return f"the agent of {name}"
    known = _LOOPS if name.startswith("coordinator") else _PARTS
    return f"the {known.get(end, end)} of {name}"
