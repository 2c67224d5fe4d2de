"""What a model's refusals, silence and rubbish become, over litellm's real HTTP path."""

from __future__ import annotations

import json
import time

import pytest

from agents.mind.errors import AnswerLostError, ModelError, ModelUnavailable
from events.errors import TransientError
from tests.model_server import Answer, ModelServer, breaks_off, refuses, says, sends, stays_silent
from tests.unit.litellm_calls import MARKS, failed, request, using

pytestmark = MARKS


@pytest.fixture(autouse=True)
def key_of_the_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-no-use")


@pytest.mark.parametrize(
    ("answer", "retry_after_s"),
    [
        (refuses(429, retry_after="7"), 7),
        (refuses(429), None),
        (refuses(429, retry_after="soon"), None),
        (refuses(429, retry_after="-1"), None),
        (refuses(429, retry_after="nan"), None),
        (refuses(500), None),
        (refuses(502), None),
        (refuses(503, retry_after="1.5"), 1.5),
        (refuses(408), None),
        (refuses(409), None),
        (Answer(b"<html>try later</html>", 504), None),
    ],
    ids=lambda case: f"{case.status} {dict(case.headers)}" if isinstance(case, Answer) else "",
)
def test_what_may_pass_is_transient_and_sent_once(
    answer: Answer, retry_after_s: float | None
) -> None:
    error = failed(answer)
    assert type(error) is TransientError
    assert error.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (refuses(400, "no such parameter"), "see the message"),
        (refuses(401, "who are you"), "OPENAI_API_KEY"),
        (refuses(403, "not for you"), "may not use this model"),
        (refuses(404, "no such model"), "CASEWORKS_MODEL"),
        (refuses(413, "too long"), ""),
        (refuses(422, "what"), ""),
    ],
    ids=lambda case: str(case.status) if isinstance(case, Answer) else "",
)
def test_a_refusal_is_permanent_and_says_what_to_do(answer: Answer, hint: str) -> None:
    error = failed(answer)
    assert type(error) is ModelError
    assert json.loads(answer.body)["error"]["message"] in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    "answer",
    [
        sends(b"this is no JSON"),
        sends(says("hello").body[:60]),
        sends(b""),
        sends(b"{}"),
        sends(b"null"),
        sends(b"[1]"),
        sends(b'{"id": "1", "object": "chat.completion", "choices": [], "model": "m"}'),
        breaks_off("hello"),
    ],
    ids=["no JSON", "cut JSON", "nothing", "empty", "null", "list", "no choices", "breaks off"],
)
def test_an_answer_that_is_no_completion_is_lost_and_worth_another_try(answer: Answer) -> None:
    assert type(failed(answer)) is AnswerLostError


def test_a_silent_server_is_given_up_in_the_time_of_the_attempt() -> None:
    begun = time.monotonic()
    error = failed(stays_silent(), wanted=request(timeout_s=0.2))
    assert time.monotonic() - begun < 5
    assert type(error) is AnswerLostError
    assert "did not answer in 0.2 s" in str(error)


def test_a_silent_server_is_given_up_in_the_time_of_the_setting() -> None:
    error = failed(stays_silent(), wanted=request(timeout_s=60), model_timeout_s=0.2)
    assert type(error) is AnswerLostError


def test_a_server_that_is_not_there_cost_nothing_and_is_named() -> None:
    with ModelServer() as server:
        pass
    with pytest.raises(TransientError) as caught:
        using(server, lambda model: model.complete(request()))
    assert type(caught.value) is TransientError
    assert server.api_base in caught.value.hint


def test_without_its_key_a_vendor_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with ModelServer(says("hi")) as server, pytest.raises(ModelUnavailable) as caught:
        using(server, lambda model: model.complete(request()))
    assert server.requests == []
    assert caught.value.hint == "set OPENAI_API_KEY"


@pytest.mark.parametrize("name", ["nosuchvendor/model", "nosuchmodel"])
def test_a_model_that_litellm_does_not_know_is_one_clear_error(name: str) -> None:
    with ModelServer() as server, pytest.raises(ModelError) as caught:
        using(
            server, lambda model: model.complete(request()), model=name, model_price_unknown_ok=True
        )
    assert name in str(caught.value)


def test_an_error_does_not_repeat_the_prompt() -> None:
    assert "1234 5678" not in str(failed(refuses(400), wanted=request("my card is 1234 5678")))
