"""Every setting of the service, read once from the environment and an optional YAML file.

Environment variables are EXCHANGE_<GROUP>__<FIELD>; a file named by EXCHANGE_CONFIG_FILE holds the same tree as YAML and
gives way to the environment. Secrets never stand here: settings name the files that hold them. README.md has this table,
made from the docstrings below.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sidecar.errors import SettingsInvalid
from sidecar.setting_names import judge_variables, no_such_setting

NOTIFICATIONS_PATH = "/graph/notifications"
LIFECYCLE_PATH = "/graph/lifecycle"
"""What follows `webhook.public_url`: told to Graph by one part of the service, and listened to by another."""

Role = Literal["api", "worker", "ingress"]
ROLES: tuple[Role, ...] = ("api", "worker", "ingress")
"""All roles: what a process does unless told otherwise."""

_FILE_BYTES_MAX = 1024 * 1024
"""All settings with all their comments are some kilobytes."""
_OUR_WORDS = {
    "tuple_type": 'must be a list; in a variable as JSON: ["one", "two"]',
    "model_type": "must be a mapping of settings; in a variable as JSON",
    "model_attributes_type": "must be a mapping of settings; in a variable as JSON",
}
"""For mistakes that pydantic tells in words of Python's."""

Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]
_NEAR = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that are this machine: what goes there in clear nobody else can read."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _empty_is_none(value: object) -> object:
    """Read an empty environment variable as "none", which is what whoever sets one means."""
    return None if value == "" else value


class GrpcSettings(_Group):
    """The gRPC listener that the application talks to."""

    socket: Path | None = Path("/run/exchange/exchange.sock")
    """Unix socket to listen on; a lock file lies beside it, a missing folder is made with 0750. Empty: none."""
    socket_mode: int = 0o660
    """Permissions of the socket: 432 (0660) lets its owner and group in, 384 (0600) its owner only."""
    addresses: tuple[str, ...] = ("127.0.0.1:50551",)
    """TCP addresses host:port to listen on, as a JSON list. Beyond loopback: only with TLS and `callers_file`."""
    tls_cert_file: Path | None = None
    """PEM file of the certificate for the TCP addresses, with its chain; read anew when it changes. Empty: plaintext."""
    tls_key_file: Path | None = None
    """PEM file of its private key; goes with `tls_cert_file`."""
    client_ca_file: Path | None = None
    """PEM file of the authorities whose certificates callers must have (mTLS); goes with `tls_cert_file`. Empty: none asked."""
    insecure_acknowledged: bool = False
    """Serve beyond loopback without TLS or without `callers_file`: something else (a mesh, a network policy) guards it."""
    callers_file: Path | None = None
    """JSON or YAML file of who may call: hashes of bearer tokens, scopes, tenants. Empty: whoever reaches us."""
    reflection: bool = True
    """Let tools such as `buf curl` ask the server for its API."""
    message_bytes_max: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 4 * 1024 * 1024
    """Largest request taken, in bytes."""
    calls_max: Annotated[int, Field(ge=1)] = 512
    """Calls under way at once, watches not counted; more are refused with CALL_LIMIT."""
    watches_max: Annotated[int, Field(ge=1)] = 10_000
    """Watches open at once; more are refused with WATCHER_LIMIT. An idle watch costs up to 35 KB."""
    caller_calls_per_s: Annotated[float, Field(gt=0, le=1_000_000)] = 1_000.0
    """Calls that each caller of `callers_file` may begin in a second, and at once after a pause; more: CALLER_LIMIT."""
    caller_calls_max: Annotated[int, Field(ge=1)] = 256
    """Of `calls_max`, what one caller of `callers_file` may have; half of it, so that none can keep all others out."""
    caller_watches_max: Annotated[int, Field(ge=1)] = 5_000
    """Of `watches_max`, what one caller of `callers_file` may have; calls that wait for Microsoft count as well."""
    drain_s: Seconds = 10.0
    """How long calls may go on after SIGTERM; watches end at once with a closing message."""
    quiet_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """After SIGTERM new calls are taken until none has come for this long, for half of `drain_s` at most: an app beside us that
    ends at the same time may finish. 0: refused at once."""

    _empty_paths = field_validator(
        "socket", "callers_file", "tls_cert_file", "tls_key_file", "client_ca_file", mode="before"
    )(_empty_is_none)

    @field_validator("socket_mode")
    @classmethod
    def _check_mode(cls, value: int) -> int:
        if value not in (0o600, 0o660):
            raise ValueError("must be 384 (0600) or 432 (0660): whoever may open the socket may do everything")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> GrpcSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("client_ca_file asks callers for certificates, which takes tls_cert_file and tls_key_file")
        return self

    @property
    def lacking(self) -> str:
        """What the TCP addresses lack to be reached from other machines; empty: nothing."""
        needed = {
            "TLS (tls_cert_file, tls_key_file)": self.tls_cert_file,
            "tokens (callers_file)": self.callers_file,
        }
        return " and ".join(name for name, given in needed.items() if given is None)


