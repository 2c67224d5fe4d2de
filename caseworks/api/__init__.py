"""The REST API, and the server of the console: needs the extra `api`.

`app.create_api` makes the application, `server.serve` runs it. Nothing here is imported by the
rest of Caseworks but `caseworks.cli.api`.
"""

from __future__ import annotations
