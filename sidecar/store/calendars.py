"""The copy of the rooms' calendars: one transaction writes bookings, log, sync state and what is due, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sidecar.errors import RoomNotFound
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, EventId, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.intent import Lease
from sidecar.model.overlay import overlay
from sidecar.model.plan import Applied, CompleteRead, DeltaRead, Removal, RoomPlan, Scope, Upsert
from sidecar.model.problem import PASSING_REASONS
from sidecar.model.room import Room
from sidecar.model.window import Window, from_micros, to_micros
from sidecar.model.write import Hold
from sidecar.store import booking_rows, journal, locks, reads, rows, unsettled
from sidecar.store.attendances import load_attendances
from sidecar.store.changes import LogHead, load_head
from sidecar.store.departing import BodyStamper, load_departing
from sidecar.store.engine import Connection, Engine, Row
from sidecar.store.notices import renew_soon
from sidecar.store.rooms import load_tenant_uid, save_problem
from sidecar.store.write_steps import ENDED, Step
from sidecar.telemetry.tracing import child

Planner = Callable[[Mapping[BookingKey, StoredBooking]], RoomPlan]
"""A pure function of the stored bookings in question; runs inside the transaction."""

_LISTED_ROOM = f"{rows.ROOM} WHERE t.tenant_id = $1 AND r.room_id = $2 AND t.deleted_at IS NULL"


class BookingCodec(BodyStamper, Protocol):
    """Writes bookings in the form they are served in, so that serving one is copying bytes."""

    def encode(self, booking: Booking, *, room_name: str, revision: int, digest: bytes) -> bytes:
        """Return the encoded booking."""


PagePlace = tuple[datetime, RoomUid, BookingKey]
"""A booking's place in the order of lists."""

_PAGE_BYTES_MAX = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BookingPage:
    """Encoded bookings in the order of the list. `last` is the place of the last one, None when nothing follows."""

    bodies: list[bytes]
    last: PagePlace | None


@dataclass(frozen=True, slots=True)
class RoomListing:
    """A room, where its tenant's log stood, and bookings, all as of one moment."""

    room: Room
    head: LogHead
    page: BookingPage


