"""Writes on their way: found again whatever happens, worked on by one at a time, and the memory of equal requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sidecar.errors import RequestIdReused, RoomNotFound, StoreConflict
from sidecar.model.ids import BookingKey, EventId, RoomUid
from sidecar.model.intent import IntentKind
from sidecar.model.room import Room
from sidecar.model.write import Failure, Hold, Write, WriteKind, WriteState
from sidecar.store.sealed import SealedRecords
from sidecar.store.vault import Vault, key_id_of
from sidecar.store.write_steps import step_to
from sidecar.store.writes import NewWrite, Writes
from tests.support.builders import CANARY, NOW, TENANT
from tests.support.stores import ManualClock, OpenStore

_CLAIM_S = 45.0
_FAILURE = Failure("ROOM_CONFLICT", "the room is taken", {"start_time": "2026-03-02T09:00:00Z"})


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    await opened.add_tenant()
    return await opened.add_filled_room()


def _new(room: Room, *, request_id: str = "q1", digest: bytes = b"d1") -> NewWrite:
    return NewWrite(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        request_id=request_id,
        kind=WriteKind.CREATE,
        digest=digest,
        payload=f"{CANARY}-subject".encode(),
    )


async def _begin(opened: OpenStore, room: Room, **how: object) -> Write:
    return (await opened.store.writes.begin(_new(room, **how), claim_s=_CLAIM_S)).write  # type: ignore[arg-type]  # any field


async def _note(opened: OpenStore, write: Write, **changes: Any) -> Write:
    """Note a step by itself (Any: fields of a write)."""
    after = replace(write, **changes)
    await opened.store.writes.note(step_to(write, after, claim_s=_CLAIM_S))
    return replace(after, payload=None) if after.state.is_ended else after


async def _fail(opened: OpenStore, write: Write) -> Write:
    return await _note(opened, write, state=WriteState.FAILED, failure=_FAILURE)


async def _due_at(opened: OpenStore, write: Write) -> list[int]:
    found = await opened.fetch(
        "SELECT ready_at FROM intents WHERE kind = $1 AND key = $2", IntentKind.BOOKING_WRITE.value, write.uid
    )
    return [round(row[0] / 1e6 - NOW.timestamp()) for row in found]


async def test_write_is_there_before_anything_is_sent_and_is_looked_for(opened: OpenStore, room: Room) -> None:
    """Whoever dies in between leaves something that is found."""
    begun = await opened.store.writes.begin(_new(room), claim_s=_CLAIM_S)
    assert begun.is_ours
    assert (begun.write.state, begun.write.payload) == (WriteState.STARTED, f"{CANARY}-subject".encode())
    assert await _due_at(opened, begun.write) == [45]


async def test_same_request_finds_the_write_that_it_began(opened: OpenStore, room: Room) -> None:
    """It is not begun a second time."""
    first = await opened.store.writes.begin(_new(room), claim_s=_CLAIM_S)
    again = await opened.store.writes.begin(_new(room), claim_s=_CLAIM_S)
    assert (again.is_ours, again.write.uid) == (False, first.write.uid)


async def test_request_id_with_other_contents_is_refused(opened: OpenStore, room: Room) -> None:
    """Two wishes under one name cannot both be kept."""
    await _begin(opened, room)
    with pytest.raises(RequestIdReused):
        await opened.store.writes.begin(_new(room, digest=b"d2"), claim_s=_CLAIM_S)


async def test_contents_cannot_be_guessed_from_what_stays_of_a_write(opened: OpenStore, room: Room) -> None:
    """Short texts and known people could be tried against a plain digest. When the key is replaced callers notice nothing."""
    await _begin(opened, room)
    ((kept,),) = await opened.fetch("SELECT digest FROM writes")
    assert b"d1" not in bytes(kept)
    await opened.engine.write(lambda c: c.execute("UPDATE writes SET sealed = NULL"))
    both = Vault(primary="k2", keys={"k1": bytes(range(32)), "k2": bytes(32)})
    await SealedRecords(opened.engine, both).reseal()
    assert key_id_of(bytes((await opened.fetch("SELECT digest FROM writes"))[0][0])) == "k2"
    writes = Writes(opened.engine, both)
    assert not (await writes.begin(_new(room), claim_s=_CLAIM_S)).is_ours
    with pytest.raises(RequestIdReused):
        await writes.begin(_new(room, digest=b"d2"), claim_s=_CLAIM_S)


async def test_write_for_a_room_that_was_unmapped_is_refused(opened: OpenStore, room: Room) -> None:
    """Between looking it up and beginning."""
    new = _new(room)
    gone = NewWrite(
        tenant_uid=new.tenant_uid,
        room_uid=RoomUid("gone"),
        request_id=new.request_id,
        kind=new.kind,
        digest=new.digest,
        payload=b"",
    )
    with pytest.raises(RoomNotFound):
        await opened.store.writes.begin(gone, claim_s=_CLAIM_S)


async def test_write_is_taken_over_only_when_its_claim_has_run_out(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """Two must not work on it at once."""
    write = await _begin(opened, room)
    assert await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S) is None
    clock.advance(46)
    taken = await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S)
    assert taken is not None
    assert (taken.fence, taken.state) == (write.fence + 1, WriteState.SENT)


async def test_write_that_is_said_to_be_worked_on_is_not_taken_over(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """However long it takes."""
    write = await _begin(opened, room)
    for _ in range(3):
        clock.advance(40)
        await opened.store.writes.hold(write, claim_s=_CLAIM_S)
        assert await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S) is None


async def test_worker_that_lost_its_claim_changes_nothing(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """It may have slept through its time."""
    write = await _begin(opened, room)
    clock.advance(46)
    await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S)
    writes = opened.store.writes
    with pytest.raises(StoreConflict):
        await _note(opened, write, state=WriteState.SENT)
    with pytest.raises(StoreConflict):
        await _fail(opened, write)
    with pytest.raises(StoreConflict):
        await writes.forget(write)
    await writes.leave(write)  # says nothing, and takes nothing from the new worker
    assert await writes.claim(write.uid, claim_s=_CLAIM_S) is None


async def test_each_step_holds_the_write_longer(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """Whoever works and says so is left alone."""
    write = await _begin(opened, room)
    clock.advance(40)
    write = await _note(opened, write, state=WriteState.UNSETTLED)
    clock.advance(40)
    assert await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S) is None


async def test_event_and_booking_of_a_write_are_remembered(opened: OpenStore, room: Room) -> None:
    """What Exchange made of it, and under which name callers know it."""
    begun = await _begin(opened, room)
    changes = {"event_id": EventId("e1"), "event_created_at": NOW, "booking_key": BookingKey("k1")}
    await _note(opened, begun, state=WriteState.UNSETTLED, **changes)
    write = await opened.store.writes.load(begun.uid)
    assert write is not None
    assert (write.state, write.event_id, write.event_created_at, write.booking_key) == (
        WriteState.UNSETTLED,
        "e1",
        NOW,
        "k1",
    )


async def test_ended_write_answers_again_and_holds_no_contents(opened: OpenStore, room: Room) -> None:
    """The answer stays; the words and people of the request go."""
    write = await _fail(opened, await _begin(opened, room))
    assert (write.state, write.failure, write.payload) == (WriteState.FAILED, _FAILURE, None)
    assert await opened.fetch("SELECT 1 FROM writes WHERE sealed IS NOT NULL") == []
    assert await _due_at(opened, write) == []
    again = await opened.store.writes.begin(_new(room), claim_s=_CLAIM_S)
    assert (again.is_ours, again.write.failure) == (False, _FAILURE)


async def test_ended_write_is_not_taken_over(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """There is nothing to do."""
    write = await _fail(opened, await _begin(opened, room))
    clock.advance(3_600)
    assert await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S) is None


async def test_write_that_has_to_be_withdrawn_keeps_the_reason(opened: OpenStore, room: Room) -> None:
    """Whoever goes on with it tells the caller the same."""
    begun = await _begin(opened, room)
    await _note(opened, begun, state=WriteState.WITHDRAWING, failure=_FAILURE)
    write = await opened.store.writes.load(begun.uid)
    assert write is not None
    assert (write.state, write.failure) == (WriteState.WITHDRAWING, _FAILURE)


async def test_write_of_which_nothing_was_sent_can_be_begun_anew(opened: OpenStore, room: Room) -> None:
    """The same request gets another chance."""
    write = await _begin(opened, room)
    await opened.store.writes.forget(write)
    again = await opened.store.writes.begin(_new(room, digest=b"d2"), claim_s=_CLAIM_S)
    assert again.is_ours
    assert await _due_at(opened, write) == []


async def test_left_write_is_due_at_once(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """Nobody waits for a claim that its owner has given back."""
    write = await _begin(opened, room)
    await opened.store.writes.leave(write)
    assert await _due_at(opened, write) == [0]
    assert await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S) is not None


async def test_contents_are_sealed_at_rest(opened: OpenStore, room: Room) -> None:
    """The database holds no word of them."""
    await _begin(opened, room)
    ((sealed,),) = await opened.fetch("SELECT sealed FROM writes")
    assert CANARY.encode() not in bytes(sealed)


async def test_old_ended_writes_are_dropped_and_unended_ones_stay(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """However long a write takes, it is not forgotten."""
    ended = await _fail(opened, await _begin(opened, room, request_id="q1"))
    unended = await _begin(opened, room, request_id="q2")
    clock.advance(8 * 86_400)
    young = await _fail(opened, await _begin(opened, room, request_id="q3"))
    assert await opened.store.writes.prune(room.tenant_uid, retention=timedelta(days=7), count_max=100) == 1
    assert await opened.store.writes.load(ended.uid) is None
    assert await opened.store.writes.load(unended.uid) is not None
    assert await opened.store.writes.load(young.uid) is not None


async def test_end_of_a_write_is_announced(opened: OpenStore, room: Room) -> None:
    """Who waits for it in another call hears of it."""
    told: list[str] = []
    stop = opened.store.writes.on_news(told.append)
    write = await _begin(opened, room)
    await _fail(opened, write)
    stop()
    assert write.uid in told


async def test_step_that_learns_more_is_sealed_and_read_by_whoever_goes_on(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """What was decided is kept with what was asked for."""
    write = await _begin(opened, room)
    after = replace(write, state=WriteState.SENT, payload=f"{CANARY}-plan".encode(), hold=Hold.FROZEN)
    await opened.store.writes.note(opened.store.writes.step_to(write, after, claim_s=_CLAIM_S))
    clock.advance(46)
    taken = await opened.store.writes.claim(write.uid, claim_s=_CLAIM_S)
    assert taken is not None
    assert (taken.payload, taken.hold) == (f"{CANARY}-plan".encode(), Hold.FROZEN)
    ((sealed,),) = await opened.fetch("SELECT sealed FROM writes")
    assert CANARY.encode() not in bytes(sealed)


async def test_answer_outlives_the_end_and_the_contents_do_not(opened: OpenStore, room: Room) -> None:
    """The same request gets the same answer for as long as it is remembered."""
    write = await _begin(opened, room)
    after = replace(write, state=WriteState.DONE, payload=None, answer=b"lost")
    await opened.store.writes.note(opened.store.writes.step_to(write, after, claim_s=_CLAIM_S))
    found = await opened.store.writes.load(write.uid)
    assert found is not None
    assert (found.answer, found.payload) == (b"lost", None)


async def test_equal_request_finds_the_write_and_another_one_is_refused(opened: OpenStore, room: Room) -> None:
    writes = opened.store.writes
    assert await writes.find_equal(room.tenant_uid, "q1", b"d1") is None
    write = await _begin(opened, room)
    assert await writes.find_equal(room.tenant_uid, "q1", b"d1") == write
    with pytest.raises(RequestIdReused):
        await writes.find_equal(room.tenant_uid, "q1", b"d2")


async def test_booking_is_awaited_until_the_write_of_its_meeting_ends(opened: OpenStore, room: Room) -> None:
    writes, key = opened.store.writes, BookingKey("b1")
    new = replace(_new(room), kind=WriteKind.INVITE, hold=Hold.PRESENT)
    write = (await writes.begin(new, claim_s=_CLAIM_S)).write
    assert not await writes.is_awaited(room.uid, key)
    write = await _note(opened, write, state=WriteState.UNSETTLED, booking_key=key)
    assert await writes.is_awaited(room.uid, key)
    await _note(opened, write, state=WriteState.DONE)
    assert not await writes.is_awaited(room.uid, key)


async def test_unended_writes_are_due_when_a_deletion_is_taken_back(opened: OpenStore, room: Room) -> None:
    write, ended = await _begin(opened, room), await _begin(opened, room, request_id="q2")
    await _fail(opened, ended)
    await opened.store.lifecycle.delete(TENANT, etag="", grace=timedelta(days=7))
    assert await _due_at(opened, write) == []
    await opened.store.lifecycle.undelete(TENANT)
    assert await _due_at(opened, write) == [0]
    assert await _due_at(opened, ended) == []