class StoreSettings(_Group):
    """Where the copy, the log and the credentials are kept."""

    path: Path = Path("/var/lib/exchange/exchange.sqlite3")
    """The SQLite file; made when missing. One process per file. Not used with `dsn_file`."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """SQLite: FULL: a change confirmed survives loss of power. NORMAL: survives a killed process only, and is faster."""
    dsn_file: Path | None = None
    """File with the URI of a PostgreSQL to use instead: postgresql://user:password@host/database?sslmode=verify-full."""
    connections_max: Annotated[int, Field(ge=2, le=100)] = 10
    """PostgreSQL: connections of this process at most, besides one for announcements."""
    statement_s: Annotated[float, Field(ge=0.1, le=600)] = 10.0
    """PostgreSQL: a statement that takes longer is ended, and its call fails with STORE_UNAVAILABLE."""
    busy_s: Seconds = 5.0
    """How long to wait for a lock (of somebody's shell, say) before a call fails with STORE_UNAVAILABLE."""
    retention_days: Annotated[int, Field(ge=1, le=365)] = 14
    """How long changes are kept for watchers to resume from, in days."""
    retention_count_max: Annotated[int, Field(ge=1_000)] = 1_000_000
    """How many changes are kept for each tenant at most. `log_prune.cut_short` in the log: they did not last for the days."""

    grace_days: Annotated[int, Field(ge=0, le=365)] = 30
    """How long a deleted tenant is kept, and can be undeleted, before it is erased, in days. 0: erased at once."""

    audit_days: Annotated[int, Field(ge=1, le=3_650)] = 365
    """How long it is kept who changed what, in days; at most 200,000 calls, and 10,000 that were refused."""

    _empty_dsn_file = field_validator("dsn_file", mode="before")(_empty_is_none)


class VaultSettings(_Group):
    """The key ring that seals credentials."""

    key_ring_file: Path = Path("/etc/exchange/keyring.json")
    """JSON file {"primary": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}. New secrets are sealed with the primary."""


class CredentialSettings(_Group):
    """The tenants' credentials: how they are replaced, and where tokens of other identity providers lie."""

    previous_hours: Annotated[float, Field(ge=0, le=720)] = 24.0
    """Hours that a credential replaced by a rotation is kept; it is taken back by itself if Microsoft refuses the new one."""
    prove_patience_s: Annotated[float, Field(ge=0, le=3_600)] = 300.0
    """How long refusals of a new credential are not believed: a new secret is known everywhere at Microsoft after minutes."""
    rotate_wait_s: Annotated[float, Field(ge=0, le=60)] = 20.0
    """How long a call of RotateTenantCredential waits for the proof; the proving goes on without it."""
    token_files_folder: Path | None = None
    """Folder of the token files that federated credentials may name; no other file is read. Empty: none are taken."""

    _empty_folder = field_validator("token_files_folder", mode="before")(_empty_is_none)

    @field_validator("token_files_folder")
    @classmethod
    def _check_folder(cls, value: Path | None) -> Path | None:
        if value is not None and (not value.is_absolute() or value == Path("/")):
            raise ValueError("must be an absolute path, and not the root")
        return value


