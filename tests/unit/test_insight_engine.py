"""What the engine makes of settings for Kafka's clients, and what it asks of Faust's consumer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from events.errors import SetupError

if TYPE_CHECKING:
    from caseworks.insight.transport import Written

pytest.importorskip("faust", reason="the extra `insight` is not installed")


def test_clear_text_needs_no_credentials() -> None:
    from caseworks.insight.engine import credentials_of

    assert credentials_of({}) is None
    assert credentials_of({"security.protocol": "PLAINTEXT"}) is None


def test_a_login_by_scram_is_handed_on() -> None:
    from caseworks.insight.engine import credentials_of

    found = credentials_of(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "me",
            "sasl.password": "secret",
        }
    )
    assert (found.protocol.value, found.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (found.username, found.password) == ("me", "secret")


def test_a_login_that_faust_cannot_do_is_refused() -> None:
    from caseworks.insight.engine import credentials_of

    with pytest.raises(SetupError, match="GSSAPI"):
        credentials_of({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"})


def test_the_command_line_costs_no_import_of_faust() -> None:
    code = "import sys, caseworks.cli.root, caseworks.insight.role; print('faust' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def consumer_of(folder: Path, written: Written) -> Any:
    """The engine's consumer without a broker: it tells what it would commit, and when it seeks."""
    from faust.types import TP

    from caseworks.insight.engine import EngineConfig, _make_app

    config = EngineConfig("n", "127.0.0.1:1", "n.facts", 1, "a", folder, 10, 1.0)
    app = _make_app(config, written)
    base: Any = app.transport.Consumer

    class Offline(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(app.transport, nothing, nothing, nothing)
            self.commits: list[Mapping[Any, int]] = []
            self.flowed: list[bool] = []

        def assignment(self) -> set[Any]:
            return {TP("n.facts", 0)}

        async def _commit(self, offsets: Mapping[Any, int]) -> bool:
            self.commits.append(dict(offsets))
            return True

        async def seek_to_committed(self) -> Mapping[Any, int]:
            self.flowed.append(self.flow_active)
            return {TP("n.facts", 0): 7}

    consumer = Offline()
    consumer._thread.thread_loop.close()
    return consumer


async def nothing(*_: object) -> None:
    """A callback."""


def test_a_position_is_committed_after_the_broker_has_every_row(tmp_path: Path) -> None:
    from faust.types import TP

    from caseworks.insight.transport import Written

    async def scene() -> None:
        written = Written()
        consumer = consumer_of(tmp_path, written)
        row = asyncio.get_running_loop().create_future()
        written.add(row)
        offsets = {TP("n.facts", 0): 8}
        commit = asyncio.ensure_future(consumer._commit_offsets(offsets))
        for _ in range(20):
            await asyncio.sleep(0)
        assert consumer.commits == []
        row.set_result(None)
        assert await commit
        assert consumer.commits == [offsets]

    asyncio.run(scene())


def test_nothing_is_committed_after_a_row_that_was_not_written(tmp_path: Path) -> None:
    from faust.types import TP

    from caseworks.insight.transport import Written

    async def scene() -> None:
        written = Written()
        consumer = consumer_of(tmp_path, written)
        row = asyncio.get_running_loop().create_future()
        written.add(row)
        row.set_exception(OSError("no leader"))
        for _ in range(2):
            with pytest.raises(OSError, match="no leader"):
                await consumer._commit_offsets({TP("n.facts", 0): 8})
        assert consumer.commits == []

    asyncio.run(scene())


def test_nothing_is_delivered_while_the_consumer_seeks(tmp_path: Path) -> None:
    from caseworks.insight.transport import Written

    async def scene() -> None:
        consumer = consumer_of(tmp_path, Written())
        consumer.resume_flow()
        await consumer.perform_seek()
        assert consumer.flowed == [False]

    asyncio.run(scene())


def test_a_gap_of_offsets_ends_before_the_record_behind_it(tmp_path: Path) -> None:
    from faust.types import TP

    from caseworks.insight.transport import Written

    async def scene() -> None:
        consumer, tp = consumer_of(tmp_path, Written()), TP("n.facts", 0)
        consumer._committed_offset[tp] = 1
        await consumer._add_gap(tp, 4, 6)  # 4 and 5 are markers; 6 was read
        consumer._acked[tp] = [1, 2, 3, 6, 7]
        assert consumer._new_offset(tp) == 8

    asyncio.run(scene())
