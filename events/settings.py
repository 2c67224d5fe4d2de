"""Every setting, its unit and its default; read from `CASEWORKS_*` and nowhere else."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.errors import SettingsError
from events.topics import Partitions, Topics

Namespace = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Settings(BaseSettings):
    """The configuration of one process. Names carry their unit."""

    model_config = SettingsConfigDict(env_prefix="CASEWORKS_", frozen=True, extra="ignore")

    bootstrap_servers: str = ""
    """`host:port[,host:port]`; empty: the running local broker recorded in the data folder."""
    kafka_config: dict[str, str] = Field(default_factory=dict)
    """More client settings as JSON, for TLS and SASL: `{"security.protocol": "SASL_SSL"}`."""
    namespace: Namespace = "cw"
    instance: str = Field(default="0", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Stable name of this process among its kind (a StatefulSet ordinal)."""
    data_dir: Path = Path(".caseworks")
    cache_dir: Path | None = None
    """Where downloads are kept; default: the user's cache folder."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65535)
    """`/healthz /readyz /metrics`; 0 picks a free port and prints it."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    model: str = ""
    """The language model that agents may ask (litellm name); empty: none, everything still runs."""
    model_api_base: str = ""
    """URL of a server that speaks the model's protocol; empty: the vendor's own."""
    model_timeout_s: float = Field(default=60.0, gt=0)
    """How long one call to the model may take, within the time that its attempt has left."""
    model_repairs_max: int = Field(default=2, ge=0, le=10)
    """How often the model is shown what is wrong with its answer."""
    model_answer_bytes_max: int = Field(default=262_144, ge=1)
    """A longer answer is cut, and so of no use where a type was asked for."""
    model_usd_per_mtoken_in: Decimal | None = Field(default=None, ge=0)
    """Price of a million tokens sent, in US dollars; both left out: as litellm knows it."""
    model_usd_per_mtoken_out: Decimal | None = Field(default=None, ge=0)
    model_price_unknown_ok: bool = False
    """Whether to ask a model whose price nobody knows; its calls are then counted as free."""

    inbox_partitions: int = Field(default=32, ge=1, le=4096)
    events_partitions: int = Field(default=8, ge=1, le=4096)
    tasks_partitions: int = Field(default=8, ge=1, le=4096)
    results_partitions: int = Field(default=8, ge=1, le=4096)
    replication_factor: int = Field(default=1, ge=1, le=9)

    event_bytes_max: int = Field(default=1_048_576, ge=1)
    cases_open_max: int = Field(default=1_000_000, ge=1)
    """Cases open at once in the namespace; beyond, intake waits and `events` fills (soft)."""
    case_bytes_max: int = Field(default=524_288, ge=1)
    output_bytes_max: int = Field(default=262_144, ge=1)
    """Largest output of one step; a larger one fails the step."""
    batch_max: int = Field(default=1000, ge=1, le=100_000)
    """Messages taken into one transaction at most."""
    state_store: Literal["disk", "memory"] = "disk"
    """Where coordinators hold open cases. `disk`: under the data folder, so that a restart reads
    only the rest of the changelog and memory holds what was used last; `memory`: nowhere else."""
    take_timeout_s: float = Field(default=0.05, gt=0, le=5)
    session_timeout_s: float = Field(default=6.0, ge=1)
    transaction_timeout_s: float = Field(default=10.0, ge=1)
    dedupe_window_s: float = Field(default=7 * 86_400.0, gt=0)
    """How long a closed case is remembered; at least the retention of `events`."""
    signal_keep_s: float = Field(default=86_400.0, gt=0)
    """How long a correlated event that no case waits for is kept before it is a dead letter."""
    cache_keep_s: float = Field(default=86_400.0, gt=0)
    """How long an output is kept for the link `cache` of a fallback."""
    cache_entries_max: int = Field(default=2_048, ge=1)
    """Outputs kept for one step."""
    cache_bytes_max: int = Field(default=16_777_216, ge=1)
    """What they hold together; an output larger than a 256th of it is not kept."""
    retry_share: float = Field(default=0.2, ge=0, le=10)
    """Retries of an agent for each of its first attempts, in one coordinator process."""
    retry_floor_per_s: float = Field(default=10.0, gt=0)
    """Retries of an agent that are always allowed."""
    in_time_s: float | None = Field(default=None, gt=0)
    """From event to answer: what counts as in time for the service level (99.9 %). None: the
    deadline of the case."""
    lag_interval_s: float = Field(default=10.0, ge=0.1, le=600)
    """How often coordinators measure the lag of all groups."""
    lag_window_s: float = Field(default=300.0, gt=0, le=86_400)
    """How long nothing has to move before a partition is stalled or stopped."""
    insight_interval_s: float = Field(default=5.0, ge=0.2, le=3600)
    """How often the tables of insight are written for others, and alerts are judged."""
    insight_names_max: int = Field(default=200, ge=1, le=10_000)
    """Workflows, tenants and agent versions that have numbers of their own, of each kind and for
    the facts of one partition; all others are counted as `~other`."""
    insight_errors_max: float = Field(default=0.05, gt=0, le=1)
    """Part of the cases, or of an agent's steps, that may fail before an alert fires."""
    insight_confidence_min: float = Field(default=0.7, ge=0, lt=1)
    """Mean confidence below which an alert fires."""
    insight_guards_max: float = Field(default=0.1, gt=0, le=1)
    """Part of the cases in which a guard may hit before an alert fires."""
    insight_samples_min: int = Field(default=50, ge=1)
    """Fewer within the window of alerts say nothing."""
    insight_window_s: int = Field(default=900, ge=60, le=7200)
    """What alerts look back on, in whole minutes."""
    insight_baseline: Path | None = None
    """A YAML file that says what the work costs without Caseworks; see `caseworks/insight`."""
    attention_usd_per_day: Decimal | None = Field(default=None, gt=0)
    """What may be spent in a day (UTC) before `caseworks attention` says so, at 80 % of it. Nothing
    stops at it; None: nobody said."""
    dead_cases_keep_s: float = Field(default=30 * 86_400.0, gt=0)
    """How long a closed case is kept whole for the replay of its dead letter: as long as that."""

    projection_keep_s: float = Field(default=7 * 86_400.0, gt=0)
    """How long the projection, which API and console read, keeps closed cases."""
    projection_cases_max: int = Field(default=250_000, ge=1_000)
    """Cases in the projection, of about 4 KB each; beyond, closed ones go, the oldest first."""
    projection_interval_s: float = Field(default=0.25, ge=0.01, le=10)
    """How often the projection looks for new records: what comes between is written at once."""

    trace_cases_max: int = Field(default=100_000, ge=100)
    """Open cases that `caseworks trace export` remembers, of some 2 KB each; of others the times of
    steps are estimated."""

    in_flight_max: int = Field(default=256, ge=1, le=100_000)
    """Tasks that one agent runs at once in one process, beside the agent's own limit."""
    in_flight_bytes_max: int = Field(default=67_108_864, ge=1)
    """Bytes of those tasks."""
    normal_share: float = Field(default=0.2, gt=0, le=1)
    """Part of an agent's slots that urgent tasks leave to normal ones while some wait."""
    read_ahead_max: int = Field(default=16_000, ge=1)
    """Tasks that wait in one process, of each lane of an agent: the largest flood of one tenant
    that others do not notice. Beyond, its partitions are held back until half of it is done."""
    read_ahead_bytes_max: int = Field(default=33_554_432, ge=1)
    """Bytes of those, of each lane."""
    key_depth_max: int = Field(default=1000, ge=1)
    """Tasks of one key that wait for the one before, where an agent asks for order; beyond, their
    partition is held back until half of them are done."""
    span_max: int = Field(default=100_000, ge=1)
    """How far reading may run ahead of the oldest unfinished task of a partition, in offsets."""
    commit_interval_s: float = Field(default=0.2, gt=0)
    starts_max: int = Field(default=3, ge=3, le=100)
    """The start of a task, after its worker died each time that it ran, that is not made any more:
    it ends as a `crash_loop`. More where workers are killed from outside all the time."""
    breaker_reset_s: float = Field(default=10.0, gt=0, le=300)
    """How long the fleet's breakers stay open before the first probe."""
    breaker_ramp_s: float = Field(default=10.0, ge=0, le=3600)
    """How long a backlog is taken up slowly after a breaker closed."""
    pause_after_failures: int = Field(default=20, ge=0, le=10_000)
    """Failures of one kind within a minute that pause an agent's version; 0: it is never paused."""
    worker_memory_max_mb: int | None = Field(default=None, ge=16)
    """Address space that a worker may take beyond what it takes when its app is loaded; then what
    asks for more gets a `MemoryError`. None: what the machine has. Linux only."""
    stuck_after_s: float = Field(default=5.0, gt=0)
    """The event loop of a worker's agents stands for so long: it says where, and is not ready."""
    stuck_max_s: float = Field(default=60.0, gt=0)
    """For so long: the worker ends with exit code 70, to be started again."""
    drain_timeout_s: float = Field(default=5.0, ge=0)
    """How long a stopping or losing worker waits for running tasks."""

    api_host: str = "127.0.0.1"
    """Where the API listens; anywhere else than on this machine it wants keys or a provider."""
    api_port: int = Field(default=8080, ge=0, le=65535)
    """The API and the console; 0 picks a free one and prints it."""
    api_keys_file: Path | None = None
    """YAML: `keys: [{name, sha256, roles: [publish, read, decide, operate], tenant}]`."""
    api_oidc_issuer: str = ""
    """An OpenID provider whose tokens are accepted; empty: none."""
    api_oidc_audience: str = ""
    """Whom its tokens must be for."""
    api_oidc_jwks: str = ""
    """Its keys: an address or a file; empty: as its `.well-known` document says."""
    api_oidc_roles_claim: str = "roles"
    """The claim, or path of claims, that lists the roles."""
    api_oidc_tenant_claim: str = "tenant"
    api_requests_per_minute: int = Field(default=100, ge=0)
    """Of one key whose file says nothing else; 0: no limit."""
    api_requests_per_hour: int = Field(default=1_000, ge=0)
    api_body_bytes_max: int = Field(default=1_048_576, ge=1)
    """A request with a larger body is refused, as soon as that shows."""
    api_header_timeout_s: float = Field(default=10.0, gt=0)
    """How long the head of a request may take to arrive."""
    api_body_timeout_s: float = Field(default=20.0, gt=0)
    """How long the body of a request may take to arrive."""
    api_ack_timeout_s: float = Field(default=10.0, gt=0)
    """How long Kafka may take to acknowledge an event before its sender is told to try again."""
    api_wait_max_s: float = Field(default=60.0, gt=0, le=600)
    """How long a request may wait for a result at most."""
    api_connections_max: int = Field(default=12_000, ge=1)
    """Connections at once, streams among them."""
    api_streams_max: int = Field(default=10_000, ge=0)
    """Streams at once; one more is told to come later."""
    api_stream_queue_max: int = Field(default=256, ge=1)
    """Messages that wait for a stream's client before it is dropped."""
    api_stream_send_timeout_s: float = Field(default=10.0, gt=0)
    """How long a stream's client may take nothing before it is dropped."""

    @property
    def topics(self) -> Topics:
        """The topic names of this namespace."""
        return Topics(self.namespace)

    @property
    def partitions(self) -> Partitions:
        """Partition counts for topics that are made."""
        return Partitions(
            inbox=self.inbox_partitions,
            events=self.events_partitions,
            tasks=self.tasks_partitions,
            results=self.results_partitions,
        )


def load_settings() -> Settings:
    """The settings from the environment. Raises `SettingsError` naming variable and bound."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "CASEWORKS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}", hint="see events/settings.py") from None
