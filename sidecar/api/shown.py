"""Tenants as callers see them: each with how far access has got that was granted to it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.aio.clock import Clock
from sidecar.api.convert import tenant_to_proto
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.tenant import Tenant
from sidecar.store.propagations import Propagations


class TenantDisplay:
    """Shows tenants, in whatever answer."""

    def __init__(self, *, propagations: Propagations, clock: Clock) -> None:
        self._propagations = propagations
        self._clock = clock

    async def show(self, tenant: Tenant) -> pb.Tenant:
        """Write one."""
        (shown,) = await self.show_all([tenant])
        return shown

    async def show_all(self, tenants: Sequence[Tenant]) -> list[pb.Tenant]:
        """Write several, in their order."""
        progress = await self._propagations.progress([tenant.uid for tenant in tenants])
        return [tenant_to_proto(tenant, progress.get(tenant.uid), now=self._clock.now()) for tenant in tenants]
