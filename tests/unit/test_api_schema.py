"""Whatever the OpenAPI document allows, and whatever it forbids, is answered as it says.

Left out of the generator's checks: `positive_data_acceptance`, because whether a body is good is
also said by what a schema cannot (the data of an event by its type, a case that is there).
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event as Flag
from threading import Thread
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS

from caseworks.api.app import Api, create_api
from caseworks.api.keys import Key, hash_of
from caseworks.api.server import listen, serve
from caseworks.compose import build
from events.memory import MemoryBroker
from events.settings import Settings
from tests.unit.api_world import FakeReader, bearer, case, keyed, shop
from tests.unit.test_api_decisions import APPROVAL, view

pytestmark = pytest.mark.slow
EXAMPLES = 12
LEFT_OUT = ("positive_data_acceptance",)
SETTINGS = Settings(
    inbox_partitions=1, events_partitions=1, tasks_partitions=1, results_partitions=1
)


def made() -> Api:
    system = build(shop(), SETTINGS, broker=MemoryBroker())
    system.ensure_topics()
    reader = FakeReader()
    reader.change(case("c1"))
    reader.asked[APPROVAL] = view()
    root = Key(name="root", sha256=hash_of("root"), roles=("operate",), per_minute=0, per_hour=0)
    return create_api(system, reader, gate=keyed(root), order_timeout_s=0.01)


DOCUMENT: dict[str, Any] = made().framework.openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/api/v1/stream")
"""Without the stream, which does not end: `test_api_stream` and `test_api_server` have it."""


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    stop = Flag()
    with listen("127.0.0.1", 0) as listening:
        thread = Thread(target=serve, args=(made().asgi, SETTINGS, listening, stop))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        thread.join()


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_the_document_is_kept(case: schemathesis.Case[Any], base_url: str) -> None:
    left_out: list[Any] = [check for check in CHECKS.get_all() if check.__name__ in LEFT_OUT]
    case.call_and_validate(
        base_url=base_url, headers=bearer("root"), excluded_checks=left_out, timeout=10
    )


def test_every_route_has_a_summary_and_an_answer_with_a_schema() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["description"], where
            answers = [a for status, a in operation["responses"].items() if status != "default"]
            assert any("content" in answer for answer in answers), where
