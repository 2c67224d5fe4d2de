"""The model port on litellm; no other file imports it.

What litellm does on its own is switched off, for an agent's attempt already has it: retries
(`wrappers.retried`), prices from the network, keys from a `.env` file somewhere above, lines
printed to the terminal. One call of the port is one HTTP request.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import Any

from agents.mind.errors import AnswerLostError, ModelError, ModelUnavailable
from agents.mind.port import (
    BYTES_PER_TOKEN,
    NO_MODEL,
    ModelPort,
    Reply,
    Request,
    ToolCall,
    tokens_in_of,
)
from events.errors import TransientError
from events.settings import Settings

USD_STEP = Decimal("1e-9")
"""Prices are rounded up to this."""
RETRY_AFTER_S_MAX = 3600.0
TOLD_CHARS_MAX = 500

_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""Names, for httpx is litellm's dependency and not ours."""
_HINTS = {
    400: "see the message; a model may not know images, tools or so many tokens",
    401: "check the vendor's key in the environment, such as OPENAI_API_KEY",
    403: "the vendor's key may not use this model",
    404: "check CASEWORKS_MODEL and CASEWORKS_MODEL_API_BASE",
}


def make_model(settings: Settings) -> ModelPort:
    """The model that the settings name; `NO_MODEL` when they name none. Imports nothing yet."""
    return LitellmModel(settings) if settings.model else NO_MODEL


def load_litellm() -> Any:
    """The litellm module, silenced. Takes seconds the first time. Raises `ImportError`."""
    os.environ.update(_QUIET)
    import litellm

    litellm.suppress_debug_info = True
    for name in _LOGGERS:
        logging.getLogger(name).handlers.clear()  # its lines go the way of all others
    return litellm


