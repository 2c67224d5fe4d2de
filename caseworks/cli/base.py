"""What all commands share: their options, their settings, and the outside world as a value."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from caseworks.app import App
    from events.broker import Broker
    from events.settings import Settings

DEFAULT_APP = "examples.helpdesk:app"

AppOption = Annotated[
    str, typer.Option("--app", metavar="MODULE:APP", help="The app, found from this folder on.")
]
BootstrapOption = Annotated[
    str,
    typer.Option(
        "--bootstrap",
        metavar="HOST:PORT",
        help="The broker; default: CASEWORKS_BOOTSTRAP_SERVERS, then the local one that runs.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
InstanceOption = Annotated[
    str, typer.Option(help="The stable name of this process among its kind.", show_default=False)
]


def connect(settings: Settings) -> Broker:
    """The broker of the settings, else the local one that runs."""
    from caseworks.compose import connect

    return connect(settings)


@dataclass(frozen=True)
class Deps:
    """The outside world: tests bring their own broker and clock."""

    connect: Callable[[Settings], Broker] = connect
    clock: Callable[[], float] = time.time


def deps_of(context: typer.Context) -> Deps:
    """The world that this command runs in."""
    found = context.find_object(Deps)
    return found if found is not None else Deps()


def settings_of(bootstrap: str = "", instance: str = "") -> Settings:
    """The settings from the environment; options win. Raises `SettingsError`."""
    from events.settings import load_settings

    given = {"bootstrap_servers": bootstrap, "instance": instance}
    return load_settings().model_copy(update={k: v for k, v in given.items() if v})


def app_of(target: str) -> App:
    """The app, with this folder first on the path. Raises `DeclarationError`."""
    from caseworks.loading import load_app

    return load_app(target)


def json_of(text: str, place: str) -> Any:
    """The JSON value that somebody typed. Raises `typer.BadParameter` naming the place."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(
            f'{place} is not JSON: {error}; quote it like \'{{"ticket_id": "1"}}\''
        ) from None


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Warnings and worse as pretty lines on stderr: a command is no process."""
    from events.logs import configure

    configure(level="warning", pretty=True)
    yield
