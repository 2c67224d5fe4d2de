"""The name of a case is a version 5 UUID, as any language's library makes it."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from hypothesis import given
from hypothesis import strategies as st

from schemas.event import case_id_of


@given(st.text(), st.text())
def test_a_case_id_is_the_uuid5_of_source_and_id(source: str, event_id: str) -> None:
    name = f"{source}\n{event_id}"
    assert case_id_of(source, event_id) == str(uuid5(NAMESPACE_URL, name))
