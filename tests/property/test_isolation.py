"""A caller limited to some tenants learns nothing of the others, not even whether they exist.

Every call is made with the names of a tenant that exists and of one that does not, in each place where a request may name
something, and both must look alike to the last byte and ask the store for as much. That holds for calls added later as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from sidecar.api.access import naming_paths, tenants_named
from sidecar.api.server import SERVICES
from sidecar.gen.ioffice.exchange.v1 import audit_service_pb2 as audit_pb
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.window import Window
from sidecar.model.write import WriteKind
from sidecar.store.writes import NewWrite
from tests.support.builders import NOW
from tests.support.callers import bearing, entry, make_token, write
from tests.unit.api.rig import Rig, Told, failing, raw, serving, window_of

ALL, LIMITED = make_token(), make_token()
MINE, OTHER, GHOST = "mine", "other", "ghost"
DAY = Window(NOW, NOW + timedelta(days=1))
FORMS = ("tenants/{}", "tenants/{}/rooms/r1", "tenants/{}/rooms/-", "tenants/{}/rooms/r1/bookings/b1")
TEXTS_NAMING_NOTHING = {
    *("mailbox", "mailboxes", "query", "time_zone", "display_name", "reason", "comment"),
    *("application_id", "directory_id", "client_secret", "passphrase", "token_file", "fingerprint"),
    *("room_id", "request_id", "watcher_id", "etag", "page_token", "resume_token", "read_after_token"),
    *("subject", "body_text", "rrule", "email", "check_in_by"),
    *(
        "uid",
        "action",
        "message",
        "given_mailbox",
        "mailbox_object_id",
        "read_room",
    ),  # of resources; never read from requests
    *("calendar_uid", "hash", "subject_hash", "series_id", "online_meeting_uri"),
}
"""Fields of requests whose texts name nothing of a tenant, or nothing that is looked up by it."""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with two tenants, of which one caller may see one."""
    path = write(tmp_path / "callers.json", [entry("ops", ALL), entry("limited", LIMITED, tenants=[MINE])])
    async with serving(tmp_path, callers_file=path) as rig:
        for tenant_id in (MINE, OTHER):
            tenant = await rig.db.add_tenant(tenant_id)
            await rig.db.add_room("r1", tenant_id=tenant.tenant_id)
        yield rig


def _texts(message: Descriptor, seen: tuple[str, ...] = ()) -> Iterator[FieldDescriptor]:
    """Yield all texts of a message and of what it holds."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield field
        kind = field.message_type
        if kind is not None and kind.full_name not in seen and not kind.full_name.startswith("google."):
            yield from _texts(kind, (*seen, kind.full_name))


def _set(holder: Any, path: tuple[FieldDescriptor, ...], text: str) -> None:  # a message of any type
    field, *rest = path
    if rest:
        _set(getattr(holder, field.name).add() if field.is_repeated else getattr(holder, field.name), tuple(rest), text)
    elif field.is_repeated:
        getattr(holder, field.name).append(text)
    else:
        setattr(holder, field.name, text)


def _requests(method_input: Descriptor, tenant_id: str) -> Iterator[tuple[str, Message]]:
    """Yield what was filled in, and requests that name a tenant in one place; the others are empty, or are the caller's own."""
    paths = tuple(naming_paths(method_input))
    for place, path in enumerate(paths):
        forms = ("{}",) if path[-1].name == "tenant_id" else FORMS
        for form in forms:
            for own in ("", f"tenants/{MINE}", f"tenants/{MINE}/rooms/r1"):
                request = GetMessageClass(method_input)()
                for other in (*paths[:place], *paths[place + 1 :]) if own else ():
                    _set(request, other, MINE if other[-1].name == "tenant_id" else own)
                _set(request, path, form.format(tenant_id))
                yield f"{'.'.join(field.name for field in path)}={form}, else {own!r}", request


