"""AuditService: who changed what, and when."""

from __future__ import annotations

from typing import Final

import msgspec

from sidecar.api.door import visible_tenants
from sidecar.api.page_tokens import PageTokens
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.gen.ioffice.exchange.v1 import audit_service_pb2 as pb
from sidecar.model.audit import AuditEntry, CallerKind
from sidecar.store.audit import Audit

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
_KINDS: Final = {
    CallerKind.UNIX_SOCKET: pb.AuditCaller.KIND_UNIX_SOCKET,
    CallerKind.LOOPBACK: pb.AuditCaller.KIND_LOOPBACK,
    CallerKind.NETWORK: pb.AuditCaller.KIND_NETWORK,
    CallerKind.SIDECAR: pb.AuditCaller.KIND_SIDECAR,
}


class _Place(msgspec.Struct, array_like=True, frozen=True):
    entry_id: str


class AuditServicer:
    """Shows the audit."""

    def __init__(self, *, audit: Audit) -> None:
        self._audit = audit
        self._page_tokens = PageTokens(_Place, free_fields=("page_size",))

    async def list_audit_entries(self, request: pb.ListAuditEntriesRequest) -> pb.ListAuditEntriesResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("tenant", request.tenant) if request.tenant else None
        start_at = check.instant("start_time", request.start_time) if request.HasField("start_time") else None
        end_at = check.instant("end_time", request.end_time) if request.HasField("end_time") else None
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        place = self._page_tokens.decode(check, request, request.page_token)
        check.finish()
        found = await self._audit.page(
            among=visible_tenants() if tenant_id is None else {tenant_id},
            start_at=start_at,
            end_at=end_at,
            before="" if place is None else place.entry_id,
            count_max=count_max + 1,
        )
        shown = found[:count_max]
        more = self._page_tokens.encode(request, _Place(shown[-1].id)) if len(found) > count_max else ""
        return pb.ListAuditEntriesResponse(entries=map(_entry, shown), next_page_token=more)


def _entry(entry: AuditEntry) -> pb.AuditEntry:
    act = entry.act
    message = pb.AuditEntry(
        id=entry.id,
        method=act.method,
        resource=act.resource,
        caller=pb.AuditCaller(kind=_KINDS[act.caller.kind], address=act.caller.address, identity=act.caller.identity),
        outcome=entry.outcome,
        fields=act.fields,
        values=act.values,
    )
    set_time(message.time, entry.recorded_at)
    return message