class Calendars:
    """The bookings."""

    def __init__(self, engine: Engine, codec: BookingCodec) -> None:
        self._engine = engine
        self._codec = codec

    async def apply(
        self,
        room: Room,
        planner: Planner,
        *,
        lease: Lease | None,
        scope: Scope | None = None,
        complete: CompleteRead | None = None,
        delta: DeltaRead | None = None,
        hints_through: int | None = None,
        step: Step | None = None,
    ) -> Applied | None:
        """Carry out what `planner` decides about the stored bookings, with everything that belongs to it.

        The first complete read of a room writes no entry for each booking but one that says "read it all".

        Args:
            lease: the right to write for the tenant; None only outside of lanes (tests).
            scope: which stored bookings the planner is given; None: all of the room.
            complete: the read covered the whole horizon; the room is fresh as of its beginning.
            delta: the read covered all that a delta round named; the room is fresh as of the round's beginning.
            hints_through: hints with a generation up to this one are answered by this read.
            step: how far a write has come; it is noted whatever becomes of the plan.
        Returns:
            What was done; None when the room is not mapped any more, or to another mailbox by now, its tenant is being deleted,
            or the tenant's settings say by now that calendars are to be read in another way: then nothing was done, and a full
            read is due.
        Raises:
            StoreConflict: the lease is lost, or somebody else works on the write.
        """

        async def run(c: Connection) -> Applied | None:
            await locks.keep_tenant(c, room.tenant_uid)
            await journal.check_lease(c, lease)
            if step is not None:
                await step(c)
            state = await c.fetch_one(
                "SELECT r.fresh_as_of_at, t.epoch_at, r.read_privacy, t.past_days, t.future_days, t.check_interval_s,"
                " t.privacy, t.write_mode FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
                " WHERE r.uid = $1 AND r.calendar_no = $2 AND t.deleted_at IS NULL",
                room.uid,
                room.calendar_no,
            )
            if state is None:
                return None
            settings = rows.settings_from_columns(*state[3:8])
            if settings.reading != room.settings.reading:
                # What was read may hold what is not to be kept any more. The change made a full read due.
                return None
            is_first = complete is not None and state[0] is None
            if state[0] is None and complete is None:
                # Not read as a whole yet: what a hint says will be part of the first complete read.
                await _forget_hints(c, room.uid, hints_through)
                return Applied(changes_count=0)
            stored = await booking_rows.load_stored(c, room.uid, scope)
            read = complete or delta
            began_at = None if read is None else read.began_at
            plan = await unsettled.hold_back(c, room, planner(stored), stored, began_at=began_at)
            plan = overlay(plan, stored, await load_attendances(c, room.uid))
            surprises = reads.Surprises()
            # What is older than the log's epoch comes from a backup: what happened since was announced, to a lost copy.
            # So may what differs since more was admitted: nobody changed that, in Exchange.
            is_known = state[0] is not None and state[0] >= state[1]
            is_known &= rows.privacy_from_text(state[2]) == settings.privacy
            if read is not None and is_known and not await _has_hints(c, room.uid):
                surprises = reads.count_surprises(plan, stored, room, read)
            await self._write(c, room, plan, is_first=is_first)
            await _forget_hints(c, room.uid, hints_through)
            is_news = plan.news_count > 0
            if complete is not None:
                drift_count = surprises.drift_count
                await reads.save_complete(
                    c, room, complete, drift_count=drift_count, is_first=is_first, is_news=is_news
                )
            elif delta is not None:
                await reads.save_delta(c, room, delta, is_news=is_news)
            elif (
                scope is not None
                and scope.event_ids
                and room.problem is not None
                and room.problem.reason in PASSING_REASONS
            ):
                # Exchange answers again. What refuses the room as a whole is only disproved by a read of the whole.
                await save_problem(c, room.uid, "problem", None, lease=None)
            if surprises.count:
                # The subscription may be gone without a word. Asking about it for nothing now and then, because the
                # read was quicker than the notification, costs one request.
                await renew_soon(c, room.uid, room.tenant_uid)
            return Applied(
                changes_count=plan.news_count,
                unannounced_count=surprises.unannounced_count,
                drift_count=surprises.drift_count,
                held_count=0 if complete is None else len(complete.held),
                is_first=is_first,
            )

        with child("commit") as part:
            applied = await self._engine.write(run)
            if applied is not None:
                part.note("exchange.changes_count", applied.changes_count)
        return applied

    async def _write(self, c: Connection, room: Room, plan: RoomPlan, *, is_first: bool) -> None:
        """Write a plan's rows and entries; revisions are taken for entries only."""
        news: list[Upsert | Removal] = [item for item in plan.upserts if item.kind is not None]
        news += [item for item in plan.removals if item.kind is not None]
        entries_count = 0 if is_first else len(news)
        last = await journal.take_revisions(c, room.tenant_uid, entries_count)
        # What is no news is written under the newest revision there is; nobody can have seen a newer one.
        revisions = {} if is_first else {id(item): last + place for place, item in enumerate(news, 1)}
        written: list[tuple[Upsert, int, bytes]] = []
        for upsert in plan.upserts:
            revision = revisions.get(id(upsert), last)
            body = self._codec.encode(upsert.booking, room_name=room.name, revision=revision, digest=upsert.digest)
            written.append((upsert, revision, body))
        if entries_count:
            bodies = {id(upsert): body for upsert, _, body in written}
            bodies |= await self._departing_bodies(c, room, plan.removals, revisions)
            entries = [
                journal.Entry(
                    room.uid,
                    item.kind or ChangeKind.UPSERTED,
                    item.cause,
                    item.key if isinstance(item, Removal) else item.booking.key,
                    bodies[id(item)],
                )
                for item in news
            ]
            await journal.append(c, room.tenant_uid, entries, after_revision=last)
        await booking_rows.save_bookings(c, room, written)
        await booking_rows.drop_bookings(c, room.uid, plan.removals)
        await booking_rows.touch_bookings(c, room.uid, plan.touches)

    async def _departing_bodies(
        self, c: Connection, room: Room, removals: Sequence[Removal], revisions: Mapping[int, int]
    ) -> dict[int, bytes]:
        bodies: dict[int, bytes] = {}
        depart = await load_departing(c, room.tenant_uid, self._codec)
        for removal in removals:
            if removal.kind is None:
                continue
            row = await c.fetch_one("SELECT body FROM bookings WHERE room_uid = $1 AND key = $2", room.uid, removal.key)
            assert row is not None, "the plan was made from stored bookings"
            bodies[id(removal)] = depart(bytes(row[0]), revisions[id(removal)])
        return bodies

    async def load_hints(self, room_uid: RoomUid) -> tuple[Sequence[EventId], int]:
        """Return the events that notifications named and no read has answered, and the newest generation among them."""

        async def run(c: Connection) -> tuple[list[EventId], int]:
            found = await c.fetch(
                "SELECT event_id, generation FROM hints WHERE room_uid = $1 ORDER BY event_id", room_uid
            )
            return [EventId(row[0]) for row in found], max((int(row[1]) for row in found), default=0)

        return await self._engine.read(run)

    async def load_held(self, room_uid: RoomUid) -> dict[BookingKey, datetime]:
        """Return the bookings that are held back, each with the beginning of the read that first lacked it."""
        return await self._engine.read(lambda c: reads.load_held(c, room_uid))

    async def load_one(self, room_uid: RoomUid, key: BookingKey) -> StoredBooking | None:
        """Return what is stored of one booking; None when there is none."""
        scope = Scope(event_ids=(), keys=(key,))
        return (await self._engine.read(lambda c: booking_rows.load_stored(c, room_uid, scope))).get(key)

    async def load_busy(self, room_uid: RoomUid, window: Window) -> Sequence[Window]:
        """Return when within a window the room is taken, soonest first; what has no length takes nothing."""

        async def run(c: Connection) -> list[Window]:
            found = await c.fetch(
                "SELECT start_at, end_at FROM bookings WHERE room_uid = $1 AND start_at < $2 AND end_at > $3"
                " AND end_at > start_at AND takes_room = 1 ORDER BY start_at, end_at",
                room_uid,
                to_micros(window.end_at),
                to_micros(window.start_at),
            )
            return [Window(from_micros(row[0]), from_micros(row[1])) for row in found]

        return await self._engine.read(run)

    async def load_taken(
        self, room_uid: RoomUid, window: Window, *, besides: Collection[EventId]
    ) -> tuple[Sequence[Window], Sequence[Window]]:
        """Return when within a window the copy says that the room is taken.

        Args:
            besides: events and series that do not count.
        Returns:
            By bookings whose series a write is half-way with, so that Exchange may not show them just now; and by all others.
        """

        async def run(c: Connection) -> Sequence[Row]:
            return await c.fetch(
                "SELECT b.start_at, b.end_at, b.event_id, b.master_id, (SELECT COUNT(*) FROM writes w"  # noqa: S608  (ours)
                f" WHERE w.room_uid = b.room_uid AND w.hold = $4 AND w.state NOT IN ({ENDED})"
                " AND w.event_id IN (b.event_id, b.master_id)) FROM bookings b"
                " WHERE b.room_uid = $1 AND b.start_at < $2 AND b.end_at > $3 AND b.end_at > b.start_at AND b.takes_room = 1"
                " ORDER BY b.start_at, b.end_at",
                room_uid,
                to_micros(window.end_at),
                to_micros(window.start_at),
                Hold.FROZEN.value,
            )

        frozen: list[Window] = []
        others: list[Window] = []
        for start_at, end_at, event_id, master_id, frozen_count in await self._engine.read(run):
            if event_id not in besides and master_id not in besides:
                (frozen if frozen_count else others).append(Window(from_micros(start_at), from_micros(end_at)))
        return frozen, others

    async def load_stored(self, room_uid: RoomUid) -> dict[BookingKey, StoredBooking]:
        """Return what is stored of a room's bookings."""
        return await self._engine.read(lambda c: booking_rows.load_stored(c, room_uid, None))

    async def page(
        self,
        tenant_id: TenantId,
        room_uid: RoomUid | None,
        window: Window,
        *,
        after: PagePlace | None,
        count_max: int,
        show_all: bool,
        bytes_max: int = _PAGE_BYTES_MAX,
    ) -> BookingPage:
        """Return bookings that overlap a window, by start, of one room or of all rooms of a tenant.

        Args:
            after: the place of the last booking of the page before.
            show_all: also bookings that do not take the room.
            bytes_max: the page ends before the booking that would make it larger, but never before its first.
        Raises:
            TenantNotFound: when all rooms are asked for.
        """

        async def run(c: Connection) -> BookingPage:
            owner = await load_tenant_uid(c, tenant_id) if room_uid is None else room_uid
            found = await _page(c, owner, room_uid is None, window, after, count_max + 1, show_all)
            return _cut_page(found, count_max, bytes_max)

        return await self._engine.read(run)

    async def list_room(
        self,
        tenant_id: TenantId,
        room_id: RoomId,
        window: Window,
        *,
        after: PagePlace | None,
        count_max: int,
        show_all: bool,
        bytes_max: int = _PAGE_BYTES_MAX,
    ) -> RoomListing:
        """Return a page as `page` does, with the room and the position of its tenant's log, in one read.

        Raises:
            RoomNotFound: also when the tenant is unknown or being deleted.
        """

        async def run(c: Connection) -> RoomListing:
            row = await c.fetch_one(_LISTED_ROOM, tenant_id, room_id)
            if row is None:
                raise RoomNotFound("there is no such room")
            room = rows.room_from_row(row, now=c.now)
            head = await load_head(c, room.tenant_uid)
            assert head is not None, "read in the same transaction"
            found = await _page(c, room.uid, False, window, after, count_max + 1, show_all)
            return RoomListing(room, head, _cut_page(found, count_max, bytes_max))

        return await self._engine.read(run)

    async def load_body(self, tenant_id: TenantId, room_id: RoomId, key: BookingKey) -> bytes | None:
        """Return one encoded booking, None when there is none."""

        async def run(c: Connection) -> bytes | None:
            row = await c.fetch_one(
                "SELECT b.body FROM bookings b JOIN rooms r ON r.uid = b.room_uid JOIN tenants t ON t.uid = r.tenant_uid"
                " WHERE t.tenant_id = $1 AND r.room_id = $2 AND b.key = $3 AND t.deleted_at IS NULL",
                tenant_id,
                room_id,
                key,
            )
            return None if row is None else bytes(row[0])

        return await self._engine.read(run)

    async def snapshot_page(
        self, room_uid: RoomUid, *, after: BookingKey, count_max: int
    ) -> Sequence[tuple[BookingKey, bytes]]:
        """Return a room's bookings that take the room, by key.

        Keys never change, so whatever is written between two pages, a booking that exists all the while is seen once.
        """

        async def run(c: Connection) -> list[tuple[BookingKey, bytes]]:
            found = await c.fetch(
                "SELECT key, body FROM bookings WHERE room_uid = $1 AND key > $2 AND takes_room = 1 ORDER BY key LIMIT $3",
                room_uid,
                after,
                count_max,
            )
            return [(BookingKey(row[0]), bytes(row[1])) for row in found]

        return await self._engine.read(run)

    async def count(self, room_uid: RoomUid) -> int:
        """Return how many bookings take the room."""

        async def run(c: Connection) -> int:
            row = await c.fetch_one("SELECT COUNT(*) FROM bookings WHERE room_uid = $1 AND takes_room = 1", room_uid)
            return 0 if row is None else int(row[0])

        return await self._engine.read(run)


