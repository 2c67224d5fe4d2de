"""The data that every benchmark moves: a 471-byte ticket and answers of about 130 bytes."""

from __future__ import annotations

from typing import Any

BODY = (
    "Hello, my card was charged twice for invoice 2026-03-118. Please refund the second charge "
    "and tell me how to stop this from happening again next month. Thank you, Jane."
)


def event(number: int) -> dict[str, Any]:
    """The data of event *number*."""
    return {
        "type": "ticket.created",
        "id": f"evt-{number:09d}",
        "tenant": "acme-emea",
        "ticket": {
            "id": f"T-{number:09d}",
            "channel": "email",
            "priority": "normal",
            "customer": "cust-004711",
            "subject": "Charged twice for the March invoice",
            "body": BODY,
            "tags": ["billing", "refund"],
            "lang": "en",
        },
        "ts": 1790000000.125,
    }


def said(role: str, case: str) -> dict[str, Any]:
    """What an agent that does nothing answers, about 130 bytes."""
    note = "no-op subtask result, padded to about 120 bytes"
    return {"case": case, "role": role, "verdict": "ok", "score": 0.87, "note": note}
