"""What analytics counts: one small record for each closed case, decision and rating, `{ns}.facts`.

A record of a later version, or with values outside of these bounds, is refused by its readers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Instant, Message, Name
from schemas.result import ResultStatus

FACT_VERSION = 1
MS_MAX = 10 * 365 * 86_400_000
"""Ten years: what took longer is a mistake of a clock."""
USD_MAX = Decimal(1_000_000)
COUNT_MAX = 1_000_000_000_000

FactVersion = Annotated[int, Field(ge=1, le=FACT_VERSION)]
Text = Annotated[str, Field(max_length=256)]
Tenant = Annotated[str, Field(max_length=256)] | None
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Ms = Annotated[int, Field(ge=0, le=MS_MAX)]
Usd = Annotated[Decimal, Field(ge=0, le=USD_MAX)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None


class Spent(Message):
    """What a case or step has used."""

    tokens_in: Count = 0
    tokens_out: Count = 0
    usd: Usd = Decimal(0)
    calls: Count = 0


class StepFact(Message):
    """How one step ended, and by whom. A step that no agent worked on is left out."""

    agent: Name
    version: Text = ""
    status: Text
    attempts: Count = 0
    ms: Ms = 0
    confidence: Confidence = None
    usd: Usd = Decimal(0)
    degraded: bool = False
    guards: dict[str, Count] = Field(default_factory=dict)
    """How often a guard hit, by its name."""


class CaseFact(Message):
    """A case closed; or, with `amends`, its result was corrected."""

    ce_type: ClassVar[str] = "caseworks.fact.case"

    v: FactVersion = FACT_VERSION
    case_id: Text
    result_id: Text
    workflow: Name
    workflow_version: Text = ""
    status: ResultStatus
    tenant: Tenant = None
    event_type: Text = ""
    event_time: Instant
    at: Instant
    """When it closed."""
    ms: Ms = 0
    """Opened to closed."""
    usage: Spent = Spent()
    confidence: Confidence = None
    degraded: bool = False
    escalated: bool = False
    coalesced: bool = False
    """Its answer is that of another case."""
    amends: Text | None = None
    steps: tuple[StepFact, ...] = Field(default=(), max_length=1000)
    guards: dict[str, Count] = Field(default_factory=dict)


class DecisionFact(Message):
    """A question to a person ended."""

    ce_type: ClassVar[str] = "caseworks.fact.decision"

    v: FactVersion = FACT_VERSION
    case_id: Text
    approval_id: Text
    workflow: Name
    tenant: Tenant = None
    ending: Literal["approve", "reject", "correct", "expired", "withdrawn"]
    overridden: bool = False
    """A person said otherwise than the agent: rejected or corrected."""
    at: Instant


class FeedbackFact(Message):
    """Somebody rated or corrected a result."""

    ce_type: ClassVar[str] = "caseworks.fact.feedback"

    v: FactVersion = FACT_VERSION
    case_id: Text
    feedback_id: Text
    workflow: Name
    tenant: Tenant = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    corrected: bool = False
    at: Instant


Fact = CaseFact | DecisionFact | FeedbackFact
FACTS: dict[str, type[Fact]] = {
    model.ce_type: model for model in (CaseFact, DecisionFact, FeedbackFact)
}