class LitellmModel:
    """A model by its litellm name (`vendor/model`); keys come from the vendor's own variables.

    Used on one event loop; `aclose` ends its connections, and those of every other instance.
    """

    def __init__(self, settings: Settings, load: Callable[[], Any] = load_litellm) -> None:
        self.name = settings.model
        self._api_base = settings.model_api_base or None
        self._timeout_s = settings.model_timeout_s
        self._answer_bytes_max = settings.model_answer_bytes_max
        self._usd_per_mtoken = settings.model_usd_per_mtoken_in, settings.model_usd_per_mtoken_out
        self._price_unknown_ok = settings.model_price_unknown_ok
        self._load = load
        self._loaded: Any = None
        self._loading = asyncio.Lock()
        self._takes_schemas = False
        self._prepared = False

    async def prepare(self) -> None:
        """Import litellm in a thread. Raises `ModelUnavailable` if it cannot be used."""
        if self._prepared:
            return
        async with self._loading:
            if self._loaded is None:
                try:
                    self._loaded = await asyncio.to_thread(self._load)
                except ImportError as error:
                    raise ModelUnavailable(
                        f"the model {self.name!r} needs litellm: {error}",
                        hint="pip install 'caseworks[model]'",
                    ) from error
        if not self._price_unknown_ok and self.price(0, 0) is None:
            raise ModelUnavailable(
                f"nobody knows what {self.name!r} costs",
                hint="set CASEWORKS_MODEL_USD_PER_MTOKEN_IN and _OUT (0 for a model of your own), "
                "or CASEWORKS_MODEL_PRICE_UNKNOWN_OK=true",
            )
        self._takes_schemas = self._litellm.supports_response_schema(model=self.name)
        self._prepared = True

    def price(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        usd_in, usd_out = self._usd_per_mtoken
        if usd_in is not None or usd_out is not None:
            usd = (usd_in or 0) * tokens_in + (usd_out or 0) * tokens_out
            return _rounded(Decimal(usd) / 1_000_000)
        litellm = self._litellm
        try:
            known = litellm.cost_per_token(
                model=self.name, prompt_tokens=tokens_in, completion_tokens=tokens_out
            )
        except Exception:  # noqa: BLE001 - litellm has no one error for what it does not know
            return None
        return _rounded(sum(known))

    async def complete(self, request: Request) -> Reply:
        await self.prepare()
        timeout_s = min(request.timeout_s, self._timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._litellm.acompletion(**self._arguments(request))
        except TimeoutError as error:
            raise AnswerLostError(f"{self.name} did not answer in {timeout_s:.3g} s") from error
        except Exception as error:
            raise self._translated(error) from error
        try:
            return self._reply(request, response)
        except (AttributeError, IndexError, TypeError) as error:
            raise AnswerLostError(f"{self.name} sent what is no completion: {error}") from error

    async def aclose(self) -> None:
        """End the connections of this event loop; the model may be used again.

        Not needed at the end of a process.
        """
        if self._loaded is not None:
            await self._loaded.close_litellm_async_clients()
            # Closed clients would stay there, and fail the next call.
            self._loaded.in_memory_llm_clients_cache.flush_cache()

    @property
    def _litellm(self) -> Any:
        if self._loaded is None:
            raise ModelUnavailable(f"the model {self.name!r} is not prepared")
        return self._loaded

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.name,
            "messages": list(request.turns),
            "max_tokens": request.tokens_max,
            "api_base": self._api_base,
            # The same for every call: litellm keeps one connection pool for each value.
            "timeout": self._timeout_s,
            "num_retries": 0,
        }
        if request.tools:
            # Some vendors ask for a schema through a tool, so it is one or the other.
            arguments["tools"] = list(request.tools)
            # Since 1.81 litellm looks for tools of its own proxy, which needs more packages.
            arguments["_skip_mcp_handler"] = True
        elif _is_object(request.schema) and self._takes_schemas:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.schema, "strict": False},
            }
        return arguments

    def _reply(self, request: Request, response: Any) -> Reply:
        choice = response.choices[0]
        text, cut = _cut(choice.message.content or "", self._answer_bytes_max)
        calls = tuple(
            ToolCall(
                each.id or f"call_{at}",
                each.function.name or "",
                _cut(each.function.arguments or "", self._answer_bytes_max)[0],
            )
            for at, each in enumerate(choice.message.tool_calls or ())
        )
        tokens_in, tokens_out, usd = self._spent(request, response, text)
        cut = cut or choice.finish_reason == "length"
        return Reply(text, tokens_in, tokens_out, usd, calls=calls, cut=cut)

    def _spent(self, request: Request, response: Any, text: str) -> tuple[int, int, Decimal | None]:
        """Tokens and price as the vendor tells them; estimated when it does not."""
        usage = getattr(response, "usage", None)
        tokens_in = getattr(usage, "prompt_tokens", 0) or 0
        tokens_out = getattr(usage, "completion_tokens", 0) or 0
        if tokens_in <= 0:
            tokens_in = tokens_in_of(request)
            tokens_out = len(text.encode()) // BYTES_PER_TOKEN
        elif self._usd_per_mtoken == (None, None):
            # What litellm made of it knows of cached tokens, unlike `price`.
            usd = getattr(response, "_hidden_params", {}).get("response_cost")
            if usd is not None:
                return tokens_in, max(tokens_out, 0), _rounded(usd)
        tokens_out = max(tokens_out, 0)
        return tokens_in, tokens_out, self.price(tokens_in, tokens_out)

    def _translated(self, error: Exception) -> TransientError | ModelError:
        """What litellm raised, in our words; its classes differ between vendors."""
        told = f"{self.name}: {' '.join(str(error).split())}"[:TOLD_CHARS_MAX]
        status: int = getattr(error, "status_code", None) or 400
        headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
        if status in _TRY_AGAIN or status >= 500:
            if headers is not None or status == 429:
                return TransientError(told, retry_after_s=_retry_after_s(headers))
            if any(type(each).__name__ in _NOT_SENT for each in _chain(error)):
                return TransientError(told, hint=f"is {self._api_base or 'the vendor'} reachable?")
            if missing := self._missing_keys():
                return ModelUnavailable(
                    f"the model {self.name!r} needs a key", hint=f"set {' and '.join(missing)}"
                )
            return AnswerLostError(told)
        return ModelError(told, hint=_HINTS.get(status, ""))

    def _missing_keys(self) -> list[str]:
        found = self._litellm.validate_environment(model=self.name, api_base=self._api_base)
        return [] if found["keys_in_environment"] else list(found["missing_keys"])


def _is_object(schema: Mapping[str, Any] | None) -> bool:
    return schema is not None and schema.get("type") == "object"


def _rounded(usd: Decimal | float) -> Decimal:
    return Decimal(str(usd)).quantize(USD_STEP, rounding=ROUND_CEILING)


def _cut(text: str, bytes_max: int) -> tuple[str, bool]:
    """Text that UTF-8 can hold, within its bound, and whether something is missing."""
    written = text.encode("utf-8", "replace")
    return written[:bytes_max].decode("utf-8", "ignore"), len(written) > bytes_max


def _retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """Seconds; the header's other form, a date, is left to the caller's own waits."""
    with suppress(ValueError):
        wait_s = float((headers or {}).get("retry-after") or "")
        if 0 <= wait_s <= RETRY_AFTER_S_MAX:
            return wait_s
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
