"""The pure parts: filters, changes, and what a remedy is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from caseworks.dead_mail.changes import edited, input_of, patched
from caseworks.dead_mail.editing import LINES_MAX, canonical, diff, merge_patch, readable
from caseworks.dead_mail.letters import Dead, dead_of, read_place
from caseworks.dead_mail.pacing import BATCH_MAX, Pacer, read_rate
from caseworks.dead_mail.remedy import Orders, World, drop_of, replay_of, saved_by
from caseworks.dead_mail.selection import Sieve, read_time
from caseworks.dead_mail.standing import Standing, standing_of
from events.broker import Message, Record
from events.dead_letters import dead_letter_record, letter_for
from events.errors import CaseworksError, PayloadError
from events.settings import Settings
from schemas.commands import Drop, Replay
from schemas.lean_case import ClosedCase, StepState
from schemas.letter_audit import LetterFilter
from tests.unit.command_line import NOW, TOPICS
from tests.unit.dead_cases import COST, died, letter_of

SETTINGS = Settings()
COUNTS = {TOPICS.inbox: 4, TOPICS.events: 2, TOPICS.tasks("reply"): 2}
ORDERS = Orders("ann", NOW, "a fix", replays_max=3)


def message_of(record: Record, offset: int = 5, at_s: float = NOW) -> Message:
    return Message(
        record.topic, 1, offset, int(at_s * 1000), record.key, record.value, record.headers
    )


def dead_event(
    value: bytes | None, *headers: tuple[str, bytes], topic: str = TOPICS.events, **fields: Any
) -> Dead:
    base = (("ce_id", b"e1"), ("ce_source", b"/test"), *headers)
    original = Message(topic, 0, 3, int(NOW * 1000), b"k", value, base)
    letter = letter_for(original, fields.pop("reason", "schema"), **fields)
    return dead_of(message_of(dead_letter_record(original, TOPICS.dlq(topic), letter)))


def dead_task(**fields: Any) -> tuple[Dead, World]:
    machine = died(**fields)
    dead = dead_of(message_of(letter_of(machine)))
    return dead, World(SETTINGS, COUNTS, {machine.case.case_id: standing_of(machine.case)})


# --- filters


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2h", NOW - 7200),
        ("90s", NOW - 90),
        ("7d", NOW - 7 * 86_400),
        ("2026-05-31T12:00:00Z", datetime(2026, 5, 31, 12, tzinfo=UTC).timestamp()),
        ("2026-05-31", datetime(2026, 5, 31, tzinfo=UTC).timestamp()),
    ],
)
def test_a_time_is_a_date_or_how_long_ago(text: str, said: float) -> None:
    found = read_time(text, NOW)
    assert found is not None
    assert found.timestamp() == said


@pytest.mark.parametrize("text", ["2 hours", "yesterday", "-2h", "2026-13-01", "٣h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(PayloadError, match="is no time"):
        read_time(text, NOW)


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [
        ({}, True),
        ({"reason": "poison"}, True),
        ({"reason": "schema"}, False),
        ({"agent": "reply"}, True),
        ({"agent": "triage"}, False),
        ({"topic": "cw.tasks.reply"}, True),
        ({"topic": "cw.tasks.reply.dlq"}, True),
        ({"topic": "cw.events"}, False),
        ({"tenant": "acme"}, True),
        ({"tenant": "other"}, False),
        ({"since": datetime.fromtimestamp(NOW, UTC)}, True),
        ({"until": datetime.fromtimestamp(NOW, UTC)}, False),
        ({"since": datetime.fromtimestamp(NOW + 1, UTC)}, False),
        ({"where": "payload.event.data.ticket_id == 'e1'"}, True),
        ({"where": "payload.event.data.ticket_id == 'e2'"}, False),
        ({"where": "letter.attempts == `1` && headers.ce_tenant == 'acme'"}, True),
        ({"where": "agent == 'reply' && ends_with(place, ':1:5') && key"}, True),
    ],
)
def test_each_filter_leaves_out_what_it_does_not_name(chosen: dict[str, Any], meant: bool) -> None:
    machine = died(tenant="acme")
    message = message_of(letter_of(machine))
    sieve = Sieve(LetterFilter(**chosen), TOPICS)
    assert (sieve.takes_topic(message.topic) and sieve.takes(message)) is meant


def test_a_case_is_found_by_its_events_letters_too() -> None:
    machine = died()
    sieve = Sieve(LetterFilter(case_id=machine.case.case_id), TOPICS)
    event = dead_event(b"{}")
    assert sieve.takes(message_of(letter_of(machine)))
    assert sieve.takes(event.message)
    assert not Sieve(LetterFilter(case_id="another"), TOPICS).takes(event.message)


@pytest.mark.parametrize("where", ["payload.[", "event.id == 'e1'", "@", "nothing(payload)"])
def test_a_where_that_means_nothing_is_refused(where: str) -> None:
    with pytest.raises(CaseworksError):
        Sieve(LetterFilter(where=where), TOPICS)


def test_letters_that_a_where_cannot_work_with_are_counted() -> None:
    sieve = Sieve(LetterFilter(where="contains(payload.text, 'a')"), TOPICS)
    assert not sieve.takes(dead_event(b"not json").message)
    assert sieve.unfit == 1


# --- changes


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_rfc_shows(target: Any, patch: Any, merged: Any) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == merged
    assert json.dumps(target) == before


def test_a_patch_of_a_task_changes_what_the_agent_gets() -> None:
    dead, _ = dead_task()
    assert input_of(dead) == {"ticket_id": "e1"}
    given = patched(dead, SETTINGS, {"ticket_id": "e1", "lang": "de"})
    assert given is not None
    assert given.input == {"ticket_id": "e1", "lang": "de"}
    assert '+ "lang": "de"' in given.changed


def test_a_patch_of_a_structured_event_changes_its_data_alone() -> None:
    dead = dead_event(
        b'{"id": "e1", "data": {"a": 1}}', ("content-type", b"application/cloudevents+json")
    )
    given = patched(dead, SETTINGS, {"a": 2})
    assert given is not None
    assert json.loads(given.value or b"") == {"id": "e1", "data": {"a": 2}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not_json"),
        ("", "not_json"),
        ("NaN", "not_json"),
        ("1e999", "not_json"),
        ("[" * 150 + "]" * 150, "not_json"),
        ("null", "null_input"),
        (json.dumps("x" * SETTINGS.case_bytes_max), "too_large"),
    ],
)
def test_a_task_edited_into_something_invalid_is_refused(text: str, reason: str) -> None:
    dead, _ = dead_task()
    with pytest.raises(PayloadError) as caught:
        edited(dead, SETTINGS, text)
    assert caught.value.reason == reason


def test_what_was_edited_into_the_same_is_not_edited() -> None:
    dead, _ = dead_task()
    assert edited(dead, SETTINGS, '{ "ticket_id":   "e1" }') is None
    assert patched(dead, SETTINGS, {}) is None
    assert edited(dead_event(b'{"a": 1}'), SETTINGS, '{"a":1}\n') is None


def test_an_event_that_is_no_json_can_be_edited_but_not_patched() -> None:
    dead = dead_event(b'{"a": \xff}')
    with pytest.raises(PayloadError, match="--edit it"):
        patched(dead, SETTINGS, {"a": 1})
    given = edited(dead, SETTINGS, '{"a": 1}')
    assert given is not None
    assert given.value == b'{"a":1}'


def test_a_task_that_cannot_be_read_cannot_be_changed() -> None:
    dead, _ = dead_task()
    broken = Dead(dead.message._replace(value=b"[1]"), dead.letter)
    with pytest.raises(PayloadError, match="cannot be read"):
        patched(broken, SETTINGS, {"a": 1})


def test_a_difference_is_of_canonical_json() -> None:
    assert diff(readable(b'{"b": 1, "a": 2}'), readable(b'{"a":2,"b":1}'), "x", "y") == ""
    assert "\\x1b" not in readable(b"\xff")
    many = canonical(list(range(LINES_MAX + 1)))
    assert "not compared" in diff(many, many + "x", "x", "y")


# --- remedies


def test_a_task_goes_back_by_a_command_named_after_its_letter() -> None:
    dead, world = dead_task()
    remedy = replay_of(dead, world, ORDERS)
    assert remedy.record is not None
    command = Replay.from_json(remedy.record.value or b"")
    assert command.command_id == dead.place
    assert (command.by, command.why, command.input) == ("ann", "a fix", None)
    assert remedy.entry.command_id == dead.place
    assert f"amends {dead.letter.case_id}:1" in remedy.told
    assert saved_by({"c": remedy.reused}) == COST + COST + COST


def test_two_letters_of_one_case_save_its_results_once() -> None:
    one = replay_of(*dead_task(), ORDERS)
    assert saved_by({one.case_id: {**one.reused, **one.reused}}).usd == COST.usd * 3


def test_a_step_that_was_undone_is_run_again_and_saves_nothing() -> None:
    case = died().case
    undone = case.evolve(undos={"kb": StepState(status="done")})
    assert set(standing_of(case).done) == {"triage", "billing", "kb"}
    assert set(standing_of(undone).done) == {"triage", "billing"}


@pytest.mark.parametrize("replays", [3, 7])
def test_what_was_replayed_too_often_is_refused(replays: int) -> None:
    dead = dead_event(b"{}")
    worn = Dead(dead.message, dead.letter.evolve(replays=replays))
    with pytest.raises(PayloadError, match="times and died again") as caught:
        replay_of(worn, World(SETTINGS, COUNTS), ORDERS)
    assert caught.value.reason == "replays"
    replay_of(worn, World(SETTINGS, COUNTS), Orders("ann", NOW))


def test_a_dead_letter_of_a_dead_letter_never_is() -> None:
    dead = dead_event(b"{}", topic=TOPICS.dlq(TOPICS.events))
    moved = Dead(dead.message._replace(topic=TOPICS.dlq(TOPICS.events)), dead.letter)
    for each in (dead, moved):
        with pytest.raises(PayloadError, match="dead-letter topic") as caught:
            replay_of(each, World(SETTINGS, COUNTS), Orders("ann", NOW, force=True))
        assert caught.value.reason == "dead_letter_topic"


@pytest.mark.parametrize("origin", [TOPICS.cases, TOPICS.inbox, "elsewhere"])
def test_a_letter_that_lies_about_its_origin_is_not_believed(origin: str) -> None:
    dead = dead_event(b"{}")
    lying = Dead(dead.message, dead.letter.evolve(topic=origin))
    with pytest.raises(PayloadError) as caught:
        replay_of(lying, World(SETTINGS, {**COUNTS, origin: 1}), ORDERS)
    assert caught.value.reason == "foreign"


def test_a_letter_whose_topic_is_gone_is_refused() -> None:
    dead, world = dead_task()
    with pytest.raises(PayloadError, match="is gone") as caught:
        replay_of(dead, World(SETTINGS, {TOPICS.inbox: 4}, world.standings), ORDERS)
    assert caught.value.reason == "topic_gone"


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (Standing(), "is unknown: publish the event anew"),
        (standing_of(None), "is forgotten: publish the event anew"),
        (standing_of(ClosedCase(closed=NOW, status="failed")), "ended as failed, and is not kept"),
        (Standing("open", kept=True), "does not wait for it"),
        (Standing("undoing", kept=True), "is being undone"),
    ],
)
def test_a_task_whose_case_does_not_wait_for_it_is_refused(standing: Standing, told: str) -> None:
    dead, _ = dead_task()
    world = World(SETTINGS, COUNTS, {dead.letter.case_id or "": standing})
    with pytest.raises(PayloadError, match=told):
        replay_of(dead, world, ORDERS)
    assert replay_of(dead, world, Orders("ann", NOW, force=True)).record


def test_headers_and_a_large_payload_come_back_untouched() -> None:
    headers = tuple((f"x-{number}", str(number).encode()) for number in range(40))
    dead = dead_event(b'"' + b"x" * 900_000 + b'"', *headers, error="e", stacktrace="s")
    record = replay_of(dead, World(SETTINGS, COUNTS), ORDERS).record
    assert record is not None
    assert record.value == dead.message.value
    expected = (("ce_id", b"e1"), ("ce_source", b"/test"), *headers, ("cw_dlq_replays", b"1"))
    assert record.headers == expected


def test_what_is_dropped_is_told_to_its_case_when_it_has_one() -> None:
    dead, world = dead_task(on_dead_letter="park")
    remedy = drop_of(dead, world, ORDERS)
    assert remedy.record is not None
    assert Drop.from_json(remedy.record.value or b"").command_id == dead.place
    assert remedy.told == "its case waits for it, and fails"
    assert drop_of(dead_event(b"{}"), world, ORDERS).record is None


# --- places and rates


@pytest.mark.parametrize("text", ["", "a:b:c", "a:1", "a:1:", ":1:1", "a:1:²", "a:1:" + "9" * 19])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(PayloadError):
        read_place(text)


@pytest.mark.parametrize("text", ["0", "0/s", "-1", "nan", "inf", "fast", "10/x", "1e-400", "35/h"])
def test_a_rate_that_never_ends_is_refused(text: str) -> None:
    with pytest.raises(PayloadError):
        read_rate(text)


def test_batches_keep_to_the_rate() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pacer = Pacer(read_rate("600/m"), lambda: now[0], sleep)
    assert pacer.batch == 5
    for _ in range(11):
        pacer.wait(5)
    assert now[0] == pytest.approx(5.0)
    assert Pacer(10_000.0).batch == BATCH_MAX
    assert Pacer(0.5).batch == 1
