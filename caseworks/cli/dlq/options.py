"""What the commands of `dlq` have in common: the filters, and who asks."""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from caseworks.dead_mail.selection import Sieve
    from events.topics import Topics
    from schemas.letter_audit import LetterFilter

METAVAR = "TOPIC:PARTITION:OFFSET"
Place = Annotated[str, typer.Argument(metavar=METAVAR)]
Places = Annotated[list[str] | None, typer.Argument(metavar=METAVAR, show_default=False)]
Agent = Annotated[str, typer.Option(help="Tasks of this agent.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Those that died of it.", show_default=False)]
Since = Annotated[
    str, typer.Option(metavar="TIME", help="Died since: 2h, 7d or ISO.", show_default=False)
]
Until = Annotated[
    str, typer.Option(metavar="TIME", help="Died before: 2h, 7d or ISO.", show_default=False)
]
Tenant = Annotated[str, typer.Option(help="Of this tenant.", show_default=False)]
CaseId = Annotated[
    str, typer.Option("--case", metavar="ID", help="About this case.", show_default=False)
]
Topic = Annotated[str, typer.Option(help="Lie in this topic, or came from it.", show_default=False)]
Where = Annotated[
    str,
    typer.Option(
        metavar="JMESPATH",
        help="Over letter, headers, payload, key, place, agent: payload.input.price > `10`",
        show_default=False,
    ),
]
By = Annotated[str, typer.Option(help="Who does it; default: you.", show_default=False)]
Why = Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Letters at most.", show_default=False)]

AllWaiting = Annotated[bool, typer.Option("--all", help="All that wait for somebody.")]
Edit = Annotated[
    bool, typer.Option("--edit", help="Change one in $EDITOR: the agent's input, or the event.")
]
Patch = Annotated[
    str,
    typer.Option(
        metavar="JSON",
        help="RFC 7396 merge patch of the agent's input, or of the event's data.",
        show_default=False,
    ),
]
Rate = Annotated[str, typer.Option(metavar="N/s", help="Letters in a second.")]
ReplaysMax = Annotated[
    int, typer.Option("--max-replays", min=1, help="Refuse those replayed so often already.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Also what was handled before, was replayed too often, or has no case waiting.",
    ),
]
RunName = Annotated[
    str, typer.Option("--name", help="Of this run; default: the time.", show_default=False)
]
Resume = Annotated[
    str, typer.Option(metavar="NAME", help="Go on with this run.", show_default=False)
]


@dataclass(frozen=True)
class Filters:
    """The filters as they were typed."""

    agent: str = ""
    reason: str = ""
    since: str = ""
    until: str = ""
    tenant: str = ""
    case_id: str = ""
    topic: str = ""
    where: str = ""

    @property
    def any(self) -> bool:
        """Whether one was given."""
        return any(asdict(self).values())

    def chosen(self, now: float) -> LetterFilter:
        """The filters as values. Raises `PayloadError` for a time that is none."""
        from caseworks.dead_mail.selection import read_time
        from schemas.letter_audit import LetterFilter

        times = {name: read_time(getattr(self, name), now) for name in ("since", "until")}
        return LetterFilter(**(asdict(self) | times))

    def sieve(self, now: float, topics: Topics) -> Sieve:
        """The filters, checked. Raises `CaseworksError` for one that means nothing."""
        from caseworks.dead_mail.selection import Sieve

        return Sieve(self.chosen(now), topics)


def name_of(by: str) -> str:
    """Who does it."""
    return by or getpass.getuser()


def when(epoch_s: float) -> str:
    """A time for people, in UTC."""
    from schemas.base import instant

    return f"{instant(epoch_s):%Y-%m-%d %H:%M:%S}Z"
