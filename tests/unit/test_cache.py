"""The link `cache`: what a shelf keeps and gives, and how cases ask it through the inbox."""

from __future__ import annotations

from typing import Any

from coordinator.shelf import SHELVES, ShelfLimits, next_due, place_of, recall, retain, tick
from coordinator.workflow import compile_workflow
from schemas.case import KeptOutput, Shelf
from schemas.outcome import Failure
from schemas.result import Result
from schemas.workflow import StepSpec, WorkflowSpec
from tests.unit.machine import AGENTS, START, event, outcome
from tests.unit.test_waits_turn import Talk

LIMITS = ShelfLimits(keep_s=60.0, entries_max=2 * SHELVES, bytes_max=100 * SHELVES)
PLACE: tuple[Any, ...] = ("flow", "a", "v1", "1", None, {"x": 1}, {})


def output(text: str, at: float = START) -> KeptOutput:
    return KeptOutput(output=text, at=at)


def filled(**outputs: KeptOutput) -> Shelf | None:
    shelf: Shelf | None = None
    for digest, kept in outputs.items():
        shelf, _ = retain(shelf, digest, kept, LIMITS)
    return shelf


# --- a shelf


def test_the_last_good_output_is_given_until_it_is_too_old() -> None:
    shelf = filled(x=output("one"))
    shelf, _ = retain(shelf, "x", output("two", START + 1), LIMITS)

    found = recall(shelf, "x", START + 60, LIMITS)
    assert found is not None
    assert found.output == "two"
    assert recall(shelf, "x", START + 61, LIMITS) is None
    assert recall(shelf, "y", START, LIMITS) is None


def test_a_shelf_holds_so_many_and_so_much_and_the_oldest_go_first() -> None:
    many = filled(x=output("1"), y=output("2"), z=output("3"))
    much = filled(x=output("a" * 60), y=output("b" * 60))

    assert many is not None
    assert list(many.outputs) == ["y", "z"]
    assert much is not None
    assert list(much.outputs) == ["y"]


def test_an_output_that_is_too_large_is_not_kept_and_neither_is_what_it_replaces() -> None:
    shelf, room = retain(filled(x=output("one")), "x", output("a" * 101), LIMITS)

    assert (shelf, room) == (None, False)


def test_time_empties_a_shelf() -> None:
    shelf = filled(x=output("one"), y=output("two", START + 5))
    assert shelf is not None
    assert next_due(shelf, LIMITS) == START + 60

    assert tick(shelf, START + 59, LIMITS) is shelf
    later = tick(shelf, START + 60, LIMITS)
    assert later is not None
    assert list(later.outputs) == ["y"]
    assert tick(later, START + 65, LIMITS) is None


def test_every_part_of_what_was_read_counts() -> None:
    others: tuple[tuple[Any, ...], ...] = (
        ("flow", "a", "v1", "1", "acme", {"x": 1}, {}),
        ("flow", "a", "v1", "1", None, {"x": 2}, {}),
        ("flow", "a", "v2", "1", None, {"x": 1}, {}),
        ("flow", "a", "v1", "2", None, {"x": 1}, {}),
        ("flow", "a", "v1", "1", None, {"x": 1}, {"b": 1}),
        ("flow", "b", "v1", "1", None, {"x": 1}, {}),
    )

    assert place_of(*PLACE) == place_of("flow", "a", "v1", "1", None, {"x": 1}, {})
    assert len({place_of(*each).digest for each in (PLACE, *others)}) == 1 + len(others)


# --- and the cases that ask it


class Shop(Talk):
    """A desk with one step, whose answers are kept."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        steps = (StepSpec(name="kb", agent="kb", fallback=("cache", "spare")),)
        spec = WorkflowSpec(name="ticket", on=("ticket.created",), steps=steps)
        self.plan = compile_workflow(spec, AGENTS)
        self.it = self.restarted()

    def asks(self, number: int, *, fails: bool = False, **fields: Any) -> str:
        business = event(f"e{number}", **fields).model_copy(update={"data": {"q": "same"}})
        case_id = self.opens(business)
        case = self.case(case_id)
        assert case is not None
        broke = {"error": Failure(kind="permanent")} if fails else {"output": f"answer {number}"}
        self.tell(outcome(case, "kb", "failed" if fails else "done", **broke))
        self.deliver()
        return case_id

    def answers(self) -> list[tuple[str, Any, str]]:
        said = [Result.from_json(r.value or b"") for r in self.to("cw.results.ticket")]
        return [(r.status, r.output, r.degraded["kb"].link if r.degraded else "") for r in said]


def test_a_case_gets_what_another_one_was_answered_for_the_same_input() -> None:
    shop = Shop()
    shop.asks(1)
    shop.asks(2, fails=True)

    assert shop.answers() == [("completed", "answer 1", ""), ("degraded", "answer 1", "cache")]


def test_with_nothing_kept_the_next_link_is_asked() -> None:
    shop = Shop()
    case = shop.case(shop.asks(1, fails=True))

    assert case is not None
    assert case.steps["kb"].agent == "spare"
    assert case.steps["kb"].handed == (
        "kb: permanent",
        "cache: cache_miss: no output for this input is kept",
    )


def test_no_output_crosses_from_tenant_to_tenant() -> None:
    shop = Shop()
    shop.asks(1, tenant="acme")
    case = shop.case(shop.asks(2, fails=True, tenant="other"))

    assert case is not None
    assert case.steps["kb"].agent == "spare"


def test_what_is_kept_survives_a_restart_and_goes_with_its_time() -> None:
    shop = Shop()
    shop.asks(1)
    shop.it = shop.restarted()
    shop.asks(2, fails=True)
    assert shop.answers()[-1] == ("degraded", "answer 1", "cache")

    shop.now += shop.limits.shelf.keep_s
    shop.turn()
    case = shop.case(shop.asks(3, fails=True))
    assert case is not None
    assert case.steps["kb"].agent == "spare"


def test_a_shelf_that_cannot_be_read_is_an_empty_one() -> None:
    shop = Shop()
    shop.asks(1)
    for partition, state in shop.it.states.items():
        for key in [k for _, k in _shelves(shop) if _ == partition]:
            state.put_entity(key, b"{", START + 9_999)
    case = shop.case(shop.asks(2, fails=True))

    assert case is not None
    assert case.steps["kb"].agent == "spare"


def _shelves(shop: Shop) -> list[tuple[int, str]]:
    found = [(r.partition or 0, (r.key or b"").decode()) for r in shop.to("cw.cases")]
    return [(partition, key) for partition, key in found if key.startswith("@shelf:")]
