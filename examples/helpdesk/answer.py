"""The answer to a ticket, composed of what the steps before it found; nothing is made up.

The text names the article it quotes, so that a reader can judge whether it fits. Whether it goes
out by itself is decided by the workflow from `confidence`; the text is the same either way, and an
answer that no article supports never does.
"""

from __future__ import annotations

from examples.helpdesk.tickets import OUT_OF_SCOPE, Answer, Customer, Knowledge, Triage

NO_SUGGESTION = "No suggestion: this does not look like a question to the bank."
NO_ARTICLE = "The knowledge base has no article on this; a colleague will answer you."


def compose(triage: Triage, knowledge: Knowledge, customer: Customer | None) -> Answer:
    """The answer, or the suggestion of one; without a customer it greets nobody by name."""
    if triage.intent == OUT_OF_SCOPE:
        return _unsupported(triage, NO_SUGGESTION, triage.reason)
    if not knowledge.sources:
        return _unsupported(triage, NO_ARTICLE, f"no article found; {triage.reason}")
    return Answer(
        intent=triage.intent,
        answer=_text(triage.intent, knowledge, customer),
        sources=knowledge.sources,
        confidence=triage.confidence,
        reason=_reason(triage),
    )


def _text(intent: str, knowledge: Knowledge, customer: Customer | None) -> str:
    name = customer.first_name if customer and customer.first_name else None
    about = f"your question about “{intent.replace('_', ' ')}”"
    more = "; ".join(f"“{source.title}”" for source in knowledge.sources[1:])
    return "\n\n".join(
        [
            f"Hello{f' {name}' if name else ''}, thank you for {about}.",
            f"The nearest article we have is “{knowledge.sources[0].title}”:\n{knowledge.passage}",
            *([f"See also {more}."] if more else []),
            "If this does not answer your question, reply to this message and a colleague will.",
        ]
    )


def _reason(triage: Triage) -> str:
    others = ", ".join(f"{each.intent} {each.share:.0%}" for each in triage.candidates[1:])
    return f"{triage.reason}; next best: {others}" if others else triage.reason


def _unsupported(triage: Triage, text: str, reason: str) -> Answer:
    return Answer(intent=triage.intent, answer=text, sources=(), confidence=0.0, reason=reason)