class WebhookSettings(_Group):
    """The HTTP listener that Microsoft Graph calls."""

    listen: str = "127.0.0.1:8080"
    """Address host:port of the listener for the two webhook paths; TLS ends in front of it."""
    public_url: str | None = None
    """Base URL under which Microsoft reaches it, such as https://hooks.example.com. Empty: rooms are polled."""
    path_secrets_file: Path | None = None
    """File of words, one a line; the first goes into the path that Microsoft is told, all are taken; followed. Empty: none."""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """Largest body taken, in bytes."""
    items_max: Annotated[int, Field(ge=1)] = 1_000
    """Most notifications taken from one body; the rest is refused with the whole body."""
    requests_max: Annotated[int, Field(ge=1)] = 64
    """Bodies worked on at once; more wait their turn, and with four times as many connections new ones get 503."""

    requests_per_s: Annotated[float, Field(ge=1, le=1_000_000)] = 2_000.0
    """Requests taken in a second, and at once after a pause; more get 503, and Graph sends what it sent again."""

    _empty_secrets = field_validator("path_secrets_file", mode="before")(_empty_is_none)

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        parts = urlsplit(value)
        loopback = parts.hostname in {"127.0.0.1", "localhost"}
        if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
            raise ValueError("must be an https URL (http only for loopback, with the emulator)")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("must not have a query, a fragment or a user name")
        return value.rstrip("/")


class ProbesSettings(_Group):
    """The HTTP listener for the kubelet and Prometheus."""

    listen: str = "127.0.0.1:9464"
    """Address host:port of /startupz, /livez, /readyz and /metrics."""


