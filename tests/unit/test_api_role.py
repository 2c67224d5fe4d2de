"""The role `api`: what it needs, what it tells, and what it refuses to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caseworks.api import extra
from caseworks.api.problems import Problem
from caseworks.api.role import extras_of
from caseworks.insight import snapshot
from events.errors import SetupError
from events.settings import Settings
from tests.unit.command_line import CommandLine


def test_what_is_not_installed_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    assert extra.missing() == []
    assert extra.missing(("json", "no_such_package")) == ["no_such_package"]
    with pytest.raises(SetupError, match="needs no_such_package"):
        extra.need_extra(("no_such_package",))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CASEWORKS_API_HOST", "0.0.0.0", "without keys"),  # noqa: S104 - refused
        ("CASEWORKS_API_KEYS_FILE", "nowhere.yaml", "cannot read the API keys"),
        ("CASEWORKS_API_OIDC_ISSUER", "https://id.example.com", "AUDIENCE"),
    ],
)
def test_an_api_that_is_set_up_wrongly_does_not_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    command = CommandLine()
    command("topics", "create", "--app", "tests.unit.shop_app:app")
    ran = command("api", "--app", "tests.unit.shop_app:app")

    assert ran.code == 3
    assert says in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_insight_is_told_when_it_has_run_here(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    tell = extras_of(settings)["insight"]
    with pytest.raises(Problem, match="insight has not run here") as refused:
        tell()
    path = snapshot.path_of(tmp_path, settings.namespace)
    path.parent.mkdir()
    path.write_text(json.dumps({"v": snapshot.SNAPSHOT_VERSION}), encoding="utf-8")

    assert refused.value.status == 404
    assert tell() == {"v": snapshot.SNAPSHOT_VERSION}
