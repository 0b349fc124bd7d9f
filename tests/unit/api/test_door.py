"""Who is let in to what, over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.api.access import SCOPES
from sidecar.api.server import SERVICES
from sidecar.errors import SettingsInvalid
from sidecar.gen.ioffice.exchange.v1 import audit_service_pb2 as audit_pb
from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as task_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from tests.support.builders import NOW, make_booking
from tests.support.callers import bearing, entry, make_token, write
from tests.unit.api.rig import Rig, Told, failing, raw, serving, told
from tests.unit.api.test_tenants import registration

ALL, MINE, READER = make_token(), make_token(), make_token()
GET = pb.GetTenantRequest(name="tenants/acme")
ENTRIES = (
    entry("ops", ALL),
    entry("mine", MINE, tenants=["mine", "mine-2"]),
    entry("reader", READER, scopes=["tenants.read", "bookings.read"], tenants=["acme"]),
)


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server that knows its callers, called over TCP."""
    path = write(tmp_path / "callers.json", ENTRIES)
    async with (
        serving(tmp_path, callers_file=path, addresses=("127.0.0.1:0",)) as rig,
        grpc.aio.insecure_channel(rig.addresses[1]) as channel,
    ):
        rig.channel = channel
        await rig.db.add_tenant("acme")
        await rig.db.add_tenant("mine")
        yield rig


class Watching:
    """A watch of a room that has said all there is; the next message comes when `stir` makes one."""

    def __init__(self, rig: Rig, token: str) -> None:
        self._rig = rig
        self._made_count = 0
        request = watch_pb.WatchRoomsRequest(parent="tenants/acme")
        self.stream: Any = rig.watch.WatchRooms(request, metadata=bearing(token))  # of one of many types

    async def rest(self) -> None:
        """Read on until the snapshot is over."""
        self._room = await self._rig.db.add_filled_room()
        while not (await self.stream.read()).HasField("snapshot_end"):
            pass

    async def stir(self) -> None:
        """Have something told."""
        self._made_count += 1
        bookings = [make_booking(f"b{number}") for number in range(self._made_count)]
        await self._rig.db.fill(await self._rig.db.reload(self._room), *bookings)

    async def ended(self) -> Told:
        """Return how the stream ends once something is to be told."""
        await self.stir()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._read_out()
        return told(caught.value)

    async def _read_out(self) -> None:
        while await self.stream.read() is not grpc.aio.EOF:
            pass


def test_every_call_has_its_scope() -> None:
    names = {f"{service.name}/{method.name}" for service in SERVICES for method in service.methods}
    assert names - set(SCOPES) == set(), "api/access.py does not say what these need"
    assert set(SCOPES) - names == set(), "api/access.py names calls that there are not"


async def test_call_without_a_token_is_refused_over_tcp(locked: Rig) -> None:
    told = await failing(locked.tenants.GetTenant(GET))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_REJECTED")
    assert told.metadata == {"cause": "MISSING"}


async def test_stream_without_a_token_is_refused_over_tcp(locked: Rig) -> None:
    told = await failing(locked.watch.WatchRooms(watch_pb.WatchRoomsRequest(parent="tenants/acme")))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_REJECTED")


async def test_call_without_a_token_is_let_in_over_the_socket(locked: Rig) -> None:
    async with grpc.aio.insecure_channel(locked.addresses[0]) as channel:
        locked.channel = channel
        assert (await locked.tenants.GetTenant(GET)).tenant.name == "tenants/acme"


async def test_wrong_token_is_refused_over_the_socket_too(locked: Rig) -> None:
    async with grpc.aio.insecure_channel(locked.addresses[0]) as channel:
        locked.channel = channel
        assert (await failing(locked.tenants.GetTenant(GET, metadata=bearing("x")))).metadata == {"cause": "UNKNOWN"}


@pytest.mark.parametrize(
    "value", ["Basic eDp5", "Bearer", "Bearer ", f"Bearer {'x' * 600}", pytest.param(ALL, id="bare")]
)
async def test_header_that_is_no_bearer_token_is_refused(locked: Rig, value: str) -> None:
    told = await failing(locked.tenants.GetTenant(GET, metadata=(("authorization", value),)))
    assert told.metadata == {"cause": "MALFORMED"}


async def test_two_tokens_at_once_are_refused(locked: Rig) -> None:
    told = await failing(locked.tenants.GetTenant(GET, metadata=bearing(ALL) * 2))
    assert told.metadata == {"cause": "MALFORMED"}


async def test_caller_without_the_scope_is_refused(locked: Rig) -> None:
    told = await failing(
        locked.tenants.SuspendTenant(pb.SuspendTenantRequest(name="tenants/acme"), metadata=bearing(READER))
    )
    assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert told.metadata == {"scope": "tenants.admin"}
    assert (await locked.tenants.GetTenant(GET, metadata=bearing(READER))).tenant.name == "tenants/acme"


async def test_lists_hold_only_tenants_of_the_grant(locked: Rig) -> None:
    listed = await locked.tenants.ListTenants(pb.ListTenantsRequest(), metadata=bearing(MINE))
    assert [tenant.name for tenant in listed.tenants] == ["tenants/mine"]
    assert len((await locked.tenants.ListTenants(pb.ListTenantsRequest(), metadata=bearing(ALL))).tenants) == 2


async def test_audit_holds_only_entries_about_tenants_of_the_grant(locked: Rig) -> None:
    for name in ("tenants/acme", "tenants/mine"):
        await locked.tenants.SuspendTenant(pb.SuspendTenantRequest(name=name), metadata=bearing(ALL))
    await failing(locked.tenants.SuspendTenant(pb.SuspendTenantRequest(name="tenants/acme"), metadata=bearing(MINE)))
    seen = await locked.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(), metadata=bearing(MINE))
    assert [entry.resource for entry in seen.entries] == ["tenants/mine"]


