"""Everything that callers may ask about why something works or does not."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sidecar.aio.clock import Clock
from sidecar.diagnosis.asking import TenantAsking
from sidecar.diagnosis.reports import Reports, TellTime
from sidecar.diagnosis.reserve import ReserveTest
from sidecar.diagnosis.rooms import Reader, RoomAsking
from sidecar.diagnosis.verify import TenantVerifier, Tokens
from sidecar.diagnosis.webhook import Caller
from sidecar.model.room import freshness_limits
from sidecar.settings import Settings
from sidecar.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One object for each kind of question."""

    tenants: TenantAsking
    rooms: RoomAsking
    reports: Reports


def build_diagnosis(
    *,
    store: Store,
    store_id: str,
    verifier: TenantVerifier,
    tokens: Tokens,
    reader: Reader,
    reserve: ReserveTest,
    caller: Caller,
    tell_time: TellTime,
    settings: Settings,
    clock: Clock,
    rng: Random,
) -> Diagnosis:
    """Put it together."""
    tenants = TenantAsking(store=store, verifier=verifier, clock=clock)
    rooms = RoomAsking(store=store, tokens=tokens, reader=reader, reserve=reserve, clock=clock)
    reports = Reports(
        store=store,
        store_id=store_id,
        tenants=tenants,
        rooms=rooms,
        reader=reader,
        caller=caller,
        tell_time=tell_time,
        # With a word in its path only the database knows the whole address: workers, who know the word, announce it.
        public_url=None if settings.webhook.path_secrets_file else settings.webhook.public_url,
        limits=freshness_limits(settings.sync),
        clock=clock,
        rng=rng,
    )
    return Diagnosis(tenants=tenants, rooms=rooms, reports=reports)
