"""What we depend on is pinned, says nothing of where it came from, and has its reason."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.architecture.tree import ROOT

RUN, TEST = "requirements.lock", "requirements-test.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9.-]", requirement)[0] for requirement in requirements}


def locked(name: str) -> dict[str, str]:
    """Version by package; a requirement that is not `name==version` plus hashes is an error."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = re.sub(r"(?m)^\s*#.*\n?", "", text).replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        pinned = re.fullmatch(
            r"([a-z0-9.-]+)==(\S+)(?: ;[^#]*?)?((?: +--hash=sha256:\w{64})+)", line
        )
        assert pinned, f"{name}: not pinned by version and hash alone: {line[:80]}"
        found[pinned[1]] = pinned[2]
    return found


@pytest.mark.parametrize("lock", [RUN, TEST])
def test_a_lock_pins_every_package_by_hash_and_names_no_index(lock: str) -> None:
    assert locked(lock)


def test_the_run_lock_is_the_part_of_the_test_lock_that_runs() -> None:
    assert locked(RUN).items() <= locked(TEST).items()


def test_the_locks_hold_what_the_project_asks_for() -> None:
    build = names(PROJECT["build-system"]["requires"])
    runtime = names(PROJECT["project"]["dependencies"])
    extras = names([requirement for extra in EXTRAS.values() for requirement in extra])

    assert build | runtime | names(EXTRAS["api"]) <= locked(RUN).keys()
    assert extras <= locked(TEST).keys()


def test_the_demo_does_not_wait_for_what_only_tests_and_models_need() -> None:
    assert not names(EXTRAS["test"] + EXTRAS["model"]) - {"psutil"} & locked(RUN).keys()


def test_every_dependency_has_its_line_of_reason() -> None:
    asked = PROJECT["project"]["dependencies"] + [r for extra in EXTRAS.values() for r in extra]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    reasons = set(re.findall(r"(?m)^- \*\*([A-Za-z0-9.-]+)\*\*: \w", text))

    assert names([*asked, *PROJECT["build-system"]["requires"]]) == reasons
