"""What an installation holds: the packages, with the data that they read."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.house import MAY_IMPORT
from tests.architecture.tree import ROOT, paths

PICTURES = "caseworks/console/docs/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names in the wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        return frozenset(opened.namelist())


def test_the_wheel_holds_every_file_of_every_package(wheel: frozenset[str]) -> None:
    ours = {path for path in paths() if path.partition("/")[0] in MAY_IMPORT}
    ours = {path for path in ours if not path.startswith(PICTURES)}

    assert ours - wheel == set()


def test_the_wheel_holds_nothing_else(wheel: frozenset[str]) -> None:
    folders = {name.partition("/")[0] for name in wheel}

    assert {folder for folder in folders if not folder.endswith(".dist-info")} == MAY_IMPORT.keys()
    assert not [name for name in wheel if Path(name).suffix == ".pyc"]
    assert not [name for name in wheel if name.startswith(PICTURES)]


def test_the_wheel_holds_the_console(wheel: frozenset[str]) -> None:
    assert {"index.html", "js/main.js", "css/tokens.css"} <= {
        name.removeprefix("caseworks/console/") for name in wheel
    }
