"""The sync client: `client` without `async`, over gRPC's threads. A test keeps the two alike."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import grpc

from exchange_client import requests, times
from exchange_client.channel import ASKING_TIMEOUT_S, DEFAULT_TIMEOUT_S, BearerToken
from exchange_client.clock import SyncClock
from exchange_client.gen.ioffice.exchange.v1 import (
    audit_service_pb2_grpc,
    diagnostics_service_pb2_grpc,
    room_service_pb2_grpc,
    tenant_service_pb2_grpc,
    watch_service_pb2_grpc,
)
from exchange_client.messages import (
    AuditEntry,
    CheckRoomAccessRequest,
    CheckRoomAccessResponse,
    Cloud,
    Credential,
    DeleteTenantRequest,
    DiagnoseRoomRequest,
    DiagnoseRoomResponse,
    DiagnoseTenantRequest,
    DiagnoseTenantResponse,
    DiscoverRoomsRequest,
    GapPolicy,
    GetOnboardingKitRequest,
    GetOnboardingKitResponse,
    GetRoomRequest,
    GetTenantRequest,
    ListRoomsRequest,
    ListTenantsRequest,
    MapRoomRequest,
    ReadChangesResponse,
    ResumeTenantRequest,
    ResyncRoomRequest,
    Room,
    RotateTenantCredentialRequest,
    RotateTenantCredentialResponse,
    SuspendTenantRequest,
    SyncState,
    Tenant,
    TenantSettings,
    UndeleteTenantRequest,
    UnmapRoomRequest,
    UnmapRoomResponse,
    VerifyTenantRequest,
    VerifyTenantResponse,
    WatchRoomRequest,
    WatchRoomResponse,
    WatchRoomsRequest,
    WatchRoomsResponse,
    WatchTenantRequest,
    WatchTenantResponse,
)
from exchange_client.requests import DiscoveredRooms, MapOutcome
from exchange_client.sync_bookings import SyncBookingCalls
from exchange_client.sync_tasks import SyncTaskCalls
from exchange_client.sync_watch import SyncWatch
from exchange_client.tokens import TokenStore
from exchange_client.watching import HEARTBEAT_S, Backoff, OnRetry


class SyncExchangeClient(SyncBookingCalls, SyncTaskCalls):
    """Talks to one Exchange sidecar.

        with SyncExchangeClient.connect("unix:///run/exchange/exchange.sock") as client:
            room = client.get_room(names.room("acme", "r1"))

    Every method raises a subclass of ExchangeError when the call fails, and takes `timeout_s` (seconds, for one call; for
    one page where pages are read) in place of the client's own. Reads wait for the connection within that time; writes fail
    at once with Unavailable when there is none. All calls are safe to repeat; none is repeated without being asked, but
    those that write bookings: these are sent again, under one request id, until they are answered or their time is over.

    Attributes:
        timeout_s: deadline of a call in seconds, unless told otherwise; may be set at any time.
    """

    def __init__(
        self,
        connection: grpc.Channel,
        *,
        token: BearerToken = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        backoff: Backoff | None = None,
        clock: SyncClock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take over a channel; see `connect` for the usual way. `clock` and `rng` are for tests."""
        super().__init__(connection, token=token, timeout_s=timeout_s, backoff=backoff, clock=clock, rng=rng)
        self._audit = audit_service_pb2_grpc.AuditServiceStub(connection)
        self._tenants = tenant_service_pb2_grpc.TenantServiceStub(connection)
        self._rooms = room_service_pb2_grpc.RoomServiceStub(connection)
        self._watches = watch_service_pb2_grpc.WatchServiceStub(connection)
        self._diagnostics = diagnostics_service_pb2_grpc.DiagnosticsServiceStub(connection)

    # Tenants

    def register_tenant(
        self,
        tenant_id: str,
        *,
        directory_id: str,
        application_id: str,
        client_secret: str | None = None,
        certificate_pem: bytes | None = None,
        expire_at: datetime | None = None,
        display_name: str = "",
        cloud: Cloud.ValueType = Cloud.CLOUD_UNSPECIFIED,
        settings: TenantSettings | None = None,
        credential: Credential | None = None,
        timeout_s: float | None = None,
    ) -> Tenant:
        """Register a customer's organisation, or replace its credential; `Tenant.state` tells whether it works.

        Args:
            tenant_id: the caller's own id; the tenant becomes `names.tenant(tenant_id)`.
            directory_id: directory (tenant) id in Microsoft Entra.
            application_id: application (client) id of the app registration.
            client_secret: the secret's value; either this or `certificate_pem`.
            certificate_pem: PEM text of certificate and unencrypted private key.
            expire_at: when the secret runs out, if known; aware.
            settings: what holds for this organisation alone; None: as they are, or the defaults.
            credential: instead of secret and certificate: a credential of any kind, from `requests.make_credential`.
        Raises:
            ValueError: no proof, or both.
            AlreadyExists: the id is in use for another directory or application.
        """
        request = requests.register_tenant(
            tenant_id,
            directory_id=directory_id,
            application_id=application_id,
            client_secret=client_secret,
            certificate_pem=certificate_pem,
            expire_at=expire_at,
            display_name=display_name,
            cloud=cloud,
            settings=settings,
            credential=credential,
        )
        return (self._write(self._tenants.RegisterTenant, request, timeout_s)).tenant

    def get_tenant(self, name: str, *, timeout_s: float | None = None) -> Tenant:
        """Read a tenant."""
        return (self._read(self._tenants.GetTenant, GetTenantRequest(name=name), timeout_s)).tenant

    def list_tenants(self, *, show_deleted: bool = False, timeout_s: float | None = None) -> Iterator[Tenant]:
        """Go through all tenants by name, deleted ones only if asked; pages are read as needed."""
        request = ListTenantsRequest(show_deleted=show_deleted)
        while True:
            page = self._read(self._tenants.ListTenants, request, timeout_s)
            yield from page.tenants
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_tenant(
        self,
        name: str,
        *,
        display_name: str | None = None,
        settings: TenantSettings | None = None,
        reset: Iterable[str] = (),
        etag: str = "",
        timeout_s: float | None = None,
    ) -> Tenant:
        """Change a tenant's display name or settings.

        Args:
            settings: the fields that are set in it change; others stay as they are.
            reset: names of settings that go back to their defaults, such as "past_days".
            etag: change only this version.
        Raises:
            NotFound: there is no such tenant.
            Conflict: it is another version by now.
        """
        request = requests.update_tenant(name, display_name=display_name, settings=settings, reset=reset, etag=etag)
        return (self._write(self._tenants.UpdateTenant, request, timeout_s)).tenant

    def rotate_tenant_credential(
        self, name: str, credential: Credential, *, request_id: str = "", timeout_s: float | None = None
    ) -> RotateTenantCredentialResponse:
        """Replace a tenant's credential without a gap; `outcome` tells how far it came, and it may be repeated.

        The sidecar waits up to 20 s for the proof unless it is set otherwise, so the deadline is 40 s unless given.

        Args:
            credential: from `requests.make_credential`.
            request_id: the caller's name for this rotation.
        """
        request = RotateTenantCredentialRequest(name=name, credential=credential, request_id=request_id)
        limit_s = requests.ROTATE_TIMEOUT_S if timeout_s is None else timeout_s
        return self._write(self._tenants.RotateTenantCredential, request, limit_s)

    def set_credential_expiry(
        self, name: str, *, expire_at: datetime | None, fingerprint: str = "", timeout_s: float | None = None
    ) -> Tenant:
        """Say when a tenant's secret runs out, without handing it over again; None: it is not known.

        Args:
            fingerprint: of the credential that is meant; empty: the current one.
        """
        request = requests.set_credential_expiry(name, expire_at=expire_at, fingerprint=fingerprint)
        return (self._write(self._tenants.SetCredentialExpiry, request, timeout_s)).tenant

    def delete_tenant(
        self,
        name: str,
        *,
        etag: str = "",
        allow_missing: bool = False,
        purge: bool = False,
        timeout_s: float | None = None,
    ) -> Tenant | None:
        """End the service for a tenant; None when it was missing and that is allowed.

        Args:
            purge: erase everything now; otherwise it is kept until `Tenant.purge_time`, and can be undeleted.
        """
        request = DeleteTenantRequest(name=name, etag=etag, allow_missing=allow_missing, purge=purge)
        response = self._write(self._tenants.DeleteTenant, request, timeout_s)
        return response.tenant if response.HasField("tenant") else None

    def verify_tenant(self, name: str, *, timeout_s: float = ASKING_TIMEOUT_S) -> VerifyTenantResponse:
        """Have Microsoft asked now about a tenant; its state is renewed by what it finds.

        Returns:
            The tenant as it is then, and what each check found. What they find is no error of the call.
        """
        return self._read(self._tenants.VerifyTenant, VerifyTenantRequest(name=name), timeout_s)

    def undelete_tenant(self, name: str, *, timeout_s: float | None = None) -> Tenant:
        """Bring a deleted tenant back; watches of its rooms begin with new snapshots."""
        return (self._write(self._tenants.UndeleteTenant, UndeleteTenantRequest(name=name), timeout_s)).tenant

    def suspend_tenant(self, name: str, *, reason: str = "", timeout_s: float | None = None) -> Tenant:
        """Have nothing asked of Exchange for a tenant until it is resumed; its copy is kept and gets older."""
        request = SuspendTenantRequest(name=name, reason=reason)
        return (self._write(self._tenants.SuspendTenant, request, timeout_s)).tenant

    def resume_tenant(self, name: str, *, timeout_s: float | None = None) -> Tenant:
        """End a suspension; every room is read in full."""
        return (self._write(self._tenants.ResumeTenant, ResumeTenantRequest(name=name), timeout_s)).tenant

    def get_onboarding_kit(
        self,
        name: str,
        *,
        directory_id: str = "",
        cloud: Cloud.ValueType = Cloud.CLOUD_UNSPECIFIED,
        display_name: str = "",
        mailboxes: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> GetOnboardingKitResponse:
        """Get the guide and the script for the customer's administrator, filled in with the tenant's own values.

        Args:
            name: the tenant; it need not be registered yet, if `directory_id` is given.
            directory_id: directory (tenant) id in Microsoft Entra.
            cloud, display_name: of a tenant that is not registered yet.
            mailboxes: addresses of rooms besides those that are mapped.
        """
        request = GetOnboardingKitRequest(
            name=name, directory_id=directory_id, cloud=cloud, display_name=display_name, mailboxes=mailboxes
        )
        return self._read(self._tenants.GetOnboardingKit, request, timeout_s)

    def watch_tenant(
        self, name: str, *, heartbeat_s: float = HEARTBEAT_S, watcher_id: str = "", on_retry: OnRetry | None = None
    ) -> SyncWatch[WatchTenantResponse]:
        """Watch where a tenant stands: each message is the whole of it, so there is nothing to resume. See `SyncWatch`."""
        request = WatchTenantRequest(
            name=name, heartbeat_interval=times.to_duration(heartbeat_s), watcher_id=watcher_id
        )
        return self._watch(
            lambda _: self._tenants.WatchTenant(request, metadata=self._metadata()),
            name=name,
            resume_token="",
            store=None,
            heartbeat_s=heartbeat_s,
            on_retry=on_retry,
        )

    def list_audit_entries(
        self,
        tenant: str = "",
        *,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[AuditEntry]:
        """Go through the administrative calls, the newest first; pages are read as needed.

        Args:
            tenant: only those about this tenant; empty: all.
            start_at, end_at: only those from then on, and before then; aware.
        """
        request = requests.list_audit_entries(tenant, start_at, end_at)
        while True:
            page = self._read(self._audit.ListAuditEntries, request, timeout_s)
            yield from page.entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    # Rooms

    def map_room(
        self,
        parent: str,
        room_id: str,
        mailbox: str,
        *,
        display_name: str = "",
        time_zone: str = "",
        capacity: int = 0,
        annotations: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Room:
        """Tie a room to its mailbox; `Room.state` tells the progress. For the arguments see `room_mapping`.

        Raises:
            AlreadyExists: the room has another mailbox, or the mailbox another room.
        """
        mapping = requests.room_mapping(
            room_id,
            mailbox,
            display_name=display_name,
            time_zone=time_zone,
            capacity=capacity,
            annotations=annotations,
        )
        return (self._write(self._rooms.MapRoom, requests.map_room(parent, mapping), timeout_s)).room

    def map_rooms(
        self, parent: str, rooms: Iterable[MapRoomRequest] | Mapping[str, str], *, timeout_s: float | None = None
    ) -> list[MapOutcome]:
        """Map any number of rooms, 200 to a call; what stands in the way of one room does not touch the others.

        Args:
            parent: the tenant.
            rooms: room id -> mailbox, or results of `room_mapping`.
        Returns:
            One outcome for each room, in their order.
        Raises:
            ExchangeError: a call failed as a whole; earlier ones have taken effect. Repeat with all rooms.
        """
        outcomes: list[MapOutcome] = []
        for request in requests.map_rooms(parent, rooms):
            response = self._write(self._rooms.BatchMapRooms, request, timeout_s)
            outcomes.extend(requests.map_outcomes(request, response))
        return outcomes

    def get_room(self, name: str, *, timeout_s: float | None = None) -> Room:
        """Read a room."""
        return (self._read(self._rooms.GetRoom, GetRoomRequest(name=name), timeout_s)).room

    def list_rooms(
        self, parent: str, *, sync_states: Sequence[SyncState.ValueType] = (), timeout_s: float | None = None
    ) -> Iterator[Room]:
        """Go through a tenant's rooms by name, those in some states only if wanted; pages are read as needed."""
        request = ListRoomsRequest(parent=parent, sync_states=sync_states)
        while True:
            page = self._read(self._rooms.ListRooms, request, timeout_s)
            yield from page.rooms
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_room(
        self,
        name: str,
        *,
        mailbox: str | None = None,
        display_name: str | None = None,
        time_zone: str | None = None,
        capacity: int | None = None,
        annotations: Mapping[str, str] | None = None,
        allow_other_mailbox: bool = False,
        etag: str = "",
        timeout_s: float | None = None,
    ) -> Room:
        """Change what is given of a room, and nothing else.

        Args:
            mailbox: another address of the room's mailbox: its copy and its watchers go on.
            time_zone: empty: the mailbox's own.
            annotations: all of them.
            allow_other_mailbox: the address may lead to another mailbox, whose calendar then takes the place of the copy.
            etag: change only this version.
        Raises:
            ValueError: nothing is given.
            ExchangeError: with the reason MAILBOX_DIFFERS when the address does not lead to the room's mailbox, or cannot be
                shown to.
        """
        request = requests.update_room(
            name,
            mailbox=mailbox,
            display_name=display_name,
            time_zone=time_zone,
            capacity=capacity,
            annotations=annotations,
            allow_other_mailbox=allow_other_mailbox,
            etag=etag,
        )
        return (self._write(self._rooms.UpdateRoom, request, timeout_s)).room

    def discover_rooms(
        self, parent: str, *, unmapped_only: bool = False, query: str = "", timeout_s: float | None = None
    ) -> DiscoveredRooms:
        """Read all room mailboxes that the organisation has, mapped or not, as Microsoft's list of places tells them.

        Args:
            unmapped_only: only those that no room is mapped to.
            query: only those whose address, name, building or floor holds this text.
        """
        found = DiscoveredRooms()
        request = DiscoverRoomsRequest(parent=parent, unmapped_only=unmapped_only, query=query)
        while True:
            page = self._read(self._rooms.DiscoverRooms, request, timeout_s)
            found.add(page)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def unmap_room(
        self,
        name: str,
        *,
        etag: str = "",
        allow_missing: bool = False,
        bookings: UnmapRoomRequest.Bookings.ValueType = UnmapRoomRequest.BOOKINGS_LEFT_SCOPE,
        timeout_s: float | None = None,
    ) -> UnmapRoomResponse:
        """Take the tie of a room to its mailbox away; the mailbox is left alone.

        Args:
            bookings: whether watchers are told of each booking, or of the room alone.
        """
        request = UnmapRoomRequest(name=name, etag=etag, allow_missing=allow_missing, bookings=bookings)
        return self._write(self._rooms.UnmapRoom, request, timeout_s)

    def check_room_access(
        self,
        name: str = "",
        *,
        parent: str = "",
        mailbox: str = "",
        include_write: bool = False,
        timeout_s: float = ASKING_TIMEOUT_S,
    ) -> CheckRoomAccessResponse:
        """Have Exchange asked now what the app may do with a mailbox.

        Args:
            name: a mapped room; or else
            parent, mailbox: a tenant and the address of one of its mailboxes, mapped or not.
            include_write: also book one minute far ahead in the room's own calendar, and remove it.
        Returns:
            What each check found. What they find is no error of the call.
        """
        request = CheckRoomAccessRequest(name=name, parent=parent, mailbox=mailbox, include_write=include_write)
        return self._read(self._rooms.CheckRoomAccess, request, timeout_s)

    def resync_room(self, name: str, *, timeout_s: float | None = None) -> Room:
        """Have the whole calendar read anew; every watcher gets a new snapshot. Returns at once."""
        return (self._write(self._rooms.ResyncRoom, ResyncRoomRequest(name=name), timeout_s)).room

    # Diagnostics

    def diagnose_tenant(self, name: str, *, timeout_s: float = ASKING_TIMEOUT_S) -> DiagnoseTenantResponse:
        """Get all that is known of a tenant, and what Microsoft says to it now."""
        return self._read(self._diagnostics.DiagnoseTenant, DiagnoseTenantRequest(name=name), timeout_s)

    def diagnose_room(
        self, name: str, *, booking: str = "", timeout_s: float = ASKING_TIMEOUT_S
    ) -> DiagnoseRoomResponse:
        """Get all that is known of a room, what Exchange says of it now, and why one of its bookings looks as it does."""
        request = DiagnoseRoomRequest(name=name, booking=booking)
        return self._read(self._diagnostics.DiagnoseRoom, request, timeout_s)

    # Changes

    def read_changes(
        self,
        parent: str,
        resume_token: str,
        *,
        page_size: int = 0,
        max_wait_s: float = 0.0,
        timeout_s: float | None = None,
    ) -> ReadChangesResponse:
        """Read one page of changes, for callers that cannot hold a watch.

        Args:
            parent: a room or a tenant.
            resume_token: from `list_bookings`, a watch of the same scope, or the page before.
            page_size: at most this many; 0: the server's default.
            max_wait_s: wait so long for a first change, at most 50; the deadline is extended by it.
        Raises:
            GapError: the token is too old. List again, then go on from the listing's token.
        """
        request = requests.read_changes(parent, resume_token, page_size, max_wait_s)
        limit_s = (self.timeout_s if timeout_s is None else timeout_s) + max_wait_s
        return self._read(self._watches.ReadChanges, request, limit_s)

    def watch_room(
        self,
        room: str,
        *,
        resume_token: str = "",
        token_store: TokenStore | None = None,
        gap_policy: GapPolicy.ValueType = GapPolicy.GAP_POLICY_SNAPSHOT,
        heartbeat_s: float = HEARTBEAT_S,
        watcher_id: str = "",
        on_retry: OnRetry | None = None,
    ) -> SyncWatch[WatchRoomResponse]:
        """Watch one room: a snapshot, then changes, for as long as the room is mapped. See `SyncWatch`.

        Args:
            room: its name.
            resume_token: where to begin; empty: with a snapshot.
            token_store: keeps the token from run to run under the room's name; one found there replaces `resume_token`.
            gap_policy: what the server does when the token is too old: send a snapshot, or fail with GapError.
            heartbeat_s: time between messages on a quiet stream, 5 to 60; after three of silence the watch calls anew.
            watcher_id: shown in the service's diagnostics.
            on_retry: told of each failure that the watch gets over, and of the seconds until it calls again.
        """

        options = partial(requests.watch_options, gap_policy=gap_policy, heartbeat_s=heartbeat_s, watcher_id=watcher_id)
        return self._watch(
            lambda token: self._watches.WatchRoom(
                WatchRoomRequest(room=room, options=options(token)), metadata=self._metadata()
            ),
            name=room,
            resume_token=resume_token,
            store=token_store,
            heartbeat_s=heartbeat_s,
            on_retry=on_retry,
        )

    def watch_rooms(
        self,
        parent: str,
        rooms: Sequence[str] = (),
        *,
        resume_token: str = "",
        token_store: TokenStore | None = None,
        gap_policy: GapPolicy.ValueType = GapPolicy.GAP_POLICY_SNAPSHOT,
        heartbeat_s: float = HEARTBEAT_S,
        watcher_id: str = "",
        on_retry: OnRetry | None = None,
    ) -> SyncWatch[WatchRoomsResponse]:
        """Watch all rooms of a tenant, also those mapped later, or some of them, on one stream. See `SyncWatch`.

        Args:
            parent: the tenant.
            rooms: names of the rooms, at most 1000; empty: all.
            token_store: keeps the token under the tenant's name, if need be with a hash of `rooms`.
            others: as for `watch_room`.
        """
        chosen = requests.checked_rooms(rooms)

        options = partial(requests.watch_options, gap_policy=gap_policy, heartbeat_s=heartbeat_s, watcher_id=watcher_id)
        return self._watch(
            lambda token: self._watches.WatchRooms(
                WatchRoomsRequest(parent=parent, rooms=chosen, options=options(token)), metadata=self._metadata()
            ),
            name=requests.watch_name(parent, chosen),
            resume_token=resume_token,
            store=token_store,
            heartbeat_s=heartbeat_s,
            on_retry=on_retry,
        )
