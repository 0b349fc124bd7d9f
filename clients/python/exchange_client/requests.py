"""Builds the requests of both clients; pure. What a method of a client takes is decided here, once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.field_mask_pb2 import FieldMask

from exchange_client import times
from exchange_client.messages import (
    BatchMapRoomsRequest,
    BatchMapRoomsResponse,
    Booking,
    Cloud,
    Credential,
    DiscoveredRoom,
    DiscoverRoomsResponse,
    GapPolicy,
    ListAuditEntriesRequest,
    ListBookingsRequest,
    ListBookingsResponse,
    MapRoomRequest,
    PfxCertificate,
    Problem,
    ReadChangesRequest,
    RegisterTenantRequest,
    Room,
    SetCredentialExpiryRequest,
    SyncStatus,
    Tenant,
    TenantSettings,
    UpdateRoomRequest,
    UpdateTenantRequest,
    WatchOptions,
)

BATCH_ROOMS_MAX = 200
"""Rooms that one BatchMapRooms takes, as its proto says."""

ROTATE_TIMEOUT_S = 40.0
"""RotateTenantCredential waits by itself, 20 s unless the sidecar is set otherwise."""

LIST_PAGE_SIZE = 1000
"""The largest page ListBookings gives: whoever wants all of them wants few calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingList:
    """A complete listing.

    Attributes:
        bookings: all of them, by start time, then name.
        resume_token: taken before the first page was read: a watch of the same scope from here misses nothing.
        sync: state of the copy when the first page was read: the room's, or the worst of all rooms.
    """

    bookings: list[Booking]
    resume_token: str
    sync: SyncStatus


@dataclass(slots=True, kw_only=True)
class DiscoveredRooms:
    """Room mailboxes of an organisation.

    Attributes:
        rooms: all that were found.
        problem: why Microsoft's list could not be read; `rooms` then holds those that are mapped. None: it was read.
    """

    rooms: list[DiscoveredRoom] = field(default_factory=list)
    problem: Problem | None = None

    def add(self, page: DiscoverRoomsResponse) -> None:
        """Take in the next page."""
        if page.HasField("problem"):
            # Microsoft's list broke off: what is mapped is told from the beginning.
            self.rooms.clear()
            self.problem = page.problem
        self.rooms.extend(page.discovered_rooms)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOutcome:
    """What became of one room in `map_rooms`: either `room` or `problem` is set."""

    room_id: str
    room: Room | None = None
    problem: Problem | None = None


@dataclass(slots=True)
class ListingPages:
    """Puts the pages of a listing together."""

    bookings: list[Booking] = field(default_factory=list)
    first: ListBookingsResponse | None = None

    def add(self, page: ListBookingsResponse) -> None:
        """Add the next page, in order."""
        self.first = self.first or page
        self.bookings.extend(page.bookings)

    def finish(self) -> BookingList:
        """Give the listing. Token and state are the first page's, which promise the least."""
        first = self.first or ListBookingsResponse()
        return BookingList(bookings=self.bookings, resume_token=first.resume_token, sync=first.sync)


def register_tenant(
    tenant_id: str,
    *,
    directory_id: str,
    application_id: str,
    client_secret: str | None,
    certificate_pem: bytes | None,
    expire_at: datetime | None,
    display_name: str,
    cloud: Cloud.ValueType,
    settings: TenantSettings | None,
    credential: Credential | None = None,
) -> RegisterTenantRequest:
    """Build the request; ValueError unless there is exactly one proof."""
    if credential is None:
        credential = make_credential(
            application_id, client_secret=client_secret, certificate_pem=certificate_pem, expire_at=expire_at
        )
    elif client_secret is not None or certificate_pem is not None:
        raise ValueError("give either credential or client_secret or certificate_pem")
    tenant = Tenant(directory_id=directory_id, display_name=display_name, cloud=cloud, settings=settings)
    return RegisterTenantRequest(tenant_id=tenant_id, tenant=tenant, credential=credential)


