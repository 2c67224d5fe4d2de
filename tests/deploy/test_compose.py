"""The compose file and the image agree with the code that they run."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from caseworks.cli import run
from caseworks.loading import load_app
from caseworks.stage import WITHOUT_APP
from events.local_kafka.config import server_properties
from events.local_kafka.jar_lock import KAFKA_VERSION
from events.settings import Settings
from tests.architecture.house import MAY_IMPORT
from tests.architecture.tree import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
WANTED = {name for name, service in OURS.items() if service.get("profiles")}
"""Those that run only if they are asked for."""
APP = "examples.helpdesk:app"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
DOCKERFILE_CODE = re.sub(r"(?m)^#.*\n", "", DOCKERFILE)


# Where a broker listens and keeps its log differs by place; the local one also restarts faster.
PLACE = {
    "advertised.listeners",
    "controller.quorum.voters",
    "listener.security.protocol.map",
    "listeners",
    "log.dirs",
}
LOCAL_ONLY = {
    "broker.heartbeat.interval.ms",
    "broker.session.timeout.ms",
    "log.cleaner.dedupe.buffer.size",
}


def docker_builds() -> bool:
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def settings_named_in(text: str) -> set[str]:
    return {name.lower() for name in re.findall(r"\bCASEWORKS_([A-Z_]+)", text)}


@pytest.mark.parametrize("path", ["docker-compose.yml", "deploy/Dockerfile", "deploy/README.md"])
def test_every_setting_that_is_named_exists(path: str) -> None:
    named = settings_named_in((ROOT / path).read_text(encoding="utf-8"))

    assert named
    assert named <= Settings.model_fields.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_role_listens_where_prometheus_and_docker_look(name: str) -> None:
    environment = OURS[name]["environment"]

    assert environment["CASEWORKS_HTTP_HOST"] == "0.0.0.0"  # noqa: S104 - inside its own container
    assert environment["CASEWORKS_HTTP_PORT"] == "8080"


def test_every_agent_of_the_app_has_its_worker_and_no_other_is_named() -> None:
    workers = [service["command"] for service in OURS.values() if service["command"][0] == "worker"]

    assert sorted(command[1] for command in workers) == sorted(load_app(APP).agents)


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_that_the_command_line_takes(name: str) -> None:
    command = OURS[name]["command"]

    assert ("--app" in command) != (command[0] in WITHOUT_APP)
    assert command[0] in WITHOUT_APP or command[-2:] == ["--app", APP]
    assert run([*command, "--help"]) == 0
    assert run([*command, "--no-such-option", "--help"]) != 0


def test_the_broker_is_configured_as_the_local_one() -> None:
    lines = server_properties(port=1, controller_port=2).splitlines()
    local = dict(line.split("=", 1) for line in lines)
    compose = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in SERVICES["kafka"]["environment"].items()
    }

    assert {k: v for k, v in local.items() if k not in PLACE | LOCAL_ONLY} == {
        k: v for k, v in compose.items() if k not in PLACE
    }


def test_the_broker_is_the_version_of_the_local_one() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_prometheus_scrapes_every_role_that_stays() -> None:
    path = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    scraped = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in scraped for c in job["static_configs"] for target in c["targets"]}
    looked_up = {name for job in scraped for c in job["dns_sd_configs"] for name in c["names"]}

    assert {f"{name}:8080" for name in OURS if name not in {"topics", *WANTED}} == targets
    assert looked_up == WANTED


def test_every_image_is_pinned_to_a_version() -> None:
    unpinned = {
        name
        for name, service in SERVICES.items()
        if not re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    }

    assert unpinned == set()


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_one_image_serves_every_role() -> None:
    assert len({service["image"] for service in OURS.values()}) == 1


def test_the_image_installs_by_hash_and_does_not_run_as_root() -> None:
    users = re.findall(r"(?m)^USER (\S+)", DOCKERFILE_CODE)

    assert "--require-hashes" in DOCKERFILE_CODE
    assert users
    assert users[-1] not in {"root", "0"}


def test_the_image_holds_every_package_and_the_context_lets_it_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = set(re.findall(r"(?m)^COPY (\w+) \1$", DOCKERFILE_CODE))

    assert copied == MAY_IMPORT.keys()
    assert {f"!{package}" for package in MAY_IMPORT} <= set(ignored)


@pytest.mark.slow
def test_the_image_builds_and_answers() -> None:
    if not docker_builds():
        pytest.skip("no Docker answers on this machine")
    tag = "caseworks:test"
    build = ["docker", "build", "-q", "-f", "deploy/Dockerfile", "-t", tag, "."]
    subprocess.run(build, cwd=ROOT, check=True, timeout=280)

    ran = subprocess.run(
        ["docker", "run", "--rm", tag, "--help"], capture_output=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
