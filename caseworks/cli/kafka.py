"""`kafka start|stop|status`: the local Apache Kafka alone."""

from __future__ import annotations

from typing import Annotated

import typer

from caseworks.cli.base import JsonOption, settings_of
from caseworks.cli.output import say, write_json

kafka = typer.Typer(help="The local Apache Kafka alone.", no_args_is_help=True)

STOPPED = 1


@kafka.command()
def start(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: the last one, else any.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Start it, and leave it running until `caseworks kafka stop`."""
    from caseworks.cli.progress import Steps
    from events.local_kafka import LocalKafka, Options, status

    settings = settings_of()
    running = status(settings.data_dir)
    if running is not None:
        _say(running.bootstrap, running.pid, "runs already", as_json=as_json)
        return
    with Steps() as steps:
        started = LocalKafka.start(
            settings.data_dir,
            port=port,
            die_with_parent=False,
            progress=steps.progress,
            options=Options(cache_dir=settings.cache_dir),
        )
    _say(started.bootstrap, started.pid, "runs until `caseworks kafka stop`", as_json=as_json)


@kafka.command()
def stop() -> None:
    """Stop the one that runs on this data folder."""
    from events.local_kafka import stop

    settings = settings_of()
    stopped = stop(settings.data_dir)
    say("stopped" if stopped else f"no Kafka runs on {settings.data_dir}")


@kafka.command()
def status(as_json: JsonOption = False) -> None:
    """Say whether it runs, and where; exit code 1 when it does not."""
    from events.local_kafka import status

    settings = settings_of()
    running = status(settings.data_dir)
    if running is None:
        if as_json:
            write_json({"running": False, "bootstrap": None})
        else:
            say(f"no Kafka runs on {settings.data_dir}: caseworks kafka start")
        raise typer.Exit(STOPPED)
    if as_json:
        write_json({"running": True, **running.model_dump(mode="json")})
        return
    say(f"Kafka {running.version} runs at {running.bootstrap}, pid {running.pid}")


def _say(bootstrap: str, pid: int, what: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"running": True, "bootstrap": bootstrap, "pid": pid})
    else:
        say(f"Kafka at {bootstrap} (pid {pid}) {what}")
