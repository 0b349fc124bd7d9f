"""Whatever is asked of Microsoft for a caller is asked with the credential that the tenant has now.

A process remembers logins by credential. A call that does not say which one goes on with whatever was remembered first, also
after another process has replaced it and the customer has deleted it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import PlacesDenied
from sidecar.graph.clouds import TenantRef
from sidecar.model.ids import EventId, Mailbox, RoomId
from sidecar.store.room_edits import RoomEdit
from sidecar.tenants.discover import DiscoveryPlace, RoomDiscovery, Wanted
from sidecar.tenants.readdress import RoomEditor
from sidecar.tenants.remove import TenantRemover
from tests.support.builders import TENANT, make_booking, secret_hash
from tests.support.fake_microsoft import FakeMicrosoft, make_diagnosis, make_reserve, make_token
from tests.support.stores import ManualClock, OpenStore, open_store

ROOM = RoomId("r1")


class Recorder(FakeMicrosoft):
    """Answers everything, and keeps the credentials that it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.credentials: list[str] = []

    def __getattribute__(self, name: str) -> Any:  # any of the answers below
        answers: dict[str, object] = {
            "fetch_token": make_token(roles=["Calendars.ReadWrite"]),
            "probe": None,
            "fetch_mailbox": (None, None),
            "fetch_view": [],
            "fetch_event": None,
            "fetch_identity": None,
            "place": EventId("e1"),
            "is_there": True,
            "find": [EventId("e1")],
            "remove": None,
            "delete_subscription": None,
            "fetch_places": PlacesDenied("no"),
        }
        if name not in answers:
            return super().__getattribute__(name)

        async def answer(tenant: TenantRef, *_: object, **__: object) -> object:
            self.credentials.append(tenant.credential)
            told = answers[name]
            if isinstance(told, Exception):
                raise told
            return told

        return answer


async def check_with_write(db: OpenStore, microsoft: Any, clock: ManualClock) -> None:
    await make_diagnosis(db.store, microsoft, clock).rooms.check_room(TENANT, ROOM, include_write=True)


async def diagnose(db: OpenStore, microsoft: Any, clock: ManualClock) -> None:
    booking = make_booking("b1").key
    await make_diagnosis(db.store, microsoft, clock).reports.diagnose_room(TENANT, ROOM, booking_key=booking)


async def clear(db: OpenStore, microsoft: Any, clock: ManualClock) -> None:
    tenant = await db.store.tenants.load(TENANT)
    assert await make_reserve(db.store, microsoft, clock).clear("transaction/r1@contoso.example", tenant) == 1


async def discover(db: OpenStore, microsoft: Any, _: ManualClock) -> None:
    discovery = RoomDiscovery(store=db.store, places=microsoft, tokens=microsoft)
    await discovery.page(TENANT, Wanted(), DiscoveryPlace(), count_max=10)


async def readdress(db: OpenStore, microsoft: Any, _: ManualClock) -> None:
    editor = RoomEditor(store=db.store, reader=microsoft)
    mailbox = Mailbox("new@contoso.example")
    await editor.edit(TENANT, ROOM, RoomEdit(time_zone=""), mailbox=mailbox, allow_other_mailbox=True, etag="")


async def remove(db: OpenStore, microsoft: Any, clock: ManualClock) -> None:
    room = await db.store.rooms.load(TENANT, ROOM)
    await db.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s1", secret_hash=secret_hash("state"), directory_id="d", url="https://x"
    )
    await db.store.subscriptions.confirm("s1", graph_id="g1", expires_at=clock.now(), renew_at=clock.now())
    tenant = await db.store.lifecycle.delete(TENANT, etag="")
    remover = TenantRemover(store=db.store, unsubscriber=microsoft, tokens=microsoft, clock=clock)
    assert (await remover.remove(tenant, is_last_try=False)).deleted_count == 1


@pytest.mark.parametrize("ask", [check_with_write, diagnose, clear, discover, readdress, remove])
async def test_every_question_is_asked_with_the_credential_in_use(
    tmp_path: Path, ask: Callable[[OpenStore, Any, ManualClock], Awaitable[None]]
) -> None:
    clock = ManualClock()
    async with open_store(tmp_path / "c.sqlite3", clock=clock) as db:
        tenant, microsoft = await db.add_tenant(), Recorder()
        await db.add_filled_room("r1", make_booking("b1"))
        await ask(db, microsoft, clock)
    assert microsoft.credentials
    assert set(microsoft.credentials) == {tenant.credential.identity}
