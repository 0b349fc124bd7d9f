"""Everything that is sealed, whatever it is: which keys it needs, and sealing it anew under the primary one.

Credentials in all their roles, the keys of hashes, the client states of subscriptions that were asked for and not answered,
what writes were asked for, and in whose calendars events lie. Records are gone through a page at a time, each page a
transaction of its own, and a record that was changed meanwhile is left as it is: so the service works on as if nothing
happened, and several processes may do this at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sidecar.errors import SecretUnreadable
from sidecar.model.ids import TenantUid
from sidecar.store.engine import Connection, Engine, Transaction
from sidecar.store.organizer_events import ORGANIZER_ROLE
from sidecar.store.settings import HASH_KEY_ROLE
from sidecar.store.subscriptions import CLIENT_STATE_ROLE
from sidecar.store.vault import HEAD_BYTES_MAX, Vault, key_id_of
from sidecar.store.writes import DIGEST_ROLE

T = TypeVar("T")

_PAGE = 100
_NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a kind of sealed record lies.

    Attributes:
        tenant, key: columns that name the tenant, and the record within it.
        role: what a record with a key is bound to.
    """

    table: str
    column: str
    tenant: str
    key: str
    role: Callable[[str], str]


_KINDS = (
    _Kind("credentials", "sealed", "tenant_uid", "role", lambda key: key),
    _Kind("subscriptions", "sealed_state", "tenant_uid", "key", lambda key: CLIENT_STATE_ROLE + key),
    _Kind("tenants", "hash_key", "uid", "uid", lambda _: HASH_KEY_ROLE),
    _Kind("writes", "sealed", "tenant_uid", "uid", lambda key: key),
    _Kind("writes", "digest", "tenant_uid", "uid", lambda key: DIGEST_ROLE + key),
    _Kind("organizer_events", "sealed", "tenant_uid", "write_uid", lambda key: ORGANIZER_ROLE + key),
)


@dataclass(frozen=True, slots=True)
class _Record:
    tenant_uid: TenantUid
    key: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one key still has to open: how many records, and some of the tenants they belong to, by their ids."""

    count: int
    tenant_ids: Sequence[str]


@dataclass(slots=True)
class Resealing:
    """What a run came to: records sealed anew, and records that no key of the ring opens."""

    done_count: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)


class Reader(Protocol):
    """Reading a store; any engine does."""

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that sees one consistent state and writes nothing."""


class SealedRecords:
    """All sealed records of a store."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._is_scrub_due = False

    @property
    def follows_file(self) -> bool:
        """Whether the key ring may change while it is in use."""
        return self._vault.follows_file

    @property
    def primary(self) -> str:
        """The id of the key that seals now."""
        return self._vault.primary

    @property
    def keys_count(self) -> int:
        """How many keys the ring holds now."""
        return len(self._vault.key_ids)

    async def reseal(self) -> Resealing:
        """Seal everything anew that another key than the primary one has sealed; what was there is scrubbed from the files.

        Raises:
            StoreUnavailable: not everything could be done; doing it again does the rest.
        """
        resealing = Resealing()
        for kind in _KINDS:
            async for page in _pages(self._engine, kind, f"s.{kind.column}"):
                primary = self._vault.primary
                old = [record for record, _ in page if key_id_of(record.sealed) != primary]
                if old:
                    await self._reseal_page(kind, old, resealing)
        if self._is_scrub_due:
            await self._engine.scrub()
            self._is_scrub_due = False
        return resealing

    async def _reseal_page(self, kind: _Kind, old: Sequence[_Record], resealing: Resealing) -> None:
        fresh: list[tuple[str, str, bytes, bytes]] = []
        for record in old:
            role = kind.role(record.key)
            try:
                proof = self._vault.unseal(record.sealed, tenant_uid=record.tenant_uid, role=role)
            except SecretUnreadable:
                resealing.unreadable[key_id_of(record.sealed) or "unknown"] += 1
                continue
            sealed = self._vault.seal(proof, tenant_uid=record.tenant_uid, role=role)
            fresh.append((record.tenant_uid, record.key, record.sealed, sealed))

        async def run(c: Connection) -> int:
            done_count = 0
            for values in fresh:
                done_count += await c.execute(
                    f"UPDATE {kind.table} SET {kind.column} = $4"  # noqa: S608  (ours)
                    f" WHERE {kind.tenant} = $1 AND {kind.key} = $2 AND {kind.column} = $3",
                    *values,
                )
            return done_count

        if fresh:
            self._is_scrub_due = True  # until it is done: a run after one that failed finds nothing left to seal
            resealing.done_count += await self._engine.write(run)


async def load_needs(reader: Reader) -> Mapping[str, Needs]:
    """Return by the id of each key what it still has to open, keys that are in no ring among them."""
    counts: Counter[str] = Counter()
    tenants: dict[str, list[str]] = {}
    for kind in _KINDS:
        async for page in _pages(reader, kind, f"substr(s.{kind.column}, 1, {HEAD_BYTES_MAX})"):
            for record, tenant_id in page:
                key_id = key_id_of(record.sealed) or "unknown"
                counts[key_id] += 1
                named = tenants.setdefault(key_id, [])
                if tenant_id not in named and len(named) < _NAMED_MAX:
                    named.append(tenant_id)
    return {key_id: Needs(count=count, tenant_ids=tenants[key_id]) for key_id, count in sorted(counts.items())}


async def _pages(reader: Reader, kind: _Kind, column: str) -> AsyncIterator[list[tuple[_Record, str]]]:
    """Give all records of a kind with their tenants' ids, in pages, each read by itself."""
    after = ("", "")
    while page := await _page(reader, kind, column, after):
        yield page
        last, _ = page[-1]
        after = (last.tenant_uid, last.key)


async def _page(reader: Reader, kind: _Kind, column: str, after: tuple[str, str]) -> list[tuple[_Record, str]]:
    async def run(c: Connection) -> list[tuple[_Record, str]]:
        found = await c.fetch(
            f"SELECT s.{kind.tenant}, s.{kind.key}, {column}, t.tenant_id"  # noqa: S608  (ours)
            f" FROM {kind.table} s JOIN tenants t ON t.uid = s.{kind.tenant}"
            f" WHERE s.{kind.column} IS NOT NULL AND length(s.{kind.column}) > 0"
            f" AND (s.{kind.tenant} > $1 OR (s.{kind.tenant} = $1 AND s.{kind.key} > $2))"
            f" ORDER BY s.{kind.tenant}, s.{kind.key} LIMIT {_PAGE}",
            *after,
        )
        return [(_Record(TenantUid(row[0]), row[1], bytes(row[2])), row[3]) for row in found]

    return await reader.read(run)
