"""Everything that callers may ask about why something works or does not."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.aio.clock import Clock
from sidecar.diagnosis.asking import TenantAsking
from sidecar.diagnosis.verify import TenantVerifier
from sidecar.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One object for each kind of question."""

    tenants: TenantAsking


def build_diagnosis(*, store: Store, verifier: TenantVerifier, clock: Clock) -> Diagnosis:
    """Put it together."""
    return Diagnosis(tenants=TenantAsking(store=store, verifier=verifier, clock=clock))
