"""What `attention` reads: topics, projection, insight; the command, and the route of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from caseworks.attention.gather import INSIGHT_OLD_S, Lookout
from caseworks.attention.views import Attention, Concern
from caseworks.insight import snapshot
from caseworks.lag import LagReport
from caseworks.lag.groups import groups_of
from caseworks.projection.views import LetterView, Page
from events.broker import ConsumerSpec
from events.envelope import rfc3339
from events.errors import RetriableError, SetupError
from events.memory import MemoryBroker
from events.settings import Settings
from events.topics import TopicSpec
from schemas.base import instant
from schemas.control import Breaker, Pause
from schemas.outcome import Failure
from tests.unit.api_world import AT, FakeReader, bearer, case, keyed, world
from tests.unit.api_world import NOW as API_NOW
from tests.unit.attending import alert, typed
from tests.unit.command_line import NOW, TOPICS, CommandLine
from tests.unit.dead_cases import bury, died, prepared, with_two_letters
from tests.unit.language import machine, plan, step
from tests.unit.machine import Machine, event
from tests.unit.projected import Story, put
from tests.unit.test_cli_approvals import asked
from tests.unit.test_cli_effect import ID, said
from tests.unit.test_cli_fleet import decided
from tests.unit.test_projection_writer import World

HOSTILE = "\x1b[2J\u202eevil\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASEWORKS_DATA_DIR", str(tmp_path))
    return tmp_path


def kinds(found: Attention) -> dict[str, Concern]:
    return {each.kind: each for each in found.items}


def no_lag() -> LagReport:
    return LagReport(NOW, ())


def lookout(broker: MemoryBroker, folder: Path, reads: Any = None, **more: Any) -> Lookout:
    settings = Settings(data_dir=folder, attention_usd_per_day=Decimal("0.01"))
    known: dict[str, Any] = {"clock": lambda: API_NOW, **more}
    return Lookout(broker, settings, reads or FakeReader(), known.pop("lag", no_lag), **known)


# ---- the command, without a projection


def test_the_command_reads_the_topics_and_says_what_it_cannot_see() -> None:
    command = prepared()
    parked = died(on_dead_letter="park")
    command.produce(asked(), said("pending", until=None), said("unknown", claim=0))
    command.produce(decided(Breaker(dependency="crm", state="open", reason=HOSTILE)))
    bury(command, parked)
    ran = command("attention", "--json")
    [found] = ran.lines
    told = {each["kind"]: each for each in found["items"]}

    assert ran.code == 0, ran
    assert told.keys() == {"approval", "breaker", "effect", "nobody", "dead letters"}
    assert told["effect"]["about"] == ID
    assert told["dead letters"]["command"] == (
        "caseworks dlq replay --dry-run --agent=reply --reason=poison --why='its cause is mended'"
    )
    assert any("there is no projection" in each for each in found["missing"])
    assert any("insight has not run here" in each for each in found["missing"])


def test_a_parked_case_is_found_in_the_changelog(tmp_path: Path) -> None:
    command = prepared()
    parked = died(on_dead_letter="park")
    bury(command, parked)
    seen = lookout(command.broker, tmp_path, NoProjection(), thorough=True, clock=lambda: NOW + 90)

    assert parked.case.status == "parked"
    assert kinds(seen.look())["parked"].case_id == parked.case.case_id


class NoProjection(FakeReader):
    """A projection that nobody has written."""

    def behind(self) -> Any:
        return super().behind().__class__(records=0, seconds=0.0, updated_at=None, ready=False)


def test_text_of_others_drives_no_terminal() -> None:
    command = with_two_letters()
    command.produce(decided(Breaker(dependency="crm", state="open", reason=HOSTILE)))
    out = command("attention").out

    assert "the breaker of crm is open" in out
    assert "$ caseworks breaker close crm" in out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "\\x1b[2J" in out


@pytest.fixture
def staffed() -> Iterator[CommandLine]:
    """A namespace in which every group has a member and nothing happens."""
    command = CommandLine()
    command.make_topics()
    groups = groups_of(TOPICS, ["triage"])
    members = [command.broker.consumer(ConsumerSpec(name, read)) for name, read in groups.items()]
    for each in members:
        each.take(1, 0)
    yield command
    for each in members:
        each.close()


def test_where_nothing_is_wrong_one_calm_line_is_said(staffed: CommandLine) -> None:
    ran = staffed("attention")

    assert (ran.code, ran.out) == (0, "nothing needs a person now\n")
    assert "not looked at:" in ran.err


def test_it_looks_as_often_as_it_is_told(staffed: CommandLine) -> None:
    ran = staffed("attention", "--watch", "--times", "3", "--every", "0.1", "--json")

    assert [each["items"] for each in ran.lines] == [[], [], []]


# ---- the projection


def test_the_projection_tells_of_escalated_cases_failed_undoing_letters_and_spend(
    tmp_path: Path,
) -> None:
    seen = World(tmp_path)
    seen.broker.admin().create([TopicSpec(seen.topics.results("order"), "subject", 2, "")])
    story = Story(seen.topics)
    stays = machine(
        step("first", undo="release"),
        step("second", "first", on_dead_letter="fail"),
    )
    stays.ends("first")
    stays.ends("second", "failed")
    stays.ends("first~undo", "failed", error=Failure(kind="gone", message="no such thing"))
    escalated = Machine(plan(step("first", escalate_below=0.5)), business=event("e2"))
    escalated.ends("first", "escalate")
    for each in (stays, escalated):
        put(seen.broker, [story.note(each), story.state(each), *story.results(each)])
    put(seen.broker, [story.asked(escalated), story.letter(escalated)])
    with closing(seen.catch_up()) as reads:
        found = lookout(seen.broker, tmp_path, reads, clock=lambda: seen.now).look()
    told = kinds(found)

    assert told.keys() >= {"undo", "escalated", "approval", "dead letters"}
    assert "first could not be undone" in told["undo"].what
    assert told["approval"].approval_id == "a1"


def letter(number: int, state: str = "waiting") -> LetterView:
    return LetterView(
        id=f"t/0/{number}",
        topic="t",
        agent="triage",
        reason="poison",
        error="",
        at=AT,
        case_id=None,
        task_id=None,
        tenant=None,
        attempts=1,
        replays=0,
        state=state,
        size=1,
    )


def test_letters_that_were_handled_are_not_told(tmp_path: Path) -> None:
    reads = FakeReader(dead=[letter(1, "replayed")])

    assert kinds(lookout(MemoryBroker(), tmp_path, reads).look()).keys() == set()


class ManyLetters(FakeReader):
    """Three thousand dead letters, page by page."""

    def letters(self, *, limit: int = 50, cursor: str | None = None, **_: Any) -> Page[LetterView]:
        start = int(cursor or 0)
        end = min(start + limit, 3_000)
        items = [
            letter(number, "waiting" if number >= 1_000 else "dropped")
            for number in range(start, end)
        ]
        return Page(items=items, next=str(end) if end < 3_000 else None)


def test_the_newest_letters_are_looked_at_page_by_page_and_the_rest_is_named(
    tmp_path: Path,
) -> None:
    found = lookout(MemoryBroker(), tmp_path, ManyLetters()).look()

    assert kinds(found)["dead letters"].what == "1000 dead letters of triage: poison"
    assert "dead letters: only the newest 2000 were looked at" in found.missing


def test_a_call_that_may_be_under_way_is_not_told_and_who_paused_itself_is(
    staffed: CommandLine,
) -> None:
    staffed.produce(said("pending", until=instant(NOW + 30)))
    staffed.produce(decided(Pause(agent="triage", paused=True, by="cw-fleet-triage-0")))
    [found] = staffed("attention", "--json").lines

    assert [(each["kind"], each["severity"]) for each in found["items"]] == [("paused", "critical")]


# ---- what cannot be read


class Gone(MemoryBroker):
    """A broker that does not answer; counts how often it was asked."""

    asked = 0

    def admin(self) -> NoReturn:
        self.asked += 1
        raise RetriableError("no broker at localhost:1")


def test_a_broker_that_does_not_answer_is_asked_once_and_told(tmp_path: Path) -> None:
    broker = Gone()
    found = lookout(broker, tmp_path, FakeReader(known={"c1": case(status="escalated")})).look()

    assert kinds(found)["kafka"].why == "no broker at localhost:1"
    assert broker.asked == 1
    assert "escalated" in kinds(found)
    assert sum("Kafka does not answer" in each for each in found.missing) == 3


def test_a_part_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    def fails() -> NoReturn:
        raise SetupError("there is no topic cw.inbox")

    reads = FakeReader(known={"c1": case(status="escalated")})
    found = lookout(CommandLine().broker, tmp_path, reads, lag=fails).look()

    assert "escalated" in kinds(found)
    assert "lag: there is no topic cw.inbox" in found.missing


def write_snapshot(folder: Path, at: float, alerts: Any) -> None:
    made = {"v": snapshot.SNAPSHOT_VERSION, "at": rfc3339(at).decode(), "alerts": alerts}
    snapshot.write(snapshot.path_of(folder, "cw"), made)


def test_what_insight_wrote_lately_is_told(tmp_path: Path) -> None:
    fires = json.loads(alert().to_json())
    write_snapshot(tmp_path, API_NOW - INSIGHT_OLD_S + 1, [fires])

    assert "alert" in kinds(lookout(MemoryBroker(), tmp_path).look())


@pytest.mark.parametrize(
    ("ago_s", "alerts", "says"),
    [
        (INSIGHT_OLD_S + 1, [], "has not written anything lately"),
        (1, [{"rule": HOSTILE}], "cannot be read"),
        (1, 7, "cannot be read"),
    ],
)
def test_a_snapshot_that_is_old_or_broken_is_named(
    tmp_path: Path, ago_s: float, alerts: Any, says: str
) -> None:
    write_snapshot(tmp_path, API_NOW - ago_s, alerts)
    found = lookout(MemoryBroker(), tmp_path).look()

    assert "alert" not in kinds(found)
    assert any(says in each for each in found.missing)


def test_those_who_ask_at_once_share_one_list(tmp_path: Path) -> None:
    asked_for = []

    def lag() -> LagReport:
        asked_for.append(1)
        return no_lag()

    command = CommandLine()
    command.make_topics()
    seen = lookout(command.broker, tmp_path, lag=lag)
    assert seen.tell() is seen.tell()
    assert len(asked_for) == 1


# ---- the API


@pytest.mark.anyio
async def test_the_api_tells_the_list_to_who_may_read_everything() -> None:
    async with world(gate=keyed()) as api:
        api.reader.known["c1"] = case(status="escalated")
        told = (await api.get("/attention", headers=bearer("read"))).json()
        of_a_tenant = await api.get("/attention", headers=bearer("acme"))

    [escalated] = [each for each in told["items"] if each["kind"] == "escalated"]
    assert (escalated["case_id"], escalated["command"]) == ("c1", "caseworks case show c1")
    assert {each["kind"] for each in told["items"]} == {"escalated", "nobody"}
    assert of_a_tenant.status_code == 403


def test_hints_on_real_records_do_what_they_say() -> None:
    """`effect resolve` wants to be told what was found out; `worker` and the like would run on."""
    command = prepared()
    command.produce(asked(), said("pending", until=None), said("unknown", claim=0))
    bury(command, died())
    [found] = command("attention", "--json").lines

    assert len(found["items"]) >= 4
    for each in found["items"]:
        words = typed(Concern(**each))
        if words[0] in ("dlq", "approvals", "case"):
            assert command(*words).code == 0, command(*words)
        elif words[0] == "effect":
            assert "--did-not-happen" in command(*words).err
