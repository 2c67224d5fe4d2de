"""What a console shows, made of the very views that the projection gives its readers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from caseworks.projection import views

Json = Any
HASH = "9f2c1a7be04d5538c6aa01f3d5be77f20c9d84e61b3f7a5520e8c4d19b6a7f30"


def at(seconds_ago: float) -> str:
    """A time before now, as the wire writes it."""
    told = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def case_id(number: int) -> str:
    return f"01KC{number:04d}F8Q2W7ZM3T5N9X4B6H"


STATUSES = (
    "completed",
    "completed",
    "open",
    "completed",
    "waiting",
    "degraded",
    "failed",
    "parked",
)


def line(number: int, status: str = "") -> Json:
    """A case in a list, the lower the number the newer."""
    status = status or STATUSES[number % len(STATUSES)]
    closed = status in ("completed", "degraded", "failed")
    return views.CaseLine(
        case_id=case_id(number),
        workflow=("support", "refunds", "onboarding")[number % 3],
        status=status,
        tenant=("acme", "globex", None)[number % 3],
        subject=f"ticket-{4100 + number}",
        type="ticket.created",
        opened_at=at(5 + 17 * number),
        closed_at=at(3 + 17 * number) if closed else None,
        ms=1_840 + 7 * number if closed else None,
        usd=f"0.00{42 + number % 50}",
        confidence=0.72 + (number % 25) / 100 if closed else None,
        degraded=status == "degraded",
        updated_at=at(3 + 17 * number),
    ).as_json()


def step(name: str, after: list[str], status: str = "done", **more: Any) -> views.StepView:
    """A step as it stands; the times lie within those of `case_view`."""
    begun = more.pop("begun", 38.0)
    ran = more.pop("ms", 640)
    return views.StepView(
        name=name,
        after=after,
        status=status,
        agent=more.pop("agent", name),
        agent_version="1.4.0",
        attempts=more.pop("attempts", 1),
        ms=ran if status == "done" else None,
        first_sent_at=None if status == "waiting" else at(begun),
        ended_at=at(begun - ran / 1000) if status == "done" else None,
        usage=views.UsageView(usd="0.0014", calls=1, tokens_in=812, tokens_out=164, iterations=1),
        **more,
    )


def approval(number: int = 1, **more: Any) -> Json:
    """A question; refunds of growing size."""
    action = {
        "refund": {"order": f"A-{1040 + number}", "amount": f"{12 + 31 * number}.50", "to": "card"},
        "message": "We are sorry for the damaged parcel. The money is back within three days.",
    }
    fields: Json = {
        "approval_id": f"{case_id(number)}:refund:1",
        "case_id": case_id(number),
        "workflow": "refunds",
        "step": "refund",
        "tenant": "acme",
        "action": action,
        "action_hash": HASH,
        "confidence": 0.58 + number / 100,
        "why": f"refunds above 20.00 need a person; this one is {12 + 31 * number}.50",
        "asked_at": at(60 * number),
        "expires_at": at(-400 * number),
        "on_expiry": "reject",
        "status": "open",
        "by": [],
        "needed": 1,
        "context": {"customer since": "2019", "orders": 41, "refunds before": 1},
    }
    return views.ApprovalView(**{**fields, **more}).as_json()


def letter(number: int = 1, **more: Any) -> Json:
    """A dead letter of a task."""
    fields: Json = {
        "id": f"cw.tasks.billing.dlq/{number % 3}/{100 + number}",
        "topic": "cw.tasks.billing.dlq",
        "agent": "billing",
        "reason": ("invalid_input", "crash_loop", "timeout")[number % 3],
        "error": f"amount: '12,{number}0' is not a valid decimal",
        "at": at(300 * number),
        "case_id": case_id(number),
        "task_id": f"{case_id(number)}:bill",
        "tenant": "acme",
        "attempts": 3,
        "replays": number % 2,
        "state": "waiting",
        "size": 2_140,
    }
    return views.LetterView(**{**fields, **more}).as_json()


def letter_in_full(of: Json) -> Json:
    """A letter with its bytes, what of them may be changed, and what a replay would do."""
    given = {"amount": "12,10", "order": "A-1041", "currency": "EUR"}
    return {
        **of,
        "timestamp": of["at"],
        "value": json.dumps({"task_id": of["task_id"], "agent": "billing", "input": given}),
        "headers": [["ce_type", "caseworks.task"], ["ce_tenant", "acme"]],
        "key": of["case_id"],
        "editable": json.dumps(given),
        "handled": None,
        "case_status": "parked",
        "timeline": [{"at": at(300), "what": "parked", "step": "bill", "detail": of["error"]}],
        "replay": {"possible": True, "does": "sends bill to billing again", "saves": None},
    }


def case_view(number: int = 1, status: str = "waiting") -> Json:
    """A refund that waits for a person, with a retry behind it."""
    steps = [
        step("classify", [], begun=39.6, ms=410, confidence=0.94, output={"intent": "refund"}),
        step("customer", ["classify"], begun=39.1, ms=820, agent="crm"),
        step("orders", ["classify"], begun=39.1, ms=1_900, attempts=2, error=None),
        step(
            "policy",
            ["classify"],
            begun=39.1,
            ms=1_320,
            confidence=0.81,
            sources=["policies/refunds.md, section 2", "policies/shipping.md, section 5"],
            output={"allowed": True, "limit": "50.00"},
        ),
        step("decide", ["customer", "orders", "policy"], begun=37.1, ms=2_100, confidence=0.58),
        step("refund", ["decide"], "asking", begun=34.9),
        step("reply", ["refund", "classify"], "waiting", agent="writer"),
    ]
    moments = [
        (40.0, "opened", "", "refunds ticket.created"),
        (39.6, "sent", "classify", "to classify"),
        (39.2, "done", "classify", "410 ms, confidence 0.94"),
        (39.1, "sent", "orders", "to orders"),
        (38.6, "will retry", "orders", "the shop answered 503"),
        (37.9, "sent", "orders", "to orders, attempt 2"),
        (37.2, "done", "orders", "1900 ms"),
        (35.0, "done", "decide", "2100 ms, confidence 0.58"),
        (34.9, "asking", "refund", "a person, until it expires"),
    ]
    return views.CaseView(
        case_id=case_id(number),
        workflow="refunds",
        workflow_version="2.1",
        status=status,
        tenant="acme",
        subject="ticket-4101",
        event=views.EventView(
            id="7d0f", source="/shop", type="ticket.created", time=at(40), data=TICKET
        ),
        opened_at=at(40),
        closed_at=None,
        deadline=at(-86_000),
        reason="a person is asked about refund",
        output=None,
        confidence=None,
        usage=views.UsageView(usd="0.0084", calls=5, tokens_in=4_060, tokens_out=820),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        degraded={},
        undone={},
        steps=steps,
        timeline=[
            views.MomentView(at=at(ago), what=what, step=name, detail=told)
            for ago, what, name, told in moments
        ],
        results=[],
        approvals=[views.ApprovalView(**approval(number))],
        letters=[],
    ).as_json()


TICKET = {"subject": "Parcel arrived broken", "body": "The box was wet.", "order": "A-1041"}


def overview(**more: Any) -> Json:
    """A busy minute."""
    wave = [38 + (7 * second) % 19 + (second % 5) * 2 for second in range(60)]
    fields: Json = {
        "at": at(0),
        "cases_open": 128,
        "by_status": {"completed": 41_207, "degraded": 312, "escalated": 85, "failed": 19},
        "per_second": views.Pace(opened=wave, closed=[max(0, v - 3 + v % 4) for v in wave]),
        "p50_ms": 1_840,
        "p99_ms": 9_420,
        "usd_today": "214.87",
        "usd_per_hour": "18.32",
        "approvals_open": 4,
        "approvals_expiring": 1,
        "letters_waiting": 7,
        "breakers": [views.BreakerView(dependency="shop-api", state="open", since=at(95))],
        "agents": [agent("billing", 640, 4), agent("classify", 2_310), agent("writer", 1_877)],
        "behind": views.Behind(records=41, seconds=0.3, updated_at=at(0), ready=True),
    }
    return views.Overview(**{**fields, **more}).as_json()


def agent(name: str, tasks: int, failed: int = 0, *, paused: bool = False) -> views.AgentLine:
    return views.AgentLine(
        agent=name,
        versions=["1.4.0"],
        tasks_5m=tasks,
        failed_5m=failed,
        p50_ms=410,
        p99_ms=2_980,
        paused=paused,
        breaker=None,
    )


def agent_item(recent: Json) -> Json:
    """An agent as `GET /agents` tells it."""
    name = recent["agent"]
    return {"agent": name, "version": "1.4.0", "paused": recent["paused"], "recent": recent}


def spend(key: str, usd: str) -> Json:
    told = views.SpendLine(
        key=key, usd=usd, tokens_in=1_204_550, tokens_out=240_118, calls=4_021, cases=3_350
    )
    return told.as_json()


def everything() -> dict[str, Json]:
    """The answer of each GET by its path below /api/v1; `{id}` stands for any."""
    letters = [letter(number) for number in range(1, 8)]
    return {
        "/me": {"name": "ann", "roles": ["operate"], "tenant": None},
        "/overview": overview(),
        "/attention": {"items": ATTENTION},
        "/cases": {"items": [line(number) for number in range(50)], "next": "more"},
        "/cases/{id}": case_view(),
        "/approvals": {"items": [approval(number) for number in range(1, 5)], "next": None},
        "/letters": {"items": letters, "next": None},
        "/letters/{id}": letter_in_full(letters[0]),
        "/agents": {"items": [agent_item(each) for each in overview()["agents"]]},
        "/agents/{id}/health": {"agent": "billing", "status": "ok", "workers": 2},
        "/breakers": {"items": [{**each, "at": at(95)} for each in overview()["breakers"]]},
        "/budgets": {
            "by": "agent",
            "since": at(3_600),
            "items": [spend("writer", "120.10"), spend("classify", "61.32")],
        },
        "/insight": {
            "v": 1,
            "at": at(12),
            "subjects": [
                subject("workflow", "refunds", 3_120),
                subject("agent_version", "writer@1.4.0", 9_412, drifted=True),
                subject("tenant", "acme", 1_204),
            ],
            "alerts": [ALERT],
            "business": {"hours_saved": 412.5, "net_benefit_usd": 18_210.0, "payback_months": 3.1},
        },
    }


def subject(kind: str, name: str, cases: int, *, drifted: bool = False) -> Json:
    """What insight knows of one workflow, agent version or tenant."""
    cell = {
        "cases": cases,
        "success": 0.981,
        "errors": 0.012,
        "escalated": 0.004,
        "degraded": 0.02,
        "overridden": 0.031,
        "guarded": 0.001,
        "confidence": 0.83,
        "usd_per_case": "0.004210",
        "p50_ms": 1_840.0,
        "p99_ms": 9_420.0,
        "rating": 4.4,
    }
    drift = {"p": 0.0004, "recent": 0.71, "baseline": 0.84, "drifted": drifted}
    return {"kind": kind, "name": name, "hour": cell, "day": cell, "month": cell, "drift": drift}


ALERT = {
    "alert_id": "drift:agent:writer@1.4.0:1",
    "rule": "drift",
    "scope": "agent:writer@1.4.0",
    "state": "firing",
    "says": "confidence fell from 0.84 to 0.71",
    "since": at(3_600),
}
ATTENTION = [
    {
        "kind": "expiring",
        "severity": "warning",
        "what": "A refund of 43.50 expires soon",
        "why": "Nobody has answered it; its case would be rejected.",
        "since": at(60),
        "command": "caseworks approvals show 01KC0001",
        "approval_id": f"{case_id(1)}:refund:1",
    },
    {
        "kind": "breaker",
        "severity": "critical",
        "what": "shop-api is open, 214 tasks wait",
        "since": at(95),
        "command": "caseworks breaker list",
        "agent": "orders",
    },
]