async def _refusal(rig: Rig, method: str, request: Message, *, is_stream: bool) -> tuple[Told, Counter[str]]:
    """Return how a call of the limited caller is refused, and how often the store was asked meanwhile."""
    asked: Counter[str] = Counter()
    engine: Any = rig.db.engine
    plain = {name: getattr(engine, name) for name in ("read", "write")}

    def counting(name: str) -> Any:  # a method of the engine
        async def ask(transaction: Any) -> Any:
            asked[name] += 1
            return await plain[name](transaction)

        return ask

    for name in plain:
        setattr(engine, name, counting(name))
    try:
        call = raw(rig.channel, method, is_stream=is_stream)(request.SerializeToString(), metadata=bearing(LIMITED))
        return await failing(call), asked
    finally:
        for name, function in plain.items():
            setattr(engine, name, function)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
async def test_tenant_of_somebody_else_looks_like_one_that_does_not_exist(rig: Rig, service: ServiceDescriptor) -> None:
    """Same status, same bytes, same questions to the store, whatever is called and wherever it is named."""
    for method in service.methods:
        name, is_stream = f"/{service.full_name}/{method.name}", method.server_streaming
        pairs = zip(_requests(method.input_type, OTHER), _requests(method.input_type, GHOST), strict=True)
        for (what, theirs), (_, nobodys) in pairs:
            (real, asked), (ghost, asked_of_ghost) = [
                await _refusal(rig, name, request, is_stream=is_stream) for request in (theirs, nobodys)
            ]
            assert real == ghost, f"{name}: {what}"
            assert real.reason in ("TENANT_NOT_FOUND", "TENANT_NOT_GRANTED"), f"{name}: {what}"
            assert asked == asked_of_ghost, f"{name}: {what}"
            assert asked["read"] == 0, f"{name}: {what}"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
def test_every_text_of_a_request_is_known_to_name_something_or_nothing(service: ServiceDescriptor) -> None:
    """A new field that names something is found here, before somebody finds a tenant through it."""
    for method in service.methods:
        naming = {path[-1].full_name for path in naming_paths(method.input_type)}
        for field in _texts(method.input_type):
            known = field.full_name in naming or field.name in TEXTS_NAMING_NOTHING or field.name in ("key", "value")
            assert known, f"{method.full_name}: does {field.full_name} name something of a tenant?"


async def test_unlimited_caller_sees_the_difference(rig: Rig) -> None:
    """What the comparison compares can differ."""
    request = pb.GetTenantRequest(name=f"tenants/{OTHER}")
    assert (await rig.tenants.GetTenant(request, metadata=bearing(ALL))).tenant.name == request.name
    told = await failing(rig.tenants.GetTenant(pb.GetTenantRequest(name=f"tenants/{GHOST}"), metadata=bearing(ALL)))
    assert told.reason == "TENANT_NOT_FOUND"


async def test_lists_and_their_pages_hold_nothing_of_others(rig: Rig) -> None:
    """A page token of a caller that sees everything gives a limited one only a place in its own list."""
    first = await rig.tenants.ListTenants(pb.ListTenantsRequest(page_size=1), metadata=bearing(ALL))
    request = pb.ListTenantsRequest(page_size=1, page_token=first.next_page_token)
    assert list((await rig.tenants.ListTenants(request, metadata=bearing(LIMITED))).tenants) == []
    mine = await rig.tenants.ListTenants(pb.ListTenantsRequest(page_size=1), metadata=bearing(LIMITED))
    assert ([tenant.name for tenant in mine.tenants], mine.next_page_token) == ([f"tenants/{MINE}"], "")
    for name in (f"tenants/{MINE}", f"tenants/{OTHER}"):
        rig.clock.at += timedelta(seconds=1)
        await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=name), metadata=bearing(ALL))
    newest = await rig.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(page_size=1), metadata=bearing(ALL))
    asked = audit_pb.ListAuditEntriesRequest(page_size=1, page_token=newest.next_page_token)
    seen = await rig.audit.ListAuditEntries(asked, metadata=bearing(LIMITED))
    assert {entry.resource for entry in seen.entries} == {f"tenants/{MINE}"}
    assert seen.next_page_token == ""


