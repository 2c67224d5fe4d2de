"""`init`: a project of one's own that runs, with a test that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from caseworks.cli.output import plain, say


def init(
    folder: Annotated[Path, typer.Argument(help="Made if need be; nothing is overwritten.")] = Path(
        "shop"
    ),
) -> None:
    """Make a project: two agents, a workflow, and a test that runs without Kafka."""
    from events.errors import SetupError

    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "shop"
    texts = {path: text.replace("PROJECT", name) for path, text in FILES.items()}
    if taken := [path for path in texts if (folder / path).exists()]:
        raise SetupError(
            f"{plain(folder)} holds {', '.join(taken)} already",
            hint="caseworks init ANOTHER_FOLDER",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot write to {plain(folder)}: {error.strerror}") from None
    for path in texts:
        say(f"made {plain(folder / path)}")
    say("Next:")
    if folder.resolve() != Path.cwd():
        say(f"  cd {plain(folder)}")
    say("  python -m pytest                # the workflow on the broker in memory")
    say("  caseworks up --app app:app      # Kafka, coordinator, a worker per agent")
    say(f"  caseworks publish order.placed '{EVENT}' --wait")


EVENT = '{"item": "lamp", "price": 40}'

APP = '''"""Two agents and a workflow: what is an order's risk, and what to do about it."""

from __future__ import annotations

from pydantic import BaseModel

from caseworks import App


class Order(BaseModel):
    """The data of an `order.placed` event."""

    item: str
    price: float


class Risk(BaseModel):
    """How likely it is that something is wrong, and how sure we are of that."""

    score: float
    confidence: float


class Decision(BaseModel):
    """What to do with the order."""

    action: str
    why: str


app = App("PROJECT")


@app.agent()
async def risk(order: Order) -> Risk:
    """Expensive orders are risky."""
    return Risk(score=min(1.0, order.price / 1000), confidence=0.9)


@app.agent()
async def decide(order: Order, risk: Risk) -> Decision:
    """The parameter `risk` is the step whose result this one waits for."""
    if risk.score > 0.5:
        return Decision(action="review", why=f"{order.item} costs {order.price}")
    return Decision(action="ship", why="nothing unusual")


app.workflow("order", on={"order.placed": Order}, steps=[risk, decide])
'''

TEST = '''"""The workflow as a whole, on the broker in memory: no Kafka is needed."""

from __future__ import annotations

from app import app

from caseworks.client import new_event
from caseworks.testing import play


def test_a_cheap_order_is_shipped_and_an_expensive_one_is_reviewed() -> None:
    cheap, expensive = play(
        app,
        [
            new_event("order.placed", {"item": "lamp", "price": 40}),
            new_event("order.placed", {"item": "piano", "price": 4000}),
        ],
    )
    assert cheap.status == expensive.status == "completed"
    assert cheap.output["action"] == "ship"
    assert expensive.output["action"] == "review"
'''

README = f"""# PROJECT

An order is placed; two agents look at it; one result is published.

```bash
python -m pytest
caseworks up --app app:app
caseworks publish order.placed '{EVENT}' --wait
```

`app.py` declares agents and workflow, `test_app.py` runs them on the broker in memory.
Something is wrong? `caseworks doctor --app app:app` says what, and how to mend it.
"""

FILES = {"app.py": APP, "test_app.py": TEST, "README.md": README, ".gitignore": ".caseworks/\n"}
