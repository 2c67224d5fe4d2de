"""The examples of the API's page are answered as it says."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
import yaml

from caseworks.api.keys import read_keys
from tests.unit.api_world import case, world

pytestmark = pytest.mark.anyio
PAGE = (Path(__file__).parents[2] / "caseworks/api/README.md").read_text(encoding="utf-8")
HOST = "http://localhost:8080"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def commands() -> list[list[str]]:
    """Every `curl` of the page, as a shell would split it."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("curl ")]


async def test_every_example_is_answered() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("-X", dest="method")
    refused = []
    async with world() as api:
        api.reader.change(case("c1"))
        for words in commands():
            given = parser.parse_args(words[1:])
            headers = dict(header.split(": ", 1) for header in given.headers)
            method = given.method or ("GET" if given.data is None else "POST")
            told = await api.client.request(
                method, given.url.removeprefix(HOST), headers=headers, content=given.data
            )
            if told.status_code not in (200, 202):
                refused.append((words, told.text))

    assert len(commands()) >= 12
    assert refused == []


def test_the_example_of_a_file_of_keys_can_be_read(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    [key] = read_keys(path)

    assert (key.name, key.tenant, key.per_minute) == ("shop", "acme", 6000)
    assert yaml.safe_load(text)["keys"][0]["sha256"] == key.sha256


def test_every_file_has_its_place_on_the_page() -> None:
    files = {path.name for path in (Path(__file__).parents[2] / "caseworks/api").glob("*.py")}
    named = set(re.findall(r"`(\w+\.py)`", PAGE))

    assert files - {"__init__.py"} == named - {"events/settings.py", "settings.py"}