async def test_entry_says_whose_token_it_was_and_what_was_named_outside_its_grant(locked: Rig) -> None:
    await failing(locked.tenants.SuspendTenant(pb.SuspendTenantRequest(name="tenants/acme"), metadata=bearing(MINE)))
    found = await locked.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(), metadata=bearing(ALL))
    (refused,) = found.entries
    assert refused.caller.identity.startswith("token:mine/")
    assert (refused.resource, dict(refused.values)) == ("", {"outside_grant": "tenants/acme"})
    assert refused.outcome == "TENANT_NOT_FOUND"


async def test_tenant_of_the_grant_can_be_registered_and_no_other(locked: Rig) -> None:
    request = registration()
    request.tenant_id = "mine-2"
    await locked.tenants.RegisterTenant(request, metadata=bearing(MINE))
    for name in ("acme", "ghost"):
        request.tenant_id = name
        told = await failing(locked.tenants.RegisterTenant(request, metadata=bearing(MINE)))
        assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_NOT_GRANTED")


async def test_token_taken_from_the_file_is_refused_at_the_next_call(locked: Rig, tmp_path: Path) -> None:
    await locked.tenants.GetTenant(GET, metadata=bearing(ALL))
    write(tmp_path / "callers.json", ENTRIES[1:])
    assert (await failing(locked.tenants.GetTenant(GET, metadata=bearing(ALL)))).metadata == {"cause": "UNKNOWN"}
    assert locked.server.unusable_files_count == 0


async def test_broken_file_lets_nobody_else_in(locked: Rig, tmp_path: Path) -> None:
    (tmp_path / "callers.json").write_text("{")
    assert (await failing(locked.tenants.GetTenant(GET))).metadata == {"cause": "MISSING"}
    assert (await locked.tenants.GetTenant(GET, metadata=bearing(ALL))).tenant.name == "tenants/acme"
    assert locked.server.unusable_files_count == 1


async def test_watch_of_a_token_taken_back_ends_before_its_next_message(locked: Rig, tmp_path: Path) -> None:
    watching = Watching(locked, READER)
    await watching.rest()
    write(tmp_path / "callers.json", ENTRIES[:2])
    ended = await watching.ended()
    assert (ended.code, ended.metadata) == (grpc.StatusCode.UNAUTHENTICATED, {"cause": "UNKNOWN"})


@pytest.mark.parametrize("changes", [{"tenants": ["mine"]}, {"scopes": ["tenants.read"]}])
async def test_watch_ends_when_its_caller_may_no_longer_make_it(
    locked: Rig, tmp_path: Path, changes: dict[str, list[str]]
) -> None:
    """Also of a caller that could name any tenant when it came."""
    watching = Watching(locked, ALL)
    await watching.rest()
    write(tmp_path / "callers.json", [entry("ops", ALL, **changes)])
    assert (await watching.ended()).reason == ("TENANT_NOT_FOUND" if "tenants" in changes else "SCOPE_MISSING")


async def test_watch_of_a_token_that_expires_ends(locked: Rig, tmp_path: Path) -> None:
    write(tmp_path / "callers.json", [entry("ops", ALL, expire_at=(NOW + timedelta(seconds=9)).isoformat())])
    watching = Watching(locked, ALL)
    await watching.rest()
    locked.clock.at += timedelta(seconds=9)
    assert (await watching.ended()).metadata == {"cause": "EXPIRED"}


async def test_watch_goes_on_when_the_file_changes_for_others(locked: Rig, tmp_path: Path) -> None:
    watching = Watching(locked, READER)
    await watching.rest()
    for others in ([], [entry("new", make_token())]):
        write(tmp_path / "callers.json", [ENTRIES[2], *others])
        await watching.stir()
        assert (await watching.stream.read()).ByteSize() > 0
    watching.stream.cancel()


async def test_call_that_names_no_tenant_is_refused_for_a_limited_caller(locked: Rig) -> None:
    told = await failing(locked.tenants.GetTenant(pb.GetTenantRequest(name="acme"), metadata=bearing(READER)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_unknown_method_needs_no_token_and_tells_nothing(locked: Rig) -> None:
    told = await failing(raw(locked.channel, "/ioffice.exchange.v1.TenantService/Rename")(b""))
    assert told.reason == "METHOD_UNKNOWN"


async def test_broken_callers_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    path.write_text("{}")
    with pytest.raises(SettingsInvalid):
        async with serving(tmp_path, callers_file=path):
            raise AssertionError("it started")


@pytest.mark.parametrize(("before", "after"), [("*", ["acme"]), (["acme", "mine"], ["acme"]), ("*", "*")])
async def test_run_that_names_no_tenant_is_followed_while_its_caller_may_see_as_much(
    locked: Rig, tmp_path: Path, before: str | list[str], after: str | list[str]
) -> None:
    write(tmp_path / "callers.json", [entry("ops", ALL, tenants=before)])
    request = task_pb.RunTaskRequest(name="tasks/verify-tenants")
    run = (await locked.tasks.RunTask(request, metadata=bearing(ALL))).run
    stream = locked.tasks.WatchTaskRun(task_pb.WatchTaskRunRequest(name=run.name), metadata=bearing(ALL))
    await stream.read()
    write(tmp_path / "callers.json", [entry("ops", ALL, tenants=after, scopes=["tasks.read"])])
    await locked.db.execute("UPDATE task_runs SET done = 1")
    if before == after:
        assert (await stream.read()).run.done_count == 1
    else:
        assert (await failing(stream.read())).reason == "TENANT_NOT_FOUND"
    stream.cancel()
