"""What an app brings for its demo: events, and a judge of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from events.errors import DeclarationError

OUT_OF_SCOPE = "oos"
"""The label of an event that nobody's knowledge covers: any answer to it is wrong."""


class DemoEvent(Protocol):
    """An event to publish; `label` is what a person said is right, `None` if nobody did."""

    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def label(self) -> str | None: ...


Judge = Callable[[str, Any], bool]
"""Whether an output is right for a label."""


@dataclass(frozen=True, slots=True)
class Material:
    """All of it."""

    events: tuple[DemoEvent, ...]
    judge: Judge


def load_material(target: str) -> Material:
    """What the module of `module:app`, or its submodule `demo`, brings.

    Raises `DeclarationError` when it has no demo.
    """
    module = target.partition(":")[0]
    for name in (module, f"{module}.demo"):
        try:
            found = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        events: Callable[[], Iterable[DemoEvent]] | None = getattr(found, "demo_events", None)
        if events is not None:
            judge: Judge = getattr(found, "judge", lambda _label, _output: False)
            return Material(tuple(events()), judge)
    raise DeclarationError(
        f"{module} has no demo",
        hint=f"define demo_events() in {module}, or run the demo without --app",
    )


def again(events: Iterable[DemoEvent], n: int, mark: str = "again") -> Iterator[DemoEvent]:
    """*n* events like these, round and round, each with an id of its own."""
    given = tuple(events)
    for number in range(n):
        event = given[number % len(given)]
        name = f"{event.id}-{mark}-{number}"
        yield _Again(event.type, name, event.source, event.subject, event.data, event.label)


@dataclass(frozen=True, slots=True)
class _Again:
    type: str
    id: str
    source: str
    subject: str
    data: Mapping[str, Any]
    label: str | None