class GraphSettings(_Group):
    """How Microsoft is called."""

    login_url: str | None = None
    """Base URL of the login service instead of the cloud's own: the emulator's. Empty: by the tenant's cloud."""
    graph_url: str | None = None
    """Base URL of Graph instead of the cloud's own: the emulator's. Empty: by the tenant's cloud."""
    ca_file: Path | None = None
    """PEM file of certificate authorities to trust instead of the usual ones. Empty: the usual ones."""
    connect_s: Seconds = 5.0
    """Time-out for making a connection."""
    request_s: Seconds = 30.0
    """Time-out for one request, first byte to last."""
    attempts_max: Annotated[int, Field(ge=1, le=10)] = 4
    """Tries of one request within one task; after that the task is put off and tried again later."""
    wait_in_place_s: Seconds = 5.0
    """Waits of one request together that are spent in place; whoever is told to wait longer is put off."""
    concurrency_per_mailbox: Annotated[int, Field(ge=1, le=4)] = 3
    """Requests under way per mailbox; one more for writes. Graph refuses a fifth of one app, in all processes."""
    concurrency_per_tenant: Annotated[int, Field(ge=1, le=256)] = 32
    """Requests under way per tenant."""
    concurrency: Annotated[int, Field(ge=4, le=1024)] = 128
    """Requests under way for all tenants together; those that want more than there is get equal shares."""
    page_size: Annotated[int, Field(ge=10, le=1000)] = 500
    """Events asked for per page of a calendar."""
    pages_max: Annotated[int, Field(ge=1)] = 200
    """Pages followed in one read before it counts as endless and fails."""

    _empty_texts = field_validator("login_url", "graph_url", "ca_file", mode="before")(_empty_is_none)

    @field_validator("login_url", "graph_url")
    @classmethod
    def _check_urls(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme != "https":
            raise ValueError("must be an https URL")
        return value


class SyncSettings(_Group):
    """What is kept, and how it is kept fresh."""

    past_days: Annotated[int, Field(ge=0, le=365)] = 7
    """Days before today that are kept in the copy."""
    future_days: Annotated[int, Field(ge=1, le=1400)] = 365
    """Days after today that are kept in the copy."""
    settle_s: Annotated[float, Field(ge=0, le=10)] = 1.0
    """A notified room is read this long after the last notification, because one action brings several."""
    settle_max_s: Annotated[float, Field(ge=0, le=60)] = 10.0
    """A notified room is read this long after its first notification at the latest; each room by a share of its own."""
    hints_max: Annotated[int, Field(ge=1, le=100)] = 8
    """With more notified events than this the room's calendar is read as a whole instead of one by one."""
    check_interval_s: Seconds = 900.0
    """Time between delta checks of a room whose changes are announced, jittered by a tenth; each proves that none was lost."""
    poll_min_s: Seconds = 30.0
    """Time between delta checks of a room whose changes are not announced (POLLING), while something happens in it."""
    poll_max_s: Seconds = 240.0
    """The same while nothing happens in it, or while Exchange asks us to slow down; jittered by a tenth."""
    freshness_budget_s: Seconds = 300.0
    """A POLLING room not checked for this long is STALE; a LIVE one when its check is late by as much; every room of a tenant,
    and every mailbox, that Exchange was away from for this long."""
    compare_interval_s: Seconds = 86_400.0
    """Time between full reads of a room, spread over it; each moves the horizon, and proves that checks lost nothing."""
    confirm_max: Annotated[int, Field(ge=0, le=100)] = 20
    """Bookings missing from a full read that are asked for one by one; with more, a second full read must agree."""
    subscription_minutes: Annotated[int, Field(ge=45, le=10_070)] = 10_000
    """Life asked for a subscription, in minutes; it is renewed at half of it. Graph takes 10,070 at most."""
    probe_interval_s: Seconds = 60.0
    """Time until the first new try for a room or tenant that Microsoft refuses; doubled each time, up to an hour."""


class TasksSettings(_Group):
    """The engine for background work."""

    runner: Literal["embedded", "procrastinate", "outside"] = "embedded"
    """embedded: each process looks for work itself. procrastinate: a queue on the PostgreSQL. outside: your task runner."""
    lanes_max: Annotated[int, Field(ge=1)] = 16
    """Tenants worked for at once."""
    rooms_per_lane_max: Annotated[int, Field(ge=1)] = 16
    """Rooms of one tenant worked on at once."""
    rooms_kept_for_hints: Annotated[int, Field(ge=0)] = 4
    """Of these, kept for rooms in which a change was announced: full reads never hold all of them."""
    lease_s: Seconds = 10.0
    """How long a process that died keeps a tenant's work from others."""
    linger_s: Annotated[float, Field(ge=0, le=30)] = 1.0
    """How long a drained lane waits for new work before it is released."""
    slice_s: Seconds = 5.0
    """A lane with endless work makes way for waiting ones after this long."""
    sweep_s: Seconds = 2.0
    """Time between looks for work that no wake-up announced."""


class WatchSettings(_Group):
    """Streams of changes."""

    heartbeat_s: Annotated[float, Field(ge=5, le=60)] = 15.0
    """Time between messages on a quiet stream when the caller wishes none."""
    send_s: Seconds = 60.0
    """A message not taken within this long ends the stream with WATCHER_TOO_SLOW."""
    batch_count_max: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most changes in one message."""
    batch_bytes_max: Annotated[int, Field(ge=1024)] = 256 * 1024
    """Most bytes of changes in one message."""
    tail_count: Annotated[int, Field(ge=100)] = 5_000
    """Latest changes of each watched tenant kept in memory; a reader further behind reads the store."""
    max_age_s: Seconds = 86_400.0
    """A stream older than this is closed with REASON_MAX_AGE, so that connections spread over new processes."""


class TelemetrySettings(_Group):
    """What is sent to an OpenTelemetry collector. Prometheus reads metrics at `probes.listen` in any case."""

    otlp_endpoint: str | None = None
    """Base URL of a collector that takes OTLP over HTTP, as http://collector:4318; traces go to /v1/traces below it. Empty:
    none are made, and nothing is sent anywhere."""
    otlp_headers_file: Path | None = None
    """File with the headers that the collector asks for, one `name: value` a line; read again when it changes."""
    otlp_ca_file: Path | None = None
    """PEM file with the authority that signed the collector's certificate. Empty: those that the machine trusts."""
    otlp_metrics_s: Seconds | None = None
    """Time between sendings of all metrics to /v1/metrics of the same collector. Empty: Prometheus alone has them."""
    service_name: Annotated[str, Field(min_length=1, max_length=100)] = "exchange-sidecar"
    """What traces call this service."""
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of calls, notification batches and planned reads that are traced. Callers that trace decide for their calls."""

    _empty_texts = field_validator(
        "otlp_endpoint", "otlp_headers_file", "otlp_ca_file", "otlp_metrics_s", mode="before"
    )(_empty_is_none)

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise ValueError("must be an http or https URL without user, query and fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.otlp_endpoint is None:
            for name in ("otlp_headers_file", "otlp_ca_file", "otlp_metrics_s"):
                if getattr(self, name) is not None:
                    raise ValueError(f"telemetry.{name} says nothing without telemetry.otlp_endpoint")
            return self
        parts = urlsplit(self.otlp_endpoint)
        if self.otlp_headers_file is not None and parts.scheme == "http" and parts.hostname not in _NEAR:
            raise ValueError(
                "telemetry.otlp_headers_file: headers may be secret, and need an https endpoint or loopback"
            )
        return self


class LogSettings(_Group):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level written. Changed in the settings' file, it counts within seconds."""
    format: Literal["json", "console"] = "json"
    """json for machines, console for people."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix="EXCHANGE_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    profile: Literal["sidecar", "service"] = "sidecar"
    """sidecar: beside one application, on a Unix socket and loopback. service: for several; TLS, tokens, no reflection."""
    roles: Annotated[tuple[Role, ...], NoDecode] = ROLES
    """What this process does. api: serve gRPC. worker: read Exchange. ingress: take webhooks. Fewer need a PostgreSQL."""
    config_file: Path | None = None
    """YAML file with this same tree; the environment wins over it."""
    grpc: GrpcSettings = GrpcSettings()
    store: StoreSettings = StoreSettings()
    vault: VaultSettings = VaultSettings()
    credentials: CredentialSettings = CredentialSettings()
    webhook: WebhookSettings = WebhookSettings()
    probes: ProbesSettings = ProbesSettings()
    graph: GraphSettings = GraphSettings()
    sync: SyncSettings = SyncSettings()
    tasks: TasksSettings = TasksSettings()
    watch: WatchSettings = WatchSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @property
    def is_working(self) -> bool:
        """Whether background work is done in this process: by its own schedule, or as a task runner outside asks for it."""
        return "worker" in self.roles or ("api" in self.roles and self.tasks.runner == "outside")

    @field_validator("roles", mode="before")
    @classmethod
    def _split_roles(cls, value: object) -> object:
        """Read roles separated by commas, as the environment has them; one given twice counts once."""
        if isinstance(value, str):
            value = [role.strip() for role in value.split(",") if role.strip()]
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"must name at least one of {', '.join(ROLES)}")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if self.store.dsn_file is None and set(self.roles) != set(ROLES):
            raise ValueError(
                f"roles: {','.join(self.roles)} alone needs other processes on the same database, and SQLite has one; "
                "set store.dsn_file, or leave all roles to this process"
            )
        if "ingress" in self.roles and set(self.roles) != set(ROLES) and self.webhook.public_url is None:
            raise ValueError("roles: ingress has nothing to take without webhook.public_url")
        for address in self.grpc.addresses if "api" in self.roles else ():
            is_near = split_address(address)[0] in _NEAR and self.profile == "sidecar"
            if not is_near and self.grpc.lacking and not self.grpc.insecure_acknowledged:
                raise ValueError(
                    f"grpc.addresses: {address} is for other machines and lacks {self.grpc.lacking}; set them, or listen on "
                    "loopback in the profile sidecar, or set grpc.insecure_acknowledged if something else guards it"
                )
        if "api" in self.roles and not self.grpc.addresses and self.grpc.socket is None:
            raise ValueError("grpc: neither a socket nor an address to listen on")
        if self.sync.poll_min_s > self.sync.poll_max_s:
            raise ValueError("sync.poll_min_s must not be longer than sync.poll_max_s")
        if self.sync.freshness_budget_s <= self.sync.poll_max_s * 1.1:
            raise ValueError(
                "sync.freshness_budget_s must be longer than sync.poll_max_s, or every POLLING room turns STALE"
            )
        if self.tasks.runner == "procrastinate":
            if self.store.dsn_file is None:
                raise ValueError(
                    "tasks.runner: procrastinate needs a PostgreSQL (store.dsn_file); with SQLite there is one process, "
                    "and the embedded runner does all that is to be done"
                )
            if find_spec("procrastinate") is None or find_spec("psycopg") is None:
                raise ValueError(
                    "tasks.runner: procrastinate is not installed; install exchange-sidecar[procrastinate], "
                    "or use the embedded runner"
                )
        split_address(self.webhook.listen)
        split_address(self.probes.listen)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what was read from the file."""
        return Environment(settings_cls), init_settings


class Environment(EnvSettingsSource):
    """The environment, of which a value that is no JSON where there has to be some is told with all other mistakes."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # of any setting
        """Return what a JSON text says, and anything else as it is: its setting refuses it."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def split_address(address: str) -> tuple[str, int]:
    """Split host:port; IPv6 hosts stand in brackets. Raise ValueError when it is something else."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


def load_settings(config_file: Path | None = None) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsInvalid: with every mistake at once, one sentence for each setting.
    """
    mistakes, _ = judge_variables(Settings, os.environ)
    try:
        settings = Settings(**read_config_file(named_config_file(config_file)))
    except ValidationError as error:
        mistakes = {**mistakes, **tell_mistakes(error)}
    if mistakes:
        raise SettingsInvalid("the configuration breaks rules", details=mistakes)
    return settings


def named_config_file(config_file: Path | None) -> Path | None:
    """Return the file that the command line names, or else the environment."""
    named = os.environ.get("EXCHANGE_CONFIG_FILE")
    return Path(named) if config_file is None and named else config_file


def read_config_file(config_file: Path | None) -> dict[str, Any]:  # Any: what stands in the file
    """Return the tree of a file; None: an empty one.

    Raises:
        SettingsInvalid: it cannot be read, or holds no tree.
    """
    if config_file is None:
        return {}
    try:
        with config_file.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX + 1)
        if len(text) > _FILE_BYTES_MAX:
            raise _unreadable(config_file, f"has more than {_FILE_BYTES_MAX} bytes")
        tree: object = yaml.safe_load(text) or {}
    except OSError as error:
        raise _unreadable(config_file, f"cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise _unreadable(config_file, f"is no YAML: {error.problem or 'its form is broken'}{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _unreadable(config_file, "is no YAML") from None
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise _unreadable(config_file, "does not hold a mapping of settings")
    return tree


def tell_mistakes(error: ValidationError) -> dict[str, str]:
    """Return a sentence for each setting that was refused; values are not quoted."""
    mistakes: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] == "extra_forbidden":
            mistakes[path] = no_such_setting(Settings, path)
        else:
            mistakes[path] = _OUR_WORDS.get(item["type"]) or item["msg"].removeprefix("Value error, ")
    return mistakes


def _unreadable(config_file: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("cannot read the settings", details={"config_file": f"{config_file} {sentence}"})
