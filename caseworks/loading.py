"""Finding the user's app: `module:app`, with the current folder first on the path."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from caseworks.app import App
from events.errors import DeclarationError


def load_app(target: str) -> App:
    """The app that `module:name` stands for, checked as a whole.

    Raises `DeclarationError` in one line: the module is not there, has no such name, holds
    something else, or declares what cannot run.
    """
    app = find_app(target)
    _ = app.plans
    return app


def find_app(target: str) -> App:
    """The app that `module:name` stands for; its workflows are not checked as a whole yet."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise DeclarationError(
            f"--app {target!r} is not of the form module:name", hint="for example shop.app:app"
        )
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise DeclarationError(
                f"no module {error.name!r} for --app {target!r}",
                hint="run it in the folder that holds the module",
            ) from None
        raise DeclarationError(f"{module_name} needs {error.name!r}, which is missing") from error
    app = getattr(module, name, None)
    if not isinstance(app, App):
        found = "nothing" if app is None else f"a {type(app).__name__}"
        raise DeclarationError(
            f"--app {target!r}: {name!r} in {module_name} is {found}, not a caseworks.App"
        )
    return app
