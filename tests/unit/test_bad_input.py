"""The table of bad input in `tests/README.md` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = (HERE.parent / "README.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+)::(test_\w+)`", TABLE)))


def test_there_is_a_table() -> None:
    assert len(NAMED) >= 20


@pytest.mark.parametrize(("module", "test"), NAMED)
def test_the_test_that_answers_bad_input_exists(module: str, test: str) -> None:
    text = (HERE / f"{module}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE)
