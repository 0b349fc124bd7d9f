"""Each checker of a named promise passes a history that keeps it, and fails one that breaks it."""

from __future__ import annotations

import pytest

from sidecar.model.cursor import Cursor, encode_cursor
from sidecar.model.ids import BookingKey, RoomUid
from tests.support.checkers import (
    check_atomic,
    check_checkpoint_true,
    check_complete,
    check_coverage_true,
    check_ordered,
    check_resumable,
    check_unique,
)
from tests.support.histories import Entry, Item, Kind, Log, Stream, Told

A, B = "tenants/t/rooms/a", "tenants/t/rooms/b"
LOG = Log([Entry(1, A), Entry(2, B), Entry(3, A), Entry(4, B)], {A: "uid-a", B: "uid-b"})


def token(revision: int, *, done: str | None = None, key: str | None = None, epoch: str = "e1") -> str:
    return encode_cursor(
        Cursor(
            store_id="s",
            epoch=epoch,
            scope=b"12345678",
            revision=revision,
            done=None if done is None else RoomUid(done),
            key=None if key is None else BookingKey(key),
        )
    )


def item(revision: int, room: str = A, *, body: bytes = b"", is_gone: bool = False) -> Item:
    return Item(name=f"{room}/bookings/k{revision}", revision=revision, is_gone=is_gone, body=body)


def changes(*items: Item, at: int | None = None, epoch: str = "e1") -> Told:
    position = items[-1].revision if at is None else at
    return Told(kind=Kind.BOOKINGS, items=items, token=token(position, epoch=epoch))


def rows(*items: Item) -> Told:
    return Told(kind=Kind.BOOKINGS, items=items)


def begins(room: str = A, *, is_gap: bool = False, with_token: str = "") -> Told:
    return Told(kind=Kind.BEGINS, room=room, snapshot_id=f"1.{room}", is_gap=is_gap, token=with_token)


def ends(room: str = A, *, at: int = 0, is_last: bool = True, snapshot_id: str = "") -> Told:
    done = None if is_last else "uid-a"
    return Told(kind=Kind.ENDS, room=room, snapshot_id=snapshot_id or f"1.{room}", token=token(at, done=done))


def checkpoint(at: int, *, floor: int | None = None, head: int | None = None, epoch: str = "e1") -> Told:
    return Told(kind=Kind.CHECKPOINT, token=token(at, epoch=epoch), floor=floor, head=head)


def stream(*told: Told, start: str = "", room: str | None = None) -> Stream:
    return Stream(start, None if room is None else frozenset((room,)), told=list(told))


WELL = stream(
    begins(A), rows(item(1)), ends(A, is_last=False), begins(B), ends(B), changes(item(1), item(2, B)), changes(item(3)),
    changes(item(4, B)), checkpoint(4),
)  # fmt: skip


def test_history_that_keeps_every_promise_passes_every_checker() -> None:
    check_ordered(WELL)
    check_unique([WELL, WELL])
    check_atomic(WELL)
    check_resumable(WELL)
    check_complete(WELL, LOG)


@pytest.mark.parametrize(
    "broken",
    [
        stream(changes(item(2), item(1), at=1)),
        stream(changes(item(2)), changes(item(1))),
        stream(changes(item(1)), changes(item(1))),
        stream(checkpoint(5), checkpoint(4)),
        stream(changes(item(1), at=2)),
    ],
    ids=["within a message", "between messages", "twice", "the position goes back", "a token ahead of its changes"],
)
def test_changes_out_of_order_are_found(broken: Stream) -> None:
    with pytest.raises(AssertionError, match="ordered"):
        check_ordered(broken)


def test_lower_revision_of_another_epoch_is_in_order() -> None:
    check_ordered(stream(changes(item(9)), changes(item(2), epoch="e2")))


def test_repeated_change_is_found() -> None:
    with pytest.raises(AssertionError, match="unique"):
        check_unique([stream(changes(item(1)), changes(item(1)))])


@pytest.mark.parametrize("is_row", [False, True], ids=["as a change", "as a row"])
def test_revision_that_says_two_things_is_found(is_row: bool) -> None:
    again = item(1, body=b"other")
    other = stream(begins(), rows(again), ends()) if is_row else stream(changes(again))
    with pytest.raises(AssertionError, match="two things"):
        check_unique([stream(changes(item(1, body=b"one"))), other])


def test_same_change_in_two_streams_is_unique() -> None:
    check_unique([stream(changes(item(1))), stream(changes(item(1)))])


