"""Everything that callers may ask about why something works or does not."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.aio.clock import Clock
from sidecar.diagnosis.asking import TenantAsking
from sidecar.diagnosis.reserve import ReserveTest
from sidecar.diagnosis.rooms import Reader, RoomAsking
from sidecar.diagnosis.verify import TenantVerifier, Tokens
from sidecar.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One object for each kind of question."""

    tenants: TenantAsking
    rooms: RoomAsking


def build_diagnosis(
    *,
    store: Store,
    verifier: TenantVerifier,
    tokens: Tokens,
    reader: Reader,
    reserve: ReserveTest,
    clock: Clock,
) -> Diagnosis:
    """Put it together."""
    return Diagnosis(
        tenants=TenantAsking(store=store, verifier=verifier, clock=clock),
        rooms=RoomAsking(store=store, tokens=tokens, reader=reader, reserve=reserve, clock=clock),
    )
