"""Going on with a coroutine whose first step was made in place.

Most of what a busy worker does never waits: a task or a timer for it would cost more than the
work. So its first step is made by hand, and only what waits then is awaited:

    try:
        waits_for = running.send(None)
    except StopIteration as ended:
        return ended.value
    return await resumed(running, waits_for)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Step = Callable[[Callable[[Any], Any], Any], Any]


def _plainly(step: Callable[[Any], Any], value: Any) -> Any:
    return step(value)


@coroutine
def resumed(
    running: Coroutine[Any, Any, T], waits_for: Any, make: Step = _plainly
) -> Generator[Any, Any, T]:
    """Await a coroutine that waits already; `make` makes each further step (`Context.run`)."""
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, mostly
                waits_for = make(running.throw, error)
            else:
                waits_for = make(running.send, sent)
    except StopIteration as ended:
        result: T = ended.value
        return result
    finally:
        running.close()
