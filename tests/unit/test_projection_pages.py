"""What readers see of cases that were written as coordinators write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caseworks.projection.moments import derived
from caseworks.projection.read import ReadModel
from caseworks.projection.shorten import BODY_BYTES_MAX
from events.broker import Record
from events.envelope import record_of
from schemas.base import instant
from schemas.commands import Cancel, Replay
from schemas.control import Breaker, Pause
from schemas.feedback import Feedback
from schemas.outcome import Failure
from tests.unit.machine import START, Machine, diamond, event
from tests.unit.projected import COST, HOSTILE, put
from tests.unit.test_projection_writer import World
from tests.unit.waiting import refund

CASE_ID = event().case_id


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A broker with topics, and a projection that has read nothing."""
    made = World(tmp_path)
    made.now = START + 30
    return made


class Life:
    """One case: what it does is written, and read at once or later."""

    def __init__(self, world: World, machine: Machine | None = None) -> None:
        self.world = world
        self.machine = machine or Machine(
            business=event(
                subject=HOSTILE, tenant="acme", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
            )
        )
        self.published = 0
        put(world.broker, [world.story.note(self.machine)])
        self.write()

    def write(self) -> None:
        story = self.world.story
        results = story.results(self.machine)
        self.world.written_at = self.machine.now
        put(self.world.broker, [story.state(self.machine), *results[self.published :]])
        self.published = len(results)

    def says(self, step: str, status: str = "done", **fields: object) -> None:
        self.machine.now += 1
        self.machine.says(step, status, **fields)  # type: ignore[arg-type]
        self.write()

    def through(self) -> None:
        for step in ("triage", "billing", "kb", "reply"):
            self.says(step, usage=COST, confidence=0.8)


def page(world: World) -> ReadModel:
    return world.catch_up()


def test_an_open_case_is_shown_as_it_stands(world: World) -> None:
    life = Life(world)
    life.says("triage", usage=COST, confidence=0.9)
    seen = page(world).case(CASE_ID)
    assert seen is not None
    assert (seen.status, seen.tenant, seen.subject) == ("open", "acme", HOSTILE)
    assert seen.trace_id == "a" * 32
    assert seen.event is not None
    assert seen.event.data == {"ticket_id": "e1"}
    steps = {step.name: step for step in seen.steps}
    assert list(steps) == ["triage", "billing", "kb", "reply"]
    assert steps["reply"].after == ["billing", "kb"]
    assert (steps["triage"].status, steps["triage"].output) == ("done", {"by": "triage"})
    assert (steps["triage"].usage.usd, steps["triage"].ms) == ("0.0125", 1000)
    assert (steps["kb"].status, steps["reply"].status) == ("sent", "waiting")
    assert seen.output is None
    assert not seen.results


def test_a_closed_case_is_its_last_state_and_its_result(world: World) -> None:
    Life(world).through()
    model = page(world)
    seen = model.case(CASE_ID)
    assert seen is not None
    assert (seen.status, seen.output, seen.usage.usd) == ("completed", {"by": "reply"}, "0.0500")
    steps = {step.name: step for step in seen.steps}
    assert {step.status for step in steps.values()} == {"done"}
    assert steps["reply"].output == {"by": "reply"}
    assert steps["kb"].output == {"by": "kb"}
    assert [result.id for result in seen.results] == [f"{CASE_ID}:1"]
    told = [(moment.what, moment.step) for moment in seen.timeline]
    assert told[0] == ("opened", "")
    assert told[-1] == ("completed", "")
    assert told.index(("sent", "kb")) < told.index(("done", "kb"))
    assert len(told) == len(set(told))
    [line] = model.cases().items
    assert (line.status, line.usd, line.ms, line.confidence) == ("completed", "0.05", 4000, 0.8)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_passes_by_is_kept_however_reads_are_cut(world: World, *, at_once: bool) -> None:
    life = Life(world)
    for number in range(2):
        life.says("triage", "retry", error=Failure(kind="busy", message=f"later {number}"))
        if not at_once:
            page(world)
        life.machine.at((life.machine.case.steps["triage"].due or 0) + 0.01)
        life.write()
        if not at_once:
            page(world)
    life.through()
    seen = page(world).case(CASE_ID)
    assert seen is not None
    told = [(moment.what, moment.detail) for moment in seen.timeline if moment.step == "triage"]
    assert [what for what, _ in told] == [
        "sent",
        "will retry",
        "sent",
        "will retry",
        "sent",
        "done",
    ]
    assert told[1][1] == "later 0"
    assert told[4][1] == "to triage, attempt 3"


