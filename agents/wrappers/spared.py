"""An attempt that ends by a dependency whose breaker is open by now burns nothing: it is deferred.

Only what would be tried again is spared, and only when a guarded call of that dependency raised
the error, or one that it was raised from, or was under way when the time was up.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.call import Call, Handler
from agents.outcomes import Retry, Verdict, verdict_of
from events.errors import DependencyOpenError

CAUSES_MAX = 10
"""How far back an error is followed."""


def spared(inner: Handler) -> Handler:
    """Raise `DependencyOpenError` instead; `wrappers.translated` makes it `deferred`."""

    async def handle(call: Call) -> Verdict:
        try:
            verdict = await inner(call)
        except Exception as error:
            if call.context.blamed and isinstance(verdict_of(error), Retry):
                _spare(call, _causes(error), error)
            raise
        if type(verdict) is Retry and verdict.kind == "timeout" and call.context.blamed:
            hung = [each for each in call.context.blamed.values() if type(each) is TimeoutError]
            _spare(call, hung, None)
        return verdict

    return handle


def _spare(call: Call, errors: Sequence[BaseException], source: Exception | None) -> None:
    for dependency, blamed in call.context.blamed.items():
        wait_s = call.services.dependencies.wait_s(dependency)
        if wait_s > 0 and any(blamed is each for each in errors):
            raise DependencyOpenError(
                f"{dependency!r} failed, and its breaker is open by now: {blamed}",
                retry_after_s=wait_s,
            ) from source


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and len(found) < CAUSES_MAX:
        found.append(each)
        each = each.__cause__ or each.__context__
    return found
