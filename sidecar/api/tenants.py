"""TenantService: the customers' organisations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from sidecar.aio.clock import Clock
from sidecar.api.boundary import Send, answering_s
from sidecar.api.convert import check_to_proto, cloud_from_proto
from sidecar.api.credentials import CredentialCalls
from sidecar.api.door import visible_tenants
from sidecar.api.page_tokens import PageTokens
from sidecar.api.shown import TenantDisplay
from sidecar.api.tenant_settings import FIELDS, read_settings
from sidecar.api.tenant_watch import TenantWatching
from sidecar.api.validate import Check
from sidecar.diagnosis.asking import TenantAsking
from sidecar.errors import TenantNotFound
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.ids import TenantId
from sidecar.model.tenant import Tenant
from sidecar.model.tenant_settings import NO_SETTINGS
from sidecar.onboarding.kit import KIT_ROOMS_MAX, KitValues, build_kit, fits_into_a_kit
from sidecar.store.lifecycle import Lifecycle
from sidecar.store.rooms import Rooms
from sidecar.store.tenants import Change, Tenants
from sidecar.tenants.register import TenantValues, register_tenant

_PAGE_DEFAULT, _PAGE_MAX = 50, 500
_REASON_CHARS_MAX = 200
_PATHS_MAX = 50
"""Several times as many as there are fields."""


class _Place(msgspec.Struct, array_like=True, frozen=True):
    tenant_id: str


class TenantServicer:
    """Registers, shows, watches, changes, suspends and deletes tenants, replaces credentials, and writes kits."""

    def __init__(
        self,
        *,
        tenants: Tenants,
        lifecycle: Lifecycle,
        rooms: Rooms,
        display: TenantDisplay,
        credential_calls: CredentialCalls,
        asking: TenantAsking,
        watching: TenantWatching,
        clock: Clock,
        grace: timedelta,
    ) -> None:
        self._tenants = tenants
        self._lifecycle = lifecycle
        self._grace = grace
        self._display = display
        self._credential_calls = credential_calls
        self._rooms = rooms
        self._asking = asking
        self._watching = watching
        self._clock = clock
        self._page_tokens = PageTokens(_Place, free_fields=("page_size",))

    async def register_tenant(self, request: pb.RegisterTenantRequest) -> pb.RegisterTenantResponse:
        """See the proto."""
        check = Check()
        values = await self._read_values(check, request)
        check.finish()
        tenant = await register_tenant(self._tenants, values)
        return pb.RegisterTenantResponse(tenant=await self._display.show(tenant))

    async def _read_values(self, check: Check, request: pb.RegisterTenantRequest) -> TenantValues:
        tenant = request.tenant
        check.choice("tenant.cloud", tenant.cloud, pb.Cloud.values())
        return TenantValues(
            tenant_id=TenantId(check.new_id("tenant_id", request.tenant_id)),
            display_name=check.display_name("tenant.display_name", tenant.display_name),
            directory_id=check.guid("tenant.directory_id", tenant.directory_id),
            cloud=cloud_from_proto(tenant.cloud),
            credential=await self._credential_calls.read(check, request.credential),
            settings=read_settings(check, "tenant.settings", tenant.settings)(NO_SETTINGS)
            if tenant.HasField("settings")
            else None,
        )

    async def rotate_tenant_credential(
        self, request: pb.RotateTenantCredentialRequest
    ) -> pb.RotateTenantCredentialResponse:
        """See the proto."""
        return await self._credential_calls.rotate(request)

    async def set_credential_expiry(self, request: pb.SetCredentialExpiryRequest) -> pb.SetCredentialExpiryResponse:
        """See the proto."""
        return await self._credential_calls.set_expiry(request)

    async def get_tenant(self, request: pb.GetTenantRequest) -> pb.GetTenantResponse:
        """See the proto. A deleted tenant is shown as DELETED until it is erased."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        check.finish()
        return pb.GetTenantResponse(tenant=await self._display.show(await self._tenants.load(tenant_id)))

    async def list_tenants(self, request: pb.ListTenantsRequest) -> pb.ListTenantsResponse:
        """See the proto."""
        check = Check()
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        place = self._page_tokens.decode(check, request, request.page_token)
        check.finish()
        after = TenantId("" if place is None else place.tenant_id)
        found = await self._tenants.page(
            after=after, count_max=count_max + 1, show_deleted=request.show_deleted, among=visible_tenants()
        )
        shown = found[:count_max]
        more = self._page_tokens.encode(request, _Place(shown[-1].tenant_id)) if len(found) > count_max else ""
        return pb.ListTenantsResponse(tenants=await self._display.show_all(shown), next_page_token=more)

    async def update_tenant(self, request: pb.UpdateTenantRequest) -> pb.UpdateTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("tenant.name", request.tenant.name)
        etag = check.etag("etag", request.etag)
        change = _read_change(check, request)
        check.finish()
        return pb.UpdateTenantResponse(
            tenant=await self._display.show(await self._tenants.update(tenant_id, change, etag=etag))
        )

    async def delete_tenant(self, request: pb.DeleteTenantRequest) -> pb.DeleteTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        etag = check.etag("etag", request.etag)
        check.finish()
        try:
            grace = None if request.purge or not self._grace else self._grace
            tenant = await self._lifecycle.delete(tenant_id, etag=etag, grace=grace)
        except TenantNotFound:
            if request.allow_missing:
                return pb.DeleteTenantResponse()
            raise
        return pb.DeleteTenantResponse(tenant=await self._display.show(tenant))

    async def verify_tenant(self, request: pb.VerifyTenantRequest) -> pb.VerifyTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        check.finish()
        verified = await self._asking.verify(tenant_id, budget_s=answering_s(self._clock))
        return pb.VerifyTenantResponse(
            tenant=await self._display.show(verified.tenant),
            checks=[check_to_proto(found) for found in verified.checks],
        )

    async def undelete_tenant(self, request: pb.UndeleteTenantRequest) -> pb.UndeleteTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        check.finish()
        return pb.UndeleteTenantResponse(tenant=await self._display.show(await self._lifecycle.undelete(tenant_id)))

    async def suspend_tenant(self, request: pb.SuspendTenantRequest) -> pb.SuspendTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        reason = check.text("reason", request.reason, _REASON_CHARS_MAX)
        check.finish()
        return pb.SuspendTenantResponse(
            tenant=await self._display.show(await self._lifecycle.suspend(tenant_id, reason=reason))
        )

    async def resume_tenant(self, request: pb.ResumeTenantRequest) -> pb.ResumeTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        check.finish()
        return pb.ResumeTenantResponse(tenant=await self._display.show(await self._lifecycle.resume(tenant_id)))

    async def watch_tenant(self, request: pb.WatchTenantRequest, send: Send) -> None:
        """See the proto."""
        await self._watching.watch(request, send)

    async def get_onboarding_kit(self, request: pb.GetOnboardingKitRequest) -> pb.GetOnboardingKitResponse:
        """See the proto."""
        check = Check()
        wanted = _read_kit_values(check, request)
        check.finish()
        values = wanted
        try:
            tenant = await self._tenants.load(TenantId(wanted.tenant_id))
        except TenantNotFound:
            if not request.directory_id:
                raise
        else:
            if request.directory_id and wanted.directory_id != tenant.directory_id:
                check.refuse("directory_id", "is not the directory of this tenant")
            _, rooms = await self._rooms.load_all(tenant.uid)
            mapped = sorted(room.mailbox for room in rooms)
            values = _kit_values_of(tenant, [*mapped, *wanted.mailboxes])
        if not fits_into_a_kit(values.mailboxes):
            check.refuse(
                "mailboxes", f"make more than {KIT_ROOMS_MAX} rooms with those that are mapped, or are too long"
            )
        check.finish()
        kit = build_kit(values)
        return pb.GetOnboardingKitResponse(
            guide=kit.guide, script=kit.script, script_name=kit.script_name, mailboxes=kit.mailboxes
        )


