"""The example in the README is short, and runs as it stands there."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from caseworks.app import App
from caseworks.simulation import simulate
from events.memory import QUIET
from schemas.base import instant
from schemas.event import Event

README = Path(__file__).parents[2] / "README.md"
LINES_MAX = 15


def example() -> str:
    text = README.read_text("utf-8")
    found = re.search(r"<!-- executed .*?-->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def loaded(folder: Path) -> App:
    path = folder / "shop.py"
    path.write_text(example(), encoding="utf-8")
    spec = spec_from_file_location("shop", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    app = module.app
    assert isinstance(app, App)
    return app


def test_the_example_is_short() -> None:
    assert len(example().splitlines()) <= LINES_MAX


@pytest.mark.parametrize(("price", "answer"), [(40, "ship"), (900, "review")])
def test_the_example_answers_an_order(tmp_path: Path, price: int, answer: str) -> None:
    order = Event(
        id="o1",
        source="/shop",
        type="order.placed",
        time=instant(1_700_000_000.0),
        data={"item": "lamp", "price": price},
    )
    verdict = simulate(loaded(tmp_path), [order], 1, faults=QUIET)

    (result,) = verdict.results["o1"]
    assert (result.status, result.output) == ("completed", answer)
