"""The watch's named promises (`checkers.py`), checked on what real watchers of a scene were told over real connections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from exchange_client import Reconnected, times

from tests.support.checkers import (
    check_atomic,
    check_checkpoint_true,
    check_complete,
    check_coverage_true,
    check_ordered,
    check_resumable,
    check_unique,
)
from tests.support.histories import Log, Stream, streams_of
from tests.support.processes import eventually
from tests.support.scene import Scene, Watcher, prove_copy
from tests.support.truth import stay_of


def check_told(*watchers: Watcher) -> None:
    """Check what watchers of one tenant were told: ordered, unique, atomic, resumable, complete.

    The log is not read from any database: what one of them was told, the others have to have been told as well.
    """
    by_epoch: dict[frozenset[str], list[Stream]] = defaultdict(list)
    for watcher in watchers:
        for stream in streams_of(watcher.messages, room=watcher.room, token=watcher.token):
            check_ordered(stream)
            check_atomic(stream)
            check_resumable(stream)
            by_epoch[frozenset(cursor.epoch for told in stream.told if (cursor := told.cursor))].append(stream)
    for epochs, streams in by_epoch.items():
        if len(epochs) == 1:  # revisions of different epochs do not compare
            check_unique(streams)
            log = Log.of_streams(streams)
            for stream in streams:
                check_complete(stream, log)


async def prove_promises(scene: Scene, *watchers: Watcher) -> None:
    """Check all seven promises once Outlook rests, and have a closing full read prove the copy (`prove_copy`).

    Args:
        watchers: those who are still there; whoever was there before is checked as far as told.
    """
    check_told(*scene.watchers)
    began_at = datetime.now(UTC)
    await prove_copy(scene)
    for watcher in watchers:
        await eventually(
            partial(_vouches, watcher, began_at), "a checkpoint after the full reads", service=scene.service
        )
        await _check_checkpoint(scene, watcher)
    await _check_snapshots(scene)
    check_told(*scene.watchers)


def _vouches(watcher: Watcher, at: datetime) -> bool:
    """Tell whether the newest checkpoint vouches for a later time than this."""
    for message in reversed(watcher.messages):
        if not isinstance(message, Reconnected) and message.HasField("checkpoint"):
            sync = message.checkpoint.sync
            return sync.HasField("fresh_as_of_time") and times.to_datetime(sync.fresh_as_of_time) > at
    return False


async def _check_checkpoint(scene: Scene, watcher: Watcher) -> None:
    """Check checkpoint-true: nothing has moved since the time that is vouched for, so what was is what is."""
    for room in scene.rooms if watcher.room is None else [watcher.room]:
        coverage = watcher.mirror.coverage(room)
        assert coverage is not None, f"{room} was never seen whole"
        shown = {(stay.uid, stay.original_start_at): stay for stay in map(stay_of, watcher.mirror.bookings(room))}
        truth = {(stay.uid, stay.original_start_at): stay for stay in await scene.expected(room, coverage)}
        check_checkpoint_true(f"the mirror of {room}", shown, {key: (stay,) for key, stay in truth.items()})


async def _check_snapshots(scene: Scene) -> None:
    """Check coverage-true: a watcher that begins now is sent all that lists show within each snapshot's coverage."""
    async with scene.watching() as fresh:
        pass
    for stream in streams_of(fresh.messages):
        room = ""
        sent: dict[str, set[str]] = defaultdict(set)
        for told in stream.told:
            room = told.room or room
            sent[room].update(item.name for item in told.items)
        for room in scene.rooms:
            coverage = fresh.mirror.coverage(room)
            assert coverage is not None, f"{room} was never seen whole"
            span = times.to_datetime(coverage.start_time), times.to_datetime(coverage.end_time)
            listing = await scene.client.list_bookings(room, *span)
            held = [booking.name for booking in listing.bookings]
            check_coverage_true(f"the snapshot of {room}", sent[room], held)


def told_again_count(watchers: Sequence[Watcher]) -> int:
    """Count the changes that a watcher was told more than once, which reconnections may cause and revisions make harmless."""
    count = 0
    for watcher in watchers:
        told = [item for stream in streams_of(watcher.messages) for item in stream.changes]
        count += len(told) - len({(item.name, item.revision) for item in told})
    return count