def test_a_replay_amends_the_result_and_is_counted_once(world: World) -> None:
    life = Life(world, Machine(diamond(on_dead_letter="fail"), START, event(tenant="acme")))
    for step in ("triage", "billing", "kb"):
        life.says(step, usage=COST)
    life.says("reply", "failed", usage=COST)
    world.catch_up()
    task_id = f"{CASE_ID}:reply"
    life.machine.do(Replay(case_id=CASE_ID, task_id=task_id, command_id="x:0:1"))
    life.write()
    seen = page(world).case(CASE_ID)
    assert seen is not None
    assert (seen.status, seen.closed_at, seen.output) == ("open", None, None)
    life.says("reply", usage=COST)
    model = page(world)
    seen = model.case(CASE_ID)
    assert seen is not None
    assert [(r.status, r.amends) for r in seen.results] == [
        ("failed", None),
        ("completed", f"{CASE_ID}:1"),
    ]
    assert (seen.status, seen.output) == ("completed", {"by": "reply"})
    [spent] = model.spend("workflow", datetime.fromtimestamp(0, UTC))
    assert (spent.cases, spent.usd) == (1, seen.usage.usd.rstrip("0"))
    overview = model.overview()
    assert overview.by_status == {"completed": 1}
    assert sum(overview.per_second.closed) == 1


def test_the_changelog_and_the_result_may_be_read_in_any_order(world: World) -> None:
    life = Life(world)
    life.through()
    story, machine = world.story, life.machine
    other = World(world.settings.data_dir / "other")
    put(other.broker, story.results(machine))
    assert [line.status for line in other.catch_up().cases().items] == ["completed"]
    put(other.broker, [story.state(machine)])  # a mark
    [line] = other.catch_up().cases().items
    [same] = page(world).cases().items
    assert line == same.__class__(**{**same.as_json(), "updated_at": line.updated_at})


def test_a_result_that_is_read_before_its_mark_closes_nothing(world: World) -> None:
    life = Life(world)
    life.says("triage")
    world.catch_up()
    for step in ("billing", "kb", "reply"):
        life.machine.says(step)
    put(world.broker, world.story.results(life.machine))
    [line] = page(world).cases(status="open").items
    assert (line.status, line.closed_at) == ("open", None)
    put(world.broker, [world.story.state(life.machine)])
    [line] = page(world).cases(status="completed").items
    assert line.closed_at is not None


def test_questions_letters_and_feedback_are_beside_their_case(world: World) -> None:
    life = Life(world)
    story, machine = world.story, life.machine
    feedback = Feedback(
        feedback_id="f1",
        case_id=CASE_ID,
        workflow="ticket",
        rating=2,
        note=HOSTILE,
        at=instant(START),
    )
    put(
        world.broker,
        [
            story.asked(machine),
            story.asked(machine, approval_id="a2"),
            story.answered(machine, approval_id="a2"),
            story.letter(machine, b"\xff not utf-8 \xfe"),
            story.letter(machine),
            *[_said(feedback, world)] * 2,
        ],
    )
    model = page(world)
    seen = model.case(CASE_ID)
    assert seen is not None
    assert {a.approval_id: (a.status, a.by) for a in seen.approvals} == {
        "a1": ("open", []),
        "a2": ("approve", ["ann"]),
    }
    [asked] = model.approvals(tenant="acme").items
    assert (asked.why, asked.action, asked.needed) == (HOSTILE, {"refund": 40}, 1)
    assert asked == model.approval("a1")
    assert not model.approvals(tenant="other").items
    assert [said["rating"] for said in seen.feedback] == [2]
    letters = model.letters(agent="reply", case_id=CASE_ID).items
    assert len(letters) == 2
    assert {letter.error for letter in letters} == {HOSTILE}
    assert model.overview().letters_waiting == 2
    put(world.broker, [story.handled(letters[0].id.replace("/", ":"))])
    model = page(world)
    assert model.letters(state="replayed").items[0].id == letters[0].id
    assert len(model.letters(state="waiting").items) == 1
    assert model.overview().approvals_open == 1
    assert model.overview(START + 500).approvals_expiring == 1


def _said(feedback: Feedback, world: World) -> Record:
    return record_of(
        feedback,
        feedback.ce_type,
        topic=world.topics.feedback,
        key=feedback.case_id,
        ce_id=feedback.feedback_id,
        source="/test",
        now=START,
    )


def test_what_a_person_is_asked_was_sent_to_nobody() -> None:
    told = derived(refund().case, None, None, [])

    assert [(each.what, each.step) for each in told] == [
        ("opened", ""),
        ("sent", "billing"),
        ("done", "billing"),
    ]


def test_large_values_are_referred_to_and_not_copied(world: World) -> None:
    life = Life(world)
    life.says("triage", output={"text": "x" * BODY_BYTES_MAX})
    seen = page(world).case(CASE_ID)
    assert seen is not None
    output = seen.steps[0].output
    assert output["omitted_bytes"] > BODY_BYTES_MAX
    assert output["at"].startswith("cw.cases/")
    assert len(seen.to_json()) < 10_000


