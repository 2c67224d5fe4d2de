"""The data folder of a broker: configuration, formatted storage, scratch space."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from events.local_kafka.config import broker_port, log4j2_xml, server_properties
from events.local_kafka.errors import LocalKafkaError, diagnose
from events.local_kafka.files import write_atomically
from events.local_kafka.process import java_environment
from events.local_kafka.runtime import Runtime

PROPERTIES = "server.properties"
_FORMAT_TIMEOUT_S = 60


def configure(folder: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> None:
    """Write the configuration files, and start with empty scratch space."""
    text = server_properties(port, controller_port, overrides)
    write_atomically(folder / PROPERTIES, text)
    write_atomically(folder / "log4j2.xml", log4j2_xml())
    # Native libraries are unpacked there; a killed Java leaves them behind.
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()


def last_port(folder: Path) -> int | None:
    """The port that this folder's broker had, so that its clients find it again."""
    try:
        return broker_port((folder / PROPERTIES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def new_cluster_id() -> str:
    """A random one, as Kafka writes it."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_once(
    runtime: Runtime,
    folder: Path,
    *,
    cluster_id: str = "",
    overrides: Mapping[str, str] | None = None,
) -> str:
    """Format the storage of a configured folder unless it holds one; return the cluster's id.

    Formatted aside and moved as a whole: a start that is killed here leaves nothing half done.
    The nodes of one cluster are given its id, and the overrides that say which node each is.
    """
    log = folder / "log"
    if not log.exists():
        aside = folder / "format.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        configure(aside, 1, 2, overrides or {})  # ports that nobody will use
        _format(runtime, aside, cluster_id or new_cluster_id())
        (aside / "log").rename(log)
        shutil.rmtree(aside)
    return _cluster_id(log / "meta.properties")


def _format(runtime: Runtime, folder: Path, cluster_id: str) -> None:
    arguments = ("format", f"--cluster-id={cluster_id}", "--config", PROPERTIES)
    done = subprocess.run(
        runtime.command("kafka.tools.StorageTool", *arguments, jvm_options=runtime.replaying()),
        cwd=folder,
        env=java_environment(),
        capture_output=True,
        text=True,
        timeout=_FORMAT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        reason, hint = diagnose(done.stdout + done.stderr)
        raise LocalKafkaError(f"Kafka's storage in {folder} cannot be made: {reason}", hint=hint)


def _cluster_id(path: Path) -> str:
    try:
        found = re.search(r"^cluster\.id=(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise LocalKafkaError(
            f"{path.parent} does not hold Kafka's data", hint="name another folder, or remove it"
        )
    return found[1].strip()