@pytest.mark.parametrize(
    "broken",
    [
        stream(begins(A), begins(B)),
        stream(ends(A)),
        stream(begins(A), ends(B)),
        stream(begins(A), ends(A, snapshot_id="another")),
        stream(begins(A, with_token=token(1))),
        stream(begins(A), changes(item(1))),
        stream(begins(A), rows(item(1, B))),
        stream(begins(A), checkpoint(1)),
        stream(rows(item(1))),
    ],
    ids=[
        "one begins within another",
        "an end without a beginning",
        "another room ends",
        "another one ends",
        "a token at the beginning",
        "a token inside",
        "another room's rows",
        "a checkpoint inside",
        "rows outside",
    ],
)
def test_snapshot_that_is_not_one_piece_is_found(broken: Stream) -> None:
    with pytest.raises(AssertionError, match="atomic"):
        check_atomic(broken)


@pytest.mark.parametrize(
    "broken",
    [
        stream(checkpoint(5, head=4)),
        stream(Told(kind=Kind.CHECKPOINT)),
        stream(Told(kind=Kind.CHECKPOINT, token=token(1, key="k"))),
        stream(Told(kind=Kind.CLOSING), checkpoint(1)),
    ],
    ids=["ahead of the log", "a checkpoint without a token", "a place within a room", "after the closing"],
)
def test_token_that_cannot_be_resumed_from_is_found(broken: Stream) -> None:
    with pytest.raises(AssertionError, match="resumable"):
        check_resumable(broken)


@pytest.mark.parametrize(
    "broken",
    [
        stream(checkpoint(4), start=token(2)),
        stream(changes(item(4, B)), start=token(2)),
        stream(changes(item(3), at=4), start=token(2)),
        stream(checkpoint(3), start=token(0), room=A),
        stream(checkpoint(3), start=token(0, done="uid-a")),
        stream(begins(A), ends(A, at=1), checkpoint(3)),
        stream(changes(item(3)), begins(B, is_gap=True), ends(B, at=4), start=token(0)),
    ],
    ids=[
        "none sent",
        "one passed over",
        "the token is ahead",
        "of one room",
        "of a room whose snapshot is done",
        "after a snapshot",
        "before a gap",
    ],
)
def test_change_that_was_not_sent_is_found(broken: Stream) -> None:
    with pytest.raises(AssertionError, match="complete"):
        check_complete(broken, LOG)


@pytest.mark.parametrize(
    "whole",
    [
        stream(checkpoint(4), start=token(4)),
        stream(changes(item(3)), checkpoint(4), start=token(2), room=A),
        stream(begins(A), ends(A, at=3), checkpoint(3)),
        stream(begins(A, is_gap=True), ends(A, at=4), start=token(0)),
        stream(checkpoint(4, floor=3), start=token(0)),
        stream(checkpoint(4, epoch="e2"), start=token(0)),
        stream(checkpoint(4), start=token(0, done="")),
    ],
    ids=[
        "nothing new",
        "another room",
        "in the snapshot",
        "a gap",
        "pruned past",
        "another epoch",
        "before its snapshot",
    ],
)
def test_change_that_did_not_have_to_be_sent_is_not_missed(whole: Stream) -> None:
    check_complete(whole, LOG)


def test_log_of_what_others_were_told_finds_what_one_was_not() -> None:
    told_all, told_less = stream(changes(item(1), item(2)), start=token(0)), stream(changes(item(2)), start=token(0))
    log = Log.of_streams([told_all, told_less])
    check_complete(told_all, log)
    with pytest.raises(AssertionError, match="complete: 1"):
        check_complete(told_less, log)


@pytest.mark.parametrize(
    ("shown", "is_true"),
    [({"k": 1}, True), ({"k": 2}, True), ({}, False), ({"k": 3}, False), ({"k": 1, "other": 1}, False)],
    ids=["what was", "what it became", "missing", "never so", "never there"],
)
def test_checkpoint_that_vouches_for_too_much_is_found(shown: dict[str, int], is_true: bool) -> None:
    allowed = {"k": (1, 2), "gone": (None,)}
    if is_true:
        check_checkpoint_true("m", shown, allowed)
    else:
        with pytest.raises(AssertionError, match="checkpoint-true"):
            check_checkpoint_true("m", shown, allowed)


def test_snapshot_that_lacks_what_it_covers_is_found() -> None:
    check_coverage_true("s", {"a", "b"}, ["a"])
    with pytest.raises(AssertionError, match="coverage-true"):
        check_coverage_true("s", {"b"}, ["a"])