def make_credential(
    application_id: str,
    *,
    client_secret: str | None = None,
    certificate_pem: bytes | None = None,
    certificate_pfx: bytes | None = None,
    passphrase: str = "",
    token_file: str | None = None,
    expire_at: datetime | None = None,
) -> Credential:
    """Describe a credential for `register_tenant` and `rotate_tenant_credential`; exactly one proof.

    Args:
        application_id: application (client) id of the app registration.
        client_secret: the secret's value.
        certificate_pem: PEM text of certificate and unencrypted private key.
        certificate_pfx: content of a PFX file, which `passphrase` opens.
        token_file: path of the token file of a federated credential, as the sidecar sees it.
        expire_at: when it runs out, if known; aware. A certificate tells by itself.
    Raises:
        ValueError: no proof, or several.
    """
    if sum(proof is not None for proof in (client_secret, certificate_pem, certificate_pfx, token_file)) != 1:
        raise ValueError("give either client_secret or certificate_pem or certificate_pfx or token_file")
    credential = Credential(application_id=application_id)
    if client_secret is not None:
        credential.client_secret = client_secret
    if certificate_pem is not None:
        credential.certificate_pem = certificate_pem
    if certificate_pfx is not None:
        credential.certificate_pfx.CopyFrom(PfxCertificate(content=certificate_pfx, passphrase=passphrase))
    if token_file is not None:
        credential.federated.token_file = token_file
    if expire_at is not None:
        credential.expire_time.CopyFrom(times.to_timestamp(expire_at))
    return credential


def set_credential_expiry(name: str, *, expire_at: datetime | None, fingerprint: str) -> SetCredentialExpiryRequest:
    """Build the request."""
    request = SetCredentialExpiryRequest(name=name, fingerprint=fingerprint)
    if expire_at is not None:
        request.expire_time.CopyFrom(times.to_timestamp(expire_at))
    return request


def update_tenant(
    name: str,
    *,
    display_name: str | None,
    settings: TenantSettings | None,
    reset: Iterable[str],
    etag: str,
) -> UpdateTenantRequest:
    """Build the request: what is given changes, and what `reset` names goes back to its default."""
    tenant = Tenant(name=name, settings=settings)
    paths = [] if display_name is None else ["display_name"]
    if display_name is not None:
        tenant.display_name = display_name
    given = [] if settings is None else [field.name for field, _ in settings.ListFields()]
    paths += [f"settings.{field}" for field in (*given, *reset)]
    return UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=paths), etag=etag)


def room_mapping(
    room_id: str,
    mailbox: str,
    *,
    display_name: str = "",
    time_zone: str = "",
    capacity: int = 0,
    annotations: Mapping[str, str] | None = None,
) -> MapRoomRequest:
    """Describe one room for `map_rooms`.

    Args:
        room_id: the caller's own id of the room, 1 to 63 of [A-Za-z0-9._~-].
        mailbox: address of the room's mailbox.
        time_zone: IANA zone; empty: the mailbox's own.
        capacity: seats; 0 when not known.
        annotations: the caller's own notes, at most 20.
    """
    room = Room(
        mailbox=mailbox,
        display_name=display_name,
        time_zone=time_zone,
        capacity=capacity,
        annotations=dict(annotations or {}),
    )
    return MapRoomRequest(room_id=room_id, room=room)


def map_room(parent: str, mapping: MapRoomRequest) -> MapRoomRequest:
    """Build the request that maps one room of a tenant."""
    return MapRoomRequest(parent=parent, room_id=mapping.room_id, room=mapping.room)


