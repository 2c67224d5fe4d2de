from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.e2e.system import Up, caseworks, left_behind, until, up

APP = "tests.unit.shop_app:app"
ROLES = {"coordinator-0", "worker-risk", "worker-decide", "projection", "api"}
LAMP = '{"item": "lamp", "price": 40}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("data"), APP) as it:
        yield it


def test_every_role_is_a_process_whose_command_line_says_so(running: Up) -> None:
    assert running.children().keys() >= ROLES


def test_it_says_where_everything_is_and_what_to_do_next(running: Up) -> None:
    lines = list(iter(running.out.readline, "Ctrl-C stops everything.\n"))
    ports = {line.split()[0]: line.split()[-1] for line in lines if "http://" in line}
    assert ports.keys() >= {*ROLES, "this"}
    assert any(line.strip().startswith("caseworks publish order.placed") for line in lines)
    for place in ("healthz", "readyz", "metrics"):
        with urlopen(f"{ports['coordinator-0']}/{place}", timeout=5) as answer:  # noqa: S310
            assert answer.status == 200
    [place] = [line.split()[4].rstrip(",") for line in lines if line.startswith("The console")]
    with urlopen(f"{place}api/v1/me", timeout=5) as answer:  # noqa: S310
        assert json.load(answer)["name"] == "developer"
    with urlopen(place, timeout=5) as answer:  # noqa: S310
        assert b"<title>Caseworks</title>" in answer.read()


def test_an_event_gets_its_answer_and_the_timeline_is_told(running: Up) -> None:
    ran = caseworks(running.data_dir, "publish", "order.placed", LAMP, "--wait")
    assert ran.returncode == 0, ran.stderr
    assert "order.completed (completed)" in ran.stdout
    assert ran.stdout.rstrip().endswith('"ship"')
    case_id = ran.stdout.split()[1]
    shown = caseworks(running.data_dir, "case", "show", case_id, "--json")
    steps = json.loads(shown.stdout)["results"][0]["steps"]
    assert {name: step["status"] for name, step in steps.items()} == {
        "risk": "done",
        "decide": "done",
    }


def test_a_case_that_was_published_over_http_is_read_over_http(running: Up) -> None:
    api = psutil.Process(running.children()["api"])
    place = f"http://127.0.0.1:{api.environ()['CASEWORKS_API_PORT']}/api/v1"
    event = {"specversion": "1.0", "id": "by-http", "source": "shop", "type": "order.placed"}
    asked = Request(  # noqa: S310 - an address of ours
        f"{place}/events",
        json.dumps({**event, "data": json.loads(LAMP)}).encode(),
        {"Content-Type": "application/cloudevents+json"},
    )
    with urlopen(asked, timeout=15) as answer:  # noqa: S310
        assert answer.status == 202
        case_id = json.load(answer)["case_id"]

    def output() -> object:
        try:
            with urlopen(f"{place}/cases/{case_id}", timeout=5) as answer:  # noqa: S310
                return json.load(answer)["output"]
        except HTTPError as error:
            if error.code != 404:  # the projection does not know it yet
                raise
            return None

    until(lambda: output() == "ship", timeout_s=30)


def test_a_refused_event_is_a_dead_letter_that_can_be_replayed(running: Up) -> None:
    ran = caseworks(running.data_dir, "publish", "order.placed", "{}", "--wait")
    assert ran.returncode == 1
    assert "refused: schema" in ran.stderr
    place = ran.stderr.split("dlq show ")[1].strip()
    assert caseworks(running.data_dir, "dlq", "replay", place).returncode == 0

    def replayed() -> list[int]:
        listed = caseworks(running.data_dir, "dlq", "list", "--all", "--json").stdout
        return [json.loads(line)["replays"] for line in listed.splitlines()]

    until(lambda: sorted(replayed()) == [0, 1])


def test_a_killed_role_comes_back_under_its_name_and_nothing_is_lost(running: Up) -> None:
    before = running.children()
    for name in ("coordinator-0", "worker-risk"):
        os.kill(before[name], signal.SIGKILL)
    until(lambda: running.children().keys() == before.keys() and running.children() != before)
    ran = caseworks(running.data_dir, "publish", "order.placed", LAMP, "--wait")
    assert ran.returncode == 0, ran.stderr
    assert "killed by SIGKILL; starting it again" in running.log.read_text()


def test_commands_find_the_broker_that_runs(running: Up) -> None:
    told = json.loads(caseworks(running.data_dir, "kafka", "status", "--json").stdout)
    assert told["bootstrap"] == running.bootstrap
    ran = caseworks(running.data_dir, "doctor", "--app", APP, "--json")
    assert ran.returncode == 0, ran.stdout
    assert {json.loads(line)["mark"] for line in ran.stdout.splitlines()} <= {"ok", "warning"}


def test_a_second_one_on_the_same_folder_is_refused(running: Up) -> None:
    ran = caseworks(running.data_dir, "up", "--app", APP)
    assert ran.returncode == 3
    assert "`caseworks up` runs on" in ran.stderr
    assert running.process.poll() is None


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with up(tmp_path, APP) as running:
        pids = running.children().values()
        assert running.interrupt() == 0
        assert "nothing is left running" in running.log.read_text()
        assert left_behind(tmp_path, pids) == []


def test_after_kill_9_of_the_parent_nothing_is_left(tmp_path: Path) -> None:
    with up(tmp_path / "with a space", APP) as running:
        pids = [child.pid for child in psutil.Process(running.process.pid).children(recursive=True)]
        running.process.kill()
        until(lambda: left_behind(running.data_dir, pids) == [])


def test_an_app_that_cannot_run_starts_nothing(tmp_path: Path) -> None:
    ran = caseworks(tmp_path, "up", "--app", "nowhere:app")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert left_behind(tmp_path) == []
