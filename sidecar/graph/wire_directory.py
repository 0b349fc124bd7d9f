"""The form of requests about mailboxes and rooms as such, and of their answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sidecar.graph.wire import MALFORMED, Call, Malformed, Subject, WireStruct, repair, segment

_PLACES_PATH = "/places/microsoft.graph.room"
_PLACE_FIELDS = "emailAddress,displayName,capacity,building,floorNumber,floorLabel"


class Identity(WireStruct, frozen=True):
    """A user of the directory, which a room's mailbox is, too: its object id, and the addresses it goes by.

    Further addresses that mail to it may have are not among them: Graph's paths do not know a mailbox by those.
    """

    id: str | None = None
    mail: str | None = None
    user_principal_name: str | None = None

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses it goes by, case-folded."""
        return frozenset(one.casefold() for one in (self.mail, self.user_principal_name) if one)


class Place(WireStruct, frozen=True):
    """A room as the organisation's list of places tells it. Its own id is not the mailbox's, and may change."""

    email_address: str | None = None
    display_name: str | None = None
    capacity: int | None = None
    building: str | None = None
    floor_number: int | None = None
    floor_label: str | None = None


class _PlacesPage(WireStruct, frozen=True):
    value: list[Place]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class MailboxZone(WireStruct, frozen=True):
    """A mailbox's own time zone."""

    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class PlacesPage:
    """Some of the organisation's rooms. `next_query` asks for those that follow; None: these were the last ones."""

    places: tuple[Place, ...]
    next_query: str | None


_PLACES_PAGE = msgspec.json.Decoder(_PlacesPage)
_IDENTITY = msgspec.json.Decoder(Identity)
_ZONE = msgspec.json.Decoder(MailboxZone)


def identity_call(mailbox: str) -> Call:
    """Ask for the object id behind an address, and for the addresses that the mailbox goes by."""
    fields = "id,mail,userPrincipalName"
    return Call(method="GET", path=f"/users/{segment(mailbox)}?$select={fields}", subject=Subject.DIRECTORY)


def places_call(query: str | None, *, page_size: int) -> Call:
    """Ask for the first rooms of the organisation, or with `PlacesPage.next_query` for those that follow.

    `placeId` is not asked for: not every national cloud has it, and an unknown field is refused.
    """
    asked = f"$select={_PLACE_FIELDS}&$top={page_size}" if query is None else query
    return Call(method="GET", path=f"{_PLACES_PATH}?{asked}", subject=Subject.PLACES)


def zone_call(mailbox: str) -> Call:
    """Ask for the mailbox's own time zone."""
    path = f"/users/{segment(mailbox)}/mailboxSettings?$select=timeZone"
    return Call(method="GET", path=path, subject=Subject.DIRECTORY)


def parse_identity(body: bytes) -> Identity | None:
    """Read a user of the directory; None when it has no id."""
    try:
        found = _IDENTITY.decode(body)
    except MALFORMED:
        return None
    return found if found.id else None


def parse_places(body: bytes) -> PlacesPage:
    """Read a page of rooms. Of the link to the next one only the query is kept: it leads nowhere else than to more rooms.

    Raises:
        Malformed: it is no such page, or its link leads to something else.
    """
    try:
        page = _PLACES_PAGE.decode(repair(body))
    except MALFORMED as error:
        raise Malformed("not a page of rooms") from error
    path, _, query = (page.next_link or "").partition("?")
    if page.next_link and not (query and path.casefold().endswith(_PLACES_PATH)):
        raise Malformed("the next page of rooms is something else")
    return PlacesPage(tuple(page.value), query or None)


def parse_zone(body: bytes) -> str | None:
    """Read the name of a mailbox's zone, in whichever spelling it has; None when there is none."""
    try:
        return _ZONE.decode(body).time_zone or None
    except MALFORMED:
        return None