def update_room(
    name: str,
    *,
    mailbox: str | None,
    display_name: str | None,
    time_zone: str | None,
    capacity: int | None,
    annotations: Mapping[str, str] | None,
    allow_other_mailbox: bool,
    etag: str,
) -> UpdateRoomRequest:
    """Build the request that changes what is not None.

    Raises:
        ValueError: nothing is given.
    """
    request = UpdateRoomRequest(room=Room(name=name), allow_other_mailbox=allow_other_mailbox, etag=etag)
    given = {"mailbox": mailbox, "display_name": display_name, "time_zone": time_zone, "capacity": capacity}
    for field_name, value in given.items():
        if value is not None:
            setattr(request.room, field_name, value)
            request.update_mask.paths.append(field_name)
    if annotations is not None:
        request.room.annotations.update(annotations)
        request.update_mask.paths.append("annotations")
    if not request.update_mask.paths:
        raise ValueError("nothing is given that could be changed")
    return request


def map_rooms(parent: str, rooms: Iterable[MapRoomRequest] | Mapping[str, str]) -> Iterator[BatchMapRoomsRequest]:
    """Build as few batches as the limit allows, in order; none for no rooms.

    Args:
        parent: the tenant.
        rooms: results of `room_mapping`, or simply room id -> mailbox.
    """
    described = [room_mapping(*pair) for pair in rooms.items()] if isinstance(rooms, Mapping) else list(rooms)
    for start in range(0, len(described), BATCH_ROOMS_MAX):
        batch = described[start : start + BATCH_ROOMS_MAX]
        yield BatchMapRoomsRequest(parent=parent, requests=[map_room(parent, item) for item in batch])


def map_outcomes(request: BatchMapRoomsRequest, response: BatchMapRoomsResponse) -> Iterator[MapOutcome]:
    """Join the answers of a batch to the rooms asked for."""
    for asked, item in zip(request.requests, response.items, strict=True):
        yield MapOutcome(
            room_id=asked.room_id,
            room=item.room if item.HasField("room") else None,
            problem=item.problem if item.HasField("problem") else None,
        )


def list_bookings(
    parent: str, start_at: datetime, end_at: datetime, *, page_size: int, show_cancelled: bool, read_after_token: str
) -> ListBookingsRequest:
    """Build the request of the first page."""
    return ListBookingsRequest(
        parent=parent,
        window=times.window(start_at, end_at),
        page_size=page_size or LIST_PAGE_SIZE,
        show_cancelled=show_cancelled,
        read_after_token=read_after_token,
    )


def list_audit_entries(tenant: str, start_at: datetime | None, end_at: datetime | None) -> ListAuditEntriesRequest:
    """Build the request of the first page."""
    request = ListAuditEntriesRequest(tenant=tenant)
    if start_at is not None:
        request.start_time.CopyFrom(times.to_timestamp(start_at))
    if end_at is not None:
        request.end_time.CopyFrom(times.to_timestamp(end_at))
    return request


def read_changes(parent: str, resume_token: str, page_size: int, max_wait_s: float) -> ReadChangesRequest:
    """Build the request of one page of changes."""
    request = ReadChangesRequest(parent=parent, resume_token=resume_token, page_size=page_size)
    if max_wait_s > 0:
        request.max_wait.CopyFrom(times.to_duration(max_wait_s))
    return request


def watch_options(
    resume_token: str, *, gap_policy: GapPolicy.ValueType, heartbeat_s: float, watcher_id: str
) -> WatchOptions:
    """Build the options of one attempt to watch."""
    return WatchOptions(
        resume_token=resume_token,
        gap_policy=gap_policy,
        heartbeat_interval=times.to_duration(heartbeat_s),
        watcher_id=watcher_id,
    )


def watch_name(parent: str, rooms: Sequence[str]) -> str:
    """Name a watch in a token store: by its scope, because a token fits no other."""
    if not rooms:
        return parent
    return f"{parent}#{hashlib.sha256(' '.join(sorted(rooms)).encode()).hexdigest()[:16]}"


def checked_rooms(rooms: Sequence[str]) -> list[str]:
    """Give the rooms of a watch back; ValueError for a plain string, which would be read as a list of letters."""
    if isinstance(rooms, str):
        raise ValueError("rooms is a sequence of names, not one name")
    return list(rooms)
