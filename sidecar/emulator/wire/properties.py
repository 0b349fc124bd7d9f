"""The names an event's properties have, and `$select` over them.

Source: Graph "event resource type" page and the v1.0 metadata.
"""

from functools import lru_cache

from sidecar.emulator.errors import GraphError

EVENT_PROPERTIES = frozenset(
    """id createdDateTime lastModifiedDateTime changeKey categories transactionId originalStartTimeZone
    originalEndTimeZone iCalUId reminderMinutesBeforeStart isReminderOn hasAttachments subject bodyPreview importance
    sensitivity isAllDay isCancelled isOrganizer responseRequested seriesMasterId showAs type webLink onlineMeetingUrl
    isOnlineMeeting onlineMeetingProvider allowNewTimeProposals isDraft hideAttendees onlineMeeting recurrence
    responseStatus body start end location locations attendees organizer originalStart cancelledOccurrences""".split()  # noqa: SIM905  (a list of names is easier to read)
)
NAVIGATION = frozenset(
    """attachments calendar exceptionOccurrences extensions instances multiValueExtendedProperties
    singleValueExtendedProperties""".split()  # noqa: SIM905  (as above)
)


@lru_cache(maxsize=512)
def parse_select(text: str | None, known: frozenset[str]) -> frozenset[str] | None:
    """Read $select, names in any case; None is everything.

    Raises:
        GraphError: 400 for a property the type does not have.
    """
    if text is None or not text.strip():
        return None
    spelled = {name.lower(): name for name in known}
    names = set()
    for name in (one.strip() for one in text.split(",")):
        if name and name.lower() not in spelled:
            message = f"Could not find a property named '{name}' on type 'microsoft.graph.event'."
            raise GraphError(400, "RequestBroker--ParseUri", message)
        if name:
            names.add(spelled[name.lower()])
    return frozenset(names)