@pytest.mark.parametrize("tenant_id", [OTHER, GHOST])
async def test_resume_token_of_somebody_else_is_foreign_whoever_it_is_of(rig: Rig, tenant_id: str) -> None:
    """The same refusal, whether the token's tenant still exists or is gone."""
    if tenant_id == GHOST:
        await rig.db.add_tenant(GHOST)
    listing = booking_pb.ListBookingsRequest(parent=f"tenants/{tenant_id}/rooms/-", window=window_of())
    token = (await rig.bookings.ListBookings(listing, metadata=bearing(ALL))).resume_token
    if tenant_id == GHOST:
        gone = pb.DeleteTenantRequest(name=f"tenants/{GHOST}", purge=True)
        await rig.tenants.DeleteTenant(gone, metadata=bearing(ALL))
    me, room = f"tenants/{MINE}", f"tenants/{MINE}/rooms/r1"
    calls = [
        rig.watch.ReadChanges(watch_pb.ReadChangesRequest(parent=me, resume_token=token), metadata=bearing(LIMITED)),
        rig.watch.WatchRooms(
            watch_pb.WatchRoomsRequest(parent=me, options=watch_pb.WatchOptions(resume_token=token)),
            metadata=bearing(LIMITED),
        ),
        rig.bookings.ListBookings(
            booking_pb.ListBookingsRequest(parent=room, window=window_of(), read_after_token=token),
            metadata=bearing(LIMITED),
        ),
        rig.bookings.GetBooking(
            booking_pb.GetBookingRequest(name=f"{room}/bookings/b1", read_after_token=token), metadata=bearing(LIMITED)
        ),
        rig.bookings.FindAvailability(
            booking_pb.FindAvailabilityRequest(parent=me, window=window_of(DAY), read_after_token=token),
            metadata=bearing(LIMITED),
        ),
    ]
    for call in calls:
        told = await failing(call)
        assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_SCOPE_MISMATCH")
        assert told.message == "the resume token was given out for another tenant or other rooms"


async def test_request_id_of_somebody_elses_write_is_not_known(rig: Rig) -> None:
    """Two tenants may use the same id, and neither hears of the other's."""
    theirs = await rig.db.store.rooms.load(TenantId(OTHER), RoomId("r1"))
    mine = await rig.db.store.tenants.load(TenantId(MINE))
    new = NewWrite(
        tenant_uid=theirs.tenant_uid,
        room_uid=theirs.uid,
        request_id="q1",
        kind=WriteKind.CREATE,
        digest=b"d",
        payload=b"p",
    )
    await rig.db.store.writes.begin(new, claim_s=60.0)
    assert await rig.db.store.writes.find(theirs.tenant_uid, "q1") is not None
    assert await rig.db.store.writes.find(mine.uid, "q1") is None
    assert not await rig.db.store.writes.is_known(mine.uid, "q1")


def test_rooms_of_a_batch_are_all_looked_at() -> None:
    """One name among many is enough."""
    requests = [room_pb.MapRoomRequest(parent=f"tenants/{MINE}"), room_pb.MapRoomRequest(parent=f"tenants/{OTHER}")]
    batch = room_pb.BatchMapRoomsRequest(parent=f"tenants/{MINE}", requests=requests)
    assert tenants_named(batch, tuple(naming_paths(batch.DESCRIPTOR))) == {MINE, OTHER}
    watch = watch_pb.WatchRoomsRequest(
        parent=f"tenants/{MINE}", rooms=[f"tenants/{MINE}/rooms/a", f"tenants/{OTHER}/rooms/a"]
    )
    assert tenants_named(watch, tuple(naming_paths(watch.DESCRIPTOR))) == {MINE, OTHER}
