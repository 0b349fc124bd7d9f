"""Find the room mailboxes that a customer's organisation has, and say which of them are mapped.

Somebody waits for the answer, so it is bounded in requests and in time, and its requests go before all background work but
writes: a request that says nothing else of itself is that urgent (`graph.urgency`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sidecar.errors import (
    GraphRefused,
    GraphUnavailable,
    PlacesDenied,
    PlacesMissing,
    RoomBlocked,
    SecretUnreadable,
    SidecarError,
    TenantBlocked,
    TenantNotFound,
    TenantSuspended,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire_directory import Place, PlacesPage
from sidecar.model.ids import RoomId, TenantId, TenantUid
from sidecar.model.room import Room
from sidecar.store.store import Store

_REQUESTS_MAX = 10
"""A filter that few rooms pass may read so many of Microsoft's pages for one page; then a shorter one is answered."""
_PLACES_PER_PAGE_MAX = 100
"""What Microsoft gives when not asked for a number, so certainly what it is willing to give."""
_PATIENCE_S = 30.0
"""For a whole page; whoever waits longer has gone."""
_FIRST = RoomId("")
_REFUSALS = (PlacesDenied, PlacesMissing, TenantBlocked, RoomBlocked, GraphRefused, SecretUnreadable)


class PlaceLister(Protocol):
    """Reading an organisation's rooms; `graph.client.GraphClient` is one."""

    async def fetch_places(self, tenant: TenantRef, query: str | None, *, page_size: int) -> PlacesPage:
        """Read some rooms, beginning with the first ones (None) or after a page."""


class Forgetter(Protocol):
    """Dropping what is kept in memory for a tenant; `graph.auth.TokenSource` is one."""

    def forget(self, tenant_uid: TenantUid) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredRoom:
    """A room mailbox. `room` is the one that is mapped to it, None: none. Texts may be empty, capacity 0, when not given."""

    mailbox: str
    display_name: str
    building: str = ""
    floor: str = ""
    capacity: int = 0
    room: Room | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rooms are looked for.

    Attributes:
        unmapped_only: only those that no room is mapped to.
        text: case-folded; only those whose address, name, building or floor holds it; empty: all.
    """

    unmapped_only: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryPlace:
    """Where a page begins: so many rooms into what Microsoft answers to `query`, or after a mapped room.

    Attributes:
        query: of a page at Microsoft; None: the first one.
        offset: rooms of that page that are done.
        is_known: Microsoft's list cannot be read, and our own is told instead, from after `after` on.
    """

    query: str | None = None
    offset: int = 0
    is_known: bool = False
    after: RoomId = _FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryPage:
    """Rooms, where the next page begins (None: nowhere), and what keeps Microsoft's list from being read, if it was tried."""

    rooms: Sequence[DiscoveredRoom]
    next: DiscoveryPlace | None
    refusal: SidecarError | None = None


class RoomDiscovery:
    """Discovers rooms."""

    def __init__(self, *, store: Store, places: PlaceLister, tokens: Forgetter) -> None:
        self._store = store
        self._places = places
        self._tokens = tokens

    async def page(
        self, tenant_id: TenantId, wanted: Wanted, place: DiscoveryPlace, *, count_max: int
    ) -> DiscoveryPage:
        """Return the rooms of a page.

        Raises:
            TenantNotFound, TenantSuspended. Unavailable: Microsoft does not answer now.
        """
        tenant = await self._store.tenants.load(tenant_id)
        if tenant.deleted_at is not None:
            raise TenantNotFound("the tenant is being deleted")
        if tenant.is_at_rest:
            raise TenantSuspended("the tenant is suspended; nothing is asked of Microsoft for it")
        refusal: SidecarError | None = None
        if not place.is_known:
            ref = ref_of(tenant)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    try:
                        return await self._listed(ref, tenant_id, wanted, place, count_max)
                    except PlacesDenied:
                        # A token names the permissions of its time; they may have been granted a moment ago.
                        self._tokens.forget(tenant.uid)
                        return await self._listed(ref, tenant_id, wanted, place, count_max)
            except TimeoutError as error:
                raise GraphUnavailable("Exchange took too long to list rooms") from error
            except _REFUSALS as error:
                refusal, place = error, DiscoveryPlace(is_known=True)
        return replace(await self._known(tenant_id, wanted, place, count_max), refusal=refusal)

    async def _listed(
        self, ref: TenantRef, tenant_id: TenantId, wanted: Wanted, place: DiscoveryPlace, count_max: int
    ) -> DiscoveryPage:
        """Read Microsoft's list from a place on, until something is found or enough was asked."""
        for _ in range(_REQUESTS_MAX):
            page_size = min(count_max, _PLACES_PER_PAGE_MAX)
            page = await self._places.fetch_places(ref, place.query, page_size=page_size)
            rooms = await self._with_mapped(tenant_id, page.places)
            fits = _filter(wanted)
            shown = [
                (number, room)
                for number, room in enumerate(rooms)
                if number >= place.offset and room is not None and fits(room)
            ]
            if len(shown) > count_max:  # Microsoft gives more to a page than was asked for
                place = replace(place, offset=shown[count_max][0])
                return DiscoveryPage(rooms=[room for _, room in shown[:count_max]], next=place)
            if page.next_query is None:
                return DiscoveryPage(rooms=[room for _, room in shown], next=None)
            place = DiscoveryPlace(query=page.next_query)
            if shown:
                return DiscoveryPage(rooms=[room for _, room in shown], next=place)
        return DiscoveryPage(rooms=(), next=place)

    async def _with_mapped(self, tenant_id: TenantId, places: Sequence[Place]) -> list[DiscoveredRoom | None]:
        """Say which of Microsoft's rooms are mapped; None in place of one without an address, which cannot be."""
        mapped = await self._store.rooms.by_mailbox(
            tenant_id, [one.email_address for one in places if one.email_address]
        )
        return [_discovered(one, mapped.get((one.email_address or "").casefold())) for one in places]

    async def _known(self, tenant_id: TenantId, wanted: Wanted, place: DiscoveryPlace, count_max: int) -> DiscoveryPage:
        """Return the rooms that are mapped, by name."""
        if wanted.unmapped_only:
            return DiscoveryPage(rooms=(), next=None)
        found = await self._store.rooms.page(tenant_id, after=place.after, count_max=count_max + 1)
        fits = _filter(wanted)
        shown = [
            DiscoveredRoom(mailbox=room.mailbox, display_name=room.display_name, capacity=room.capacity, room=room)
            for room in found[:count_max]
        ]
        is_last = len(found) <= count_max
        following = None if is_last else replace(place, after=found[count_max - 1].room_id)
        return DiscoveryPage(rooms=[room for room in shown if fits(room)], next=following)


def _discovered(place: Place, room: Room | None) -> DiscoveredRoom | None:
    if not place.email_address:
        return None
    floor = place.floor_label or ("" if place.floor_number is None else str(place.floor_number))
    return DiscoveredRoom(
        mailbox=place.email_address,
        display_name=place.display_name or "",
        building=place.building or "",
        floor=floor,
        capacity=max(0, place.capacity or 0),
        room=room,
    )


def _filter(wanted: Wanted) -> Callable[[DiscoveredRoom], bool]:
    def fits(room: DiscoveredRoom) -> bool:
        if wanted.unmapped_only and room.room is not None:
            return False
        texts = (room.mailbox, room.display_name, room.building, room.floor)
        return any(wanted.text in text.casefold() for text in texts)

    return fits
