"""Events of ours in people's calendars: found by what their bookings show, sealed, and forgotten when they are over."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sidecar.model.ids import EventId
from sidecar.model.organizer_event import OrganizerEvent, meeting_uid_of
from sidecar.model.room import Room
from sidecar.model.write import WriteUid
from tests.support.builders import CANARY, NOW
from tests.support.stores import OpenStore

_HEAD, _TAIL = "040000008200E00074C5B7101A82E008", "00A1B2C3D4E5F60010000000DEADBEEF"
_MASTER = f"{_HEAD}00000000{_TAIL}"
_OCCURRENCE = f"{_HEAD}07EA0302{_TAIL}"


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    await opened.add_tenant()
    return await opened.add_filled_room()


def _event(room: Room, uid: str = _MASTER, *, write: str = "w1", over_at: datetime | None = None) -> OrganizerEvent:
    return OrganizerEvent(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        meeting_uid=meeting_uid_of(uid),
        write_uid=WriteUid(write),
        mailbox=f"{CANARY}@contoso.example",
        event_id=EventId("e1"),
        annotations={"b": "2", "a": "1"},
        over_at=over_at,
    )


async def test_occurrence_leads_to_the_event_of_its_series(opened: OpenStore, room: Room) -> None:
    await opened.store.organizer_events.save(_event(room))
    assert await opened.store.organizer_events.find(room.uid, _OCCURRENCE) == _event(room)
    assert await opened.store.organizer_events.find(room.uid, _OCCURRENCE.replace("DEADBEEF", "DEADBEE0")) is None


async def test_uid_of_another_form_is_its_meetings_own(opened: OpenStore, room: Room) -> None:
    await opened.store.organizer_events.save(_event(room, "uid@elsewhere.example"))
    found = await opened.store.organizer_events.find(room.uid, "uid@elsewhere.example")
    assert found is not None
    assert found.meeting_uid == "uid@elsewhere.example"


async def test_address_of_the_person_is_sealed_and_not_shown(opened: OpenStore, room: Room) -> None:
    await opened.store.organizer_events.save(_event(room))
    (row,) = await opened.fetch("SELECT sealed FROM organizer_events")
    assert CANARY.encode() not in bytes(row[0])
    assert CANARY not in repr(_event(room))


async def test_event_that_changed_is_noted_anew(opened: OpenStore, room: Room) -> None:
    await opened.store.organizer_events.save(_event(room))
    later = _event(room, over_at=NOW)
    await opened.store.organizer_events.save(later)
    assert await opened.store.organizer_events.find(room.uid, _MASTER) == later


async def test_events_are_forgotten_when_the_copy_does_not_show_them_any_more(opened: OpenStore, room: Room) -> None:
    """And not before: what the copy shows would lose what only the event's row knows."""
    days = {"gone": -20, "shown": -5, "late": 0}
    await opened.execute("UPDATE rooms SET horizon_start_at = $1", int((NOW - timedelta(days=10)).timestamp() * 1e6))
    for number, (uid, offset) in enumerate(days.items()):
        over_at = NOW + timedelta(days=offset)
        await opened.store.organizer_events.save(_event(room, uid, write=f"w{number}", over_at=over_at))
    await opened.store.organizer_events.save(_event(room, "endless", write="w9"))
    assert await opened.store.organizer_events.prune(room.tenant_uid, over_before=NOW - timedelta(days=30)) == 0
    assert await opened.store.organizer_events.prune(room.tenant_uid, over_before=NOW - timedelta(days=2)) == 1
    left = [uid for uid in (*days, "endless") if await opened.store.organizer_events.find(room.uid, uid)]
    assert left == ["shown", "late", "endless"]


async def test_unmapped_room_takes_its_events_along(opened: OpenStore, room: Room) -> None:
    await opened.store.organizer_events.save(_event(room))
    await opened.execute("DELETE FROM rooms WHERE uid = $1", room.uid)
    assert await opened.fetch("SELECT 1 FROM organizer_events") == []
