"""How PostgreSQL is reached, and what its refusals mean.

The connection URI is a secret and lies in a file. The file is read for each new connection, so that a changed password needs
no restart. Nothing of it, and no value of a row, is ever part of an error.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from sidecar.errors import SettingsInvalid, StoreUnavailable

log = structlog.get_logger(__name__)

Raw = asyncpg.Connection | PoolConnectionProxy
"""A connection, of its own or out of a pool."""

_SETTING = "store.dsn_file"
_DSN_CHARS_MAX = 4_096
_CONNECT_S = 5.0
_PATIENCE_S = 60.0
"""So long a migration may compute between two statements."""
_CLIENT_MARGIN_S = 2.0
"""The server ends a statement that takes too long; when it does not answer at all, the client does, this much later."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})
_MODES = frozenset({"disable", "require", "verify-ca", "verify-full"})
_RACES = frozenset({"23503", "23505", "40001", "40P01"})
"""Foreign key, unique key, serialization, deadlock: two transactions met, and what one of them had read is not so any more."""
_OUR_FAULTS = frozenset({"22", "23", "42"})
"""Classes of refusals that no database in good order has for us: wrong data, broken constraints, wrong SQL."""

TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Everything that asking the database may end with, besides an answer."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where the database is, and how long it may take.

    Args:
        statement_s: a statement that takes longer is ended.
        lock_s: a wait for another transaction that takes longer is ended.
    """

    dsn_file: Path
    statement_s: float
    lock_s: float

    async def connect(self, *, is_patient: bool = False) -> asyncpg.Connection:
        """Make a connection.

        Args:
            is_patient: statements may take as long as they need (a migration).
        Raises:
            SettingsInvalid, and TROUBLE.
        """
        statement_s = 0.0 if is_patient else self.statement_s  # 0: no limit
        return await asyncpg.connect(
            read_dsn(self.dsn_file),
            timeout=_CONNECT_S,
            command_timeout=None if is_patient else statement_s + _CLIENT_MARGIN_S,
            statement_cache_size=300,  # more than there are statements
            server_settings={
                "application_name": "exchange-sidecar",
                "timezone": "UTC",
                "statement_timeout": _millis(statement_s),
                "lock_timeout": _millis(self.lock_s),
                # A process that is frozen inside a transaction must not keep a tenant's row from the others.
                "idle_in_transaction_session_timeout": _millis(_PATIENCE_S if is_patient else self.statement_s),
                "jit": "off",  # small statements: compiling them takes longer than running them
            },
        )


def _millis(duration_s: float) -> str:
    return str(round(duration_s * 1000))


def read_dsn(dsn_file: Path) -> str:
    """Read and check a connection URI.

    Raises:
        SettingsInvalid: naming the file and the rule, never what the file holds.
    """
    try:
        dsn = dsn_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise SettingsInvalid("cannot read the database's URI", details={_SETTING: f"{dsn_file}: {why}"}) from None
    mistake = _mistake(dsn)
    if mistake is not None:
        raise SettingsInvalid("the database's URI breaks rules", details={_SETTING: f"{dsn_file}: {mistake}"})
    return dsn


def _mistake(dsn: str) -> str | None:
    """Say what is wrong with a connection URI, None for nothing; without quoting it."""
    if not dsn:
        return "the file is empty"
    if len(dsn) > _DSN_CHARS_MAX or len(dsn.split()) != 1:
        return "must hold one URI on one line"
    try:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return "is not a URI; characters such as @ : / in a password are written as %40 %3A %2F"
    if parts.scheme not in {"postgresql", "postgres"}:
        return "must begin with postgresql://"
    if not parts.path.strip("/"):
        return "must name a database, as in postgresql://user:password@host/database"
    hosts = {_host(place) for place in parts.netloc.rpartition("@")[2].split(",")}
    hosts |= {_host(place) for value in query.get("host", []) for place in value.split(",")}
    hosts.discard("")
    mode = query.get("sslmode", [None])[-1]
    if mode is not None and mode not in _MODES:
        return f"sslmode must be one of {', '.join(sorted(_MODES))}; the others let an attacker decide"
    if mode is None and not all(host in _LOCAL_HOSTS or host.startswith("/") for host in hosts):
        return "must say sslmode=verify-full (or require, or disable) for a host other than this one"
    return None


def _host(place: str) -> str:
    """Return the host of host:port; a socket's folder stands there with its slashes escaped."""
    place = unquote(place)
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place if place.startswith("/") else place.partition(":")[0]


def is_race(error: BaseException) -> bool:
    """Tell whether a transaction failed only because another one was faster, so that it may go well when run again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _RACES


def translate(error: Exception, what: str) -> StoreUnavailable:
    """Say in our words that the database did not do `what`; PostgreSQL's own words may hold values of rows."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    is_misused = isinstance(error, asyncpg.InterfaceError) and not isinstance(error, asyncpg.ClientConfigurationError)
    if is_misused or sqlstate[:2] in _OUR_FAULTS:
        log.error("store.statement_refused", error=type(error).__name__, sqlstate=sqlstate)
    if isinstance(error, asyncpg.ClientConfigurationError):
        why = "its URI cannot be used; is the file of its sslrootcert there?"
    elif isinstance(error, asyncpg.PostgresError):
        why = f"{type(error).__name__} {sqlstate}".strip()
    elif isinstance(error, TimeoutError | asyncio.TimeoutError):
        why = "it did not answer in time"
    elif isinstance(error, ssl.SSLError):
        why = f"TLS: {error.reason or type(error).__name__}"
    elif isinstance(error, OSError):
        why = error.strerror or type(error).__name__
    else:
        why = type(error).__name__
    return StoreUnavailable(f"the database did not {what}: {why}")
