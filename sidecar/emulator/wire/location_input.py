"""What a caller writes into a location.

Source: Graph "location resource type", "physicalAddress resource type", "outlookGeoCoordinates resource type" pages.
"""

from types import NoneType
from typing import Any

from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.wire.members import read_choice, read_members, read_object, read_text, wrong_type

_ADDRESS = ("city", "countryOrRegion", "postalCode", "state", "street")
_COORDINATES = ("accuracy", "altitude", "altitudeAccuracy", "latitude", "longitude")
_LOCATION_TEXTS = ("displayName", "locationEmailAddress", "locationUri", "uniqueId")
_LOCATION_TYPES = """default conferenceRoom homeAddress businessAddress geoCoordinates streetAddress hotel restaurant
    localBusiness postalAddress""".split()  # noqa: SIM905  (a list of names is easier to read)
_UNIQUE_ID_TYPES = ("unknown", "locationStore", "directory", "private", "bing")


def parse_location(wire: Any) -> JsonObject:  # Any: JSON from the wire
    """Read a location as it is kept: with its name, its types and what else was given.

    Raises:
        GraphError: 400 for members or values a location cannot have.
    """
    known = (*_LOCATION_TEXTS, "locationType", "uniqueIdType", "address", "coordinates")
    members = read_members(wire, "location", known)
    found: JsonObject = {"displayName": "", "locationType": "default", "uniqueIdType": "private"}
    found.update({name: value for name in _LOCATION_TEXTS if (value := read_text(members, name)) is not None})
    for name, choices in (("locationType", _LOCATION_TYPES), ("uniqueIdType", _UNIQUE_ID_TYPES)):
        found[name] = read_choice(members, name, choices) or found[name]
    address = read_object(members, "address", "physicalAddress", _ADDRESS)
    if address:
        found["address"] = {name: value for name in _ADDRESS if (value := read_text(address, name)) is not None}
    coordinates = read_object(members, "coordinates", "outlookGeoCoordinates", _COORDINATES)
    if any(isinstance(value, bool) or not isinstance(value, (int, float, NoneType)) for value in coordinates.values()):
        raise wrong_type("coordinates")
    if coordinates:
        found["coordinates"] = {name: value for name, value in coordinates.items() if value is not None}
    if found["uniqueIdType"] == "private" and found["displayName"]:
        found.setdefault("uniqueId", found["displayName"])
    return found
