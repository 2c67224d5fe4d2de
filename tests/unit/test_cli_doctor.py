from __future__ import annotations

import sys
from pathlib import Path

import pytest

from caseworks.checkup import Patient, examine
from caseworks.loading import load_app
from events.broker import Record
from events.errors import SettingsError, SetupError
from events.memory import MemoryBroker
from events.settings import Settings
from schemas.control import Breaker, Pause
from tests.unit.command_line import CommandLine

TARGET = "tests.unit.shop_app:app"


def patient(folder: Path, broker: MemoryBroker | None = None, target: str = TARGET) -> Patient:
    """One whose parts are well unless said otherwise."""
    settings = Settings(data_dir=folder)

    def connect(_settings: Settings) -> MemoryBroker:
        if broker is None:
            raise SetupError("no Kafka answers at nowhere:1", hint="start one")
        return broker

    return Patient(lambda: settings, lambda: load_app(target), connect, folder)


def marks(examined: Patient) -> dict[str, str]:
    return {finding.what: finding.mark for finding in examine(examined)}


def test_without_a_broker_everything_else_is_still_looked_at(tmp_path: Path) -> None:
    found = list(examine(patient(tmp_path)))
    assert {f.what: f.mark for f in found}["app"] == "ok"
    assert (found[-1].what, found[-1].mark, found[-1].mend) == ("broker", "problem", "start one")


def test_missing_topics_are_a_problem_with_a_way_out(tmp_path: Path) -> None:
    found = list(examine(patient(tmp_path, MemoryBroker())))
    assert (found[-1].what, found[-1].mark) == ("topics", "problem")
    assert found[-1].mend == "caseworks topics create"


def test_groups_that_nobody_works_in_are_told() -> None:
    command = CommandLine()
    command("topics", "create", "--app", TARGET)
    ran = command("doctor", "--app", TARGET, "--json")
    assert ran.code == 0
    told = {line["what"]: line for line in ran.lines}
    assert told["topics"]["mark"] == "ok"
    assert told["cw.worker.risk"]["mark"] == "warning"
    assert told["cw.worker.risk"]["mend"] == "caseworks up"


def test_a_problem_is_a_failed_command() -> None:
    ran = CommandLine()("doctor", "--app", TARGET)
    assert ran.code == 1
    assert "problems: 1" in ran.out


def test_settings_that_do_not_fit_end_the_examination(tmp_path: Path) -> None:
    def wrong() -> Settings:
        raise SettingsError("CASEWORKS_INBOX_PARTITIONS: too small", hint="see events/settings.py")

    well = patient(tmp_path)
    found = list(examine(Patient(wrong, well.app, well.connect, tmp_path)))
    assert (found[-1].what, found[-1].mark) == ("settings", "problem")


def test_an_app_that_is_not_there_is_told_and_the_broker_still_looked_at(tmp_path: Path) -> None:
    found = marks(patient(tmp_path, MemoryBroker(), "nowhere:app"))
    assert (found["app"], found["broker"]) == ("problem", "ok")


def test_modules_that_hide_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("")
    assert marks(patient(tmp_path))["module names"] == "warning"
    (tmp_path / "agents.py").write_text("")
    found = {finding.what: finding for finding in examine(patient(tmp_path))}["module names"]
    assert found.mark == "problem"
    assert str(tmp_path / "agents.py") in found.found


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other there")
def test_a_data_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert marks(patient(locked))["data folder"] == "problem"


def test_it_says_what_takes_no_work_and_how_that_ends() -> None:
    command = CommandLine()
    command("topics", "create", "--app", TARGET)
    for decision in (
        Breaker(dependency="crm", state="open", held=True, reason="it charges twice"),
        Breaker(dependency="mail", state="closed"),
        Pause(agent="triage", paused=True, reason="it errs"),
        Pause(agent="answer", paused=False),
    ):
        key = decision.dependency if isinstance(decision, Breaker) else decision.agent
        headers = (("ce_type", decision.ce_type.encode()),)
        command.produce(Record("cw.control", key.encode(), decision.to_json(), headers, 0))

    found = {each["what"]: each for each in command("doctor", "--app", TARGET, "--json").lines}
    assert found["breaker crm"]["found"] == "open and held: it charges twice"
    assert found["breaker crm"]["mend"] == "caseworks breaker close crm"
    assert found["agent triage"]["mend"] == "caseworks agent resume triage"
    assert {"breaker mail", "agent answer"}.isdisjoint(found)
