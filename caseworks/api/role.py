"""The process `caseworks api`: signals, health and metrics around the server."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack, closing
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from caseworks.api.app import Api, create_api, gate_of
from caseworks.api.problems import Problem
from caseworks.api.server import listen, serve
from caseworks.compose import GC_THRESHOLD
from caseworks.process import READY_INTERVAL_S, Told, give_way, stop_on_signals
from caseworks.projection.connection import projection_path
from caseworks.projection.read import ReadModel
from events.errors import SetupError
from events.health import HealthServer
from events.logs import get_logger

if TYPE_CHECKING:
    from caseworks.compose import System
    from caseworks.lifeline import Lifeline
    from events.metrics import Prometheus
    from events.settings import Settings

log = get_logger(__name__)


def run_api(
    system: System,
    telemetry: Prometheus,
    *,
    lifeline: Lifeline | None = None,
    told: Told = lambda _port: None,
) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit code. *told*: the port of the API.

    Raises `SetupError`: topics that are missing, a port that is taken, an open API that others
    could reach; `SettingsError`: keys that cannot be read.
    """
    settings = system.settings
    read = ReadModel(projection_path(settings.data_dir, settings.namespace), clock=system.clock)
    gate = gate_of(settings)
    api = create_api(system, read, gate=gate, extras=extras_of(settings))
    if gate.is_open:
        log.warning("api_open", why="no keys are set: everybody on this machine may do everything")
    with ExitStack() as around:
        stop = around.enter_context(stop_on_signals())
        listening = around.enter_context(closing(listen(settings.api_host, settings.api_port)))
        health = around.enter_context(
            closing(
                HealthServer(
                    api.ready, telemetry.text, host=settings.http_host, port=settings.http_port
                )
            )
        )
        told(listening.getsockname()[1])
        announcer = Thread(
            target=_announce, args=(api, stop, lifeline, health.port), name="ready", daemon=True
        )
        announcer.start()
        gc.freeze()  # as every process with loops: what is loaded by now stays
        gc.set_threshold(*GC_THRESHOLD)
        code = serve(api.asgi, settings, listening, stop)
        stop.set()
        announcer.join()
        log.info("ended", code=code)
        return code


def extras_of(settings: Settings) -> dict[str, Callable[[], Any]]:
    """What other roles tell by way of the data folder."""
    from caseworks.insight import snapshot

    def insight() -> Any:
        try:
            return snapshot.read(snapshot.path_of(settings.data_dir, settings.namespace))
        except SetupError as error:
            raise Problem("not-found", str(error.args[0]), hint=error.hint) from None

    return {"insight": insight}


def _announce(api: Api, stop: Event, lifeline: Lifeline | None, port: int) -> None:
    while not api.ready()[0]:
        if stop.wait(READY_INTERVAL_S):
            return
    log.info("ready", http_port=port)
    if lifeline is not None:
        lifeline.ready(port)
        give_way()
