"""`caseworks workflow`: lint, graph and price, from a file and from an app."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.command_line import CommandLine, Ran

SHOP = "tests.unit.shop_app:app"
GOOD = """\
name: order
on: {order.placed: "tests.unit.shop_app:Order"}
steps:
  risk: {agent: risk}
  decide: {agent: decide, after: [risk]}
"""


def ran(*args: str) -> Ran:
    return CommandLine()("workflow", *args)


@pytest.fixture
def good(tmp_path: Path) -> str:
    return written(tmp_path, GOOD)


def written(folder: Path, text: str) -> str:
    path = folder / "order.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_file_is_fine(good: str) -> None:
    assert ran("lint", good, "--app", SHOP) == Ran(0, f"{good}: order is fine\n", "")
    assert "(agents not looked for: no --app)" in ran("lint", good).out


def test_the_workflows_of_an_app_are_fine() -> None:
    assert ran("lint", "--app", SHOP) == Ran(0, f"{SHOP}: order is fine\n", "")


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("agent: risk", "agent: rsik", ":4: step 'risk': unknown agent 'rsik' (known: decide,"),
        ("agent: risk", "agnet: risk", ":4: steps.risk.agnet: unknown key: did you mean 'agent'?"),
        (", after: [risk]", "", ": workflow 'order', step 'decide': 'decide' reads 'risk', which"),
        ("shop_app:Order", "shop_app:None", "cannot be imported"),
        ("[risk]", "[risk, decide]", ":1: a cycle among the steps decide"),
        (GOOD, "", ": it is empty"),
        (
            "agent: risk",
            "agent: risk, fallback: [cache, rsik]",
            ":4: step 'risk': unknown fallback 'rsik' (known: decide, risk, and `cache`,",
        ),
        ("agent: risk", "agent: risk, fallback: [escalate, cache]", "put it last"),
        ("agent: risk", "agent: risk, fallback: 5", ":4: steps.risk.fallback is 5: "),
        ("agent: risk", "agent: risk, fallback: []", ":4: steps.risk.fallback is []: "),
        ("agent: risk", "agent: risk, degrade_after_s: 5", "nobody stands in"),
        ("steps:", "coalesce_by: data.[\nsteps:", ":1: `coalesce_by`: "),
        ("steps:", "coalesce_by: risk.text\nsteps:", "there are event and data"),
        ("steps:", "off_peak: 22-6\nsteps:", "write hours, as in 22:00-06:00"),
        ("steps:", 'off_peak: "22:00-06:00"\noff_peak_zone: Mars\nsteps:', "does not know"),
        ("steps:", "coalesce_window_s: 0\nsteps:", "coalesce_window_s is 0: "),
    ],
)
def test_problems_are_told_with_their_place_and_exit_code_1(
    tmp_path: Path, change: str, to: str, said: str
) -> None:
    path = written(tmp_path, GOOD.replace(change, to))
    found = ran("lint", path, "--app", SHOP)

    assert found.code == 1
    assert found.out.startswith(path)
    assert said in found.out
    assert found.err == ""


def test_without_an_app_no_agent_is_unknown(tmp_path: Path) -> None:
    assert ran("lint", written(tmp_path, GOOD.replace("agent: risk", "agent: any"))).code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("lint", "nowhere.yaml"),
        ("lint", "--app", SHOP, "--workflow", "other"),
        ("lint", "--app", "no.module:app"),
        ("graph", "--app", SHOP, "--format", "png"),
        ("lint", "pyproject.toml", "--workflow", "x"),
    ],
)
def test_a_wrong_call_has_exit_code_2(args: tuple[str, ...]) -> None:
    found = ran(*args)

    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: ")


def test_a_workflow_is_drawn(good: str) -> None:
    from_app = ran("graph", "--app", SHOP)

    assert from_app.out.startswith('flowchart TD\n    start(["order.placed"])\n')
    assert ran("graph", good).out == from_app.out
    assert ran("graph", good, "--format", "dot").out.startswith('digraph "order" {')


def test_a_wrong_workflow_is_drawn_all_the_same(tmp_path: Path) -> None:
    found = ran("graph", written(tmp_path, GOOD.replace("[risk]", "[missing]")))

    assert found.code == 1
    assert "s_missing --> s_decide" in found.out
    assert "reads 'missing', which is no step" in found.err


def test_the_price_is_a_table_and_says_what_is_unknown(good: str) -> None:
    found = ran("price", good, "--app", SHOP)

    assert found.code == 0
    assert "runs of agents: 6" in found.out
    assert "agents without a budget of tokens and USD: decide, risk" in found.out
    assert "time: 3.1 min of 24 h (risk -> decide)" in found.out


def test_the_price_is_json_for_scripts() -> None:
    [found] = ran("price", "--app", SHOP, "--json").lines

    assert found["workflow"] == "order"
    assert found["lines"][0] == {
        "step": "risk",
        "role": "agent",
        "agent": "risk",
        "runs": 3,
        "tokens": None,
        "usd": None,
        "seconds": 93.0,
    }
    assert found["unknown"] == ["decide", "risk"]
    assert found["path_s"] == 186.0
    assert found["problems"] == []


def test_a_workflow_that_may_not_end_in_time_has_exit_code_1(tmp_path: Path) -> None:
    found = ran("price", written(tmp_path, f"deadline_s: 60\n{GOOD}"))

    assert found.code == 1
    assert "problem: the steps risk -> decide may take 3.1 min" in found.out


def test_a_wrong_workflow_has_no_price(tmp_path: Path) -> None:
    found = ran("price", written(tmp_path, GOOD.replace("[risk]", "[missing]")))

    assert (found.code, found.out) == (1, "")