def test_the_overview_sums_up_what_happened(world: World) -> None:
    Life(world).through()
    Life(world, Machine(business=event("e2"))).says("triage", usage=COST)
    put(
        world.broker,
        [
            world.story.decided(Breaker(dependency="kb", state="open", reason=HOSTILE)),
            world.story.decided(Pause(agent="billing", paused=True)),
        ],
    )
    seen = page(world).overview(START + 20)
    assert (seen.cases_open, seen.by_status) == (1, {"completed": 1})
    assert (sum(seen.per_second.opened), sum(seen.per_second.closed)) == (2, 1)
    assert seen.p50_ms == pytest.approx(4000, rel=0.06)
    assert (seen.usd_today, seen.usd_per_hour) == ("0.05", "0.05")
    agents = {line.agent: line for line in seen.agents}
    assert agents.keys() == {"triage", "billing", "kb", "reply"}
    assert (agents["billing"].paused, agents["kb"].breaker) == (True, "open")
    assert agents["kb"].tasks_5m == 1
    assert agents["kb"].p50_ms == pytest.approx(2000, rel=0.06)
    assert seen.breakers[0].reason == HOSTILE
    json.loads(seen.to_json())


def test_what_was_spent_is_told_by_agent_and_tenant(world: World) -> None:
    Life(world).through()
    model = page(world)
    since = datetime.fromtimestamp(START, UTC)
    assert [(line.key, line.usd) for line in model.spend("tenant", since)] == [("acme", "0.05")]
    by_agent = model.spend("agent", since)
    assert {line.key: line.tokens_in for line in by_agent} == dict.fromkeys(
        ("triage", "billing", "kb", "reply"), 100
    )
    assert model.spend("tenant", since, tenant="other") == []


def test_changes_name_cases_whose_page_changed(world: World) -> None:
    life = Life(world)
    seq, _ = page(world).changes(-1)
    put(world.broker, [world.story.letter(life.machine)])
    assert page(world).changes(seq) == (seq + 1, [CASE_ID])


def test_records_that_nobody_can_read_are_counted_and_passed_over(world: World) -> None:
    life = Life(world)
    put(
        world.broker,
        [
            world.story.changelog(b"case-x", b'{"v":1,"event":\xff'),
            world.story.changelog(b"case-y", b'{"v":99,"event":{},"opened":1}'),
            world.story.changelog(b"\xff\xfe", b"[]"),
            Record(world.topics.results("ticket"), b"k", b'{"case_id": 7}'),
            Record(world.topics.results("ticket"), b"k", None),
            Record(world.topics.approvals, b"k", b"{}"),
            Record(world.topics.control, b"breaker:x", b"7"),
            Record(world.topics.letter_audit, b"k", b"\xff"),
            Record(world.topics.feedback, b"k", b"null"),
        ],
    )
    life.says("triage")
    model = page(world)
    assert [line.case_id for line in model.cases().items] == [CASE_ID]
    skipped = sum(
        sample.value
        for metric in world.telemetry.registry.collect()
        if metric.name == "caseworks_projection_skipped"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
    assert skipped >= 7


def test_old_closed_cases_go_and_open_ones_stay(world: World) -> None:
    Life(world).through()
    Life(world, Machine(business=event("e2")))
    page(world)
    world.now += world.settings.projection_keep_s + 60
    with world.projection() as running:
        running.turn()
    [line] = world.read().cases().items
    assert line.status == "open"
    assert world.read().case(CASE_ID) is None


def test_beyond_the_most_cases_the_oldest_closed_ones_go(tmp_path: Path) -> None:
    world = World(tmp_path, projection_cases_max=1000)
    records = []
    for number in range(1010):
        machine = Machine(business=event(f"e{number}"), now=START + number)
        if number != 2:
            machine.do(Cancel(case_id=machine.case.case_id, by="ann"))
        records += [world.story.state(machine), *world.story.results(machine)]
    put(world.broker, records)
    page(world)
    with world.projection() as running:
        running.turn()
        assert running.writer.db.execute("SELECT count(*) FROM cases").fetchone() == (1000,)
        assert running.writer.db.execute("SELECT count(*) FROM bodies").fetchone() == (1000,)
    assert world.read().case(event("e2").case_id) is not None
    assert world.read().case(event("e0").case_id) is None
    assert world.read().case(event("e1009").case_id) is not None


def test_it_says_how_far_behind_it_is(world: World) -> None:
    life = Life(world)
    with world.projection() as running:
        assert not world.read().behind().ready
        running.run_once()
        assert world.read().behind().ready
        assert running.ready() == (True, "ready")
        world.now += 2
        life.says("triage")
        world.now += 2
        running.tell()
        seen = world.read().behind()
        assert (seen.records, seen.seconds, seen.ready) == (1, 4.0, True)
        assert world.telemetry.value("caseworks_projection_behind_records") == 1
    world.now += 60
    seen = world.read().behind()
    assert (seen.seconds, seen.ready) == (64.0, False)