def _read_kit_values(check: Check, request: pb.GetOnboardingKitRequest) -> KitValues:
    """Read what a kit for a tenant that is not registered is made of."""
    check.choice("cloud", request.cloud, pb.Cloud.values())
    if len(request.mailboxes) > KIT_ROOMS_MAX:
        check.refuse("mailboxes", f"must have {KIT_ROOMS_MAX} entries at most")
    mailboxes = [check.mailbox(f"mailboxes[{at}]", given) for at, given in enumerate(request.mailboxes[:KIT_ROOMS_MAX])]
    return KitValues(
        tenant_id=check.tenant("name", request.name),
        display_name=check.display_name("display_name", request.display_name),
        directory_id=check.guid("directory_id", request.directory_id) if request.directory_id else "",
        cloud=cloud_from_proto(request.cloud),
        application_id=None,
        mailboxes=mailboxes,
    )


def _kit_values_of(tenant: Tenant, mailboxes: Sequence[str]) -> KitValues:
    return KitValues(
        tenant_id=tenant.tenant_id,
        display_name=tenant.display_name,
        directory_id=tenant.directory_id,
        cloud=tenant.cloud,
        application_id=tenant.credential.application_id,
        mailboxes=mailboxes,
    )


def _read_change(check: Check, request: pb.UpdateTenantRequest) -> Change:
    paths = set(request.update_mask.paths)
    if not paths:
        check.refuse("update_mask", "must name at least one field")
    if len(request.update_mask.paths) > _PATHS_MAX:
        check.refuse("update_mask", f"must have {_PATHS_MAX} paths at most")
    known = {"display_name", "settings", *(f"settings.{name}" for name in FIELDS)}
    if paths - known:
        check.refuse("update_mask", f"names fields that cannot be changed; possible are {', '.join(sorted(known))}")
    given = request.tenant
    names = FIELDS if "settings" in paths else [name for name in FIELDS if f"settings.{name}" in paths]
    amend = read_settings(check, "tenant.settings", given.settings, names)
    if "display_name" not in paths:
        return lambda display_name, settings: (display_name, amend(settings))
    new_name = check.display_name("tenant.display_name", given.display_name)
    return lambda _, settings: (new_name, amend(settings))