def _cut_page(found: Sequence[Row], count_max: int, bytes_max: int) -> BookingPage:
    """Take as many rows of `_page` as a page may hold."""
    bodies: list[bytes] = []
    bytes_count = 0
    for row in found:
        bytes_count += len(row[3])
        if len(bodies) == count_max or (bodies and bytes_count > bytes_max):
            start_at, room_uid, key, _ = found[len(bodies) - 1]
            return BookingPage(bodies, (from_micros(start_at), RoomUid(room_uid), BookingKey(key)))
        bodies.append(row[3])
    return BookingPage(bodies, None)


async def _page(
    c: Connection,
    owner: TenantUid | RoomUid,
    is_tenant: bool,
    window: Window,
    after: PagePlace | None,
    limit: int,
    show_all: bool,
) -> Sequence[Row]:
    start, end = to_micros(window.start_at), to_micros(window.end_at)
    place = (-(2**62), "", "") if after is None else (to_micros(after[0]), after[1], after[2])
    column = "tenant_uid" if is_tenant else "room_uid"
    return await c.fetch(
        f"SELECT start_at, room_uid, key, body FROM bookings WHERE {column} = $1 AND start_at < $2"  # noqa: S608  (ours)
        " AND (end_at > $3 OR (end_at = $3 AND start_at = $3)) AND (start_at, room_uid, key) > ($4, $5, $6)"
        " AND takes_room >= $7 ORDER BY start_at, room_uid, key LIMIT $8",
        owner,
        end,
        start,
        *place,
        0 if show_all else 1,
        limit,
    )


async def _has_hints(c: Connection, room_uid: RoomUid) -> bool:
    return await c.fetch_one("SELECT 1 FROM hints WHERE room_uid = $1 LIMIT 1", room_uid) is not None


async def _forget_hints(c: Connection, room_uid: RoomUid, hints_through: int | None) -> None:
    if hints_through is not None:
        await c.execute("DELETE FROM hints WHERE room_uid = $1 AND generation <= $2", room_uid, hints_through)
