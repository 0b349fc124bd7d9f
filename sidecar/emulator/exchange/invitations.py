"""What an organizer's words become on the way to an attendee. Pure functions over contents.

Source: Graph "event resource type" page (`hideAttendees`); of other people's answers an attendee's copy shows nothing, as
users have reported.
"""

from dataclasses import fields, replace
from datetime import datetime

from sidecar.emulator.exchange.event import Attendee, Content, Event
from sidecar.emulator.exchange.mailbox import Mailbox


def as_invited(content: Content, mailbox: Mailbox) -> Content:
    """Give an invitation as it first shows to a mailbox: tentative, unanswered, without the organizer's own categories."""
    attendees = unanswered(content.attendees)
    if content.hide_attendees:
        attendees = tuple(one for one in attendees if mailbox.has_address(one.person.address))
    return replace(content, show_as="tentative", attendees=attendees, categories=())


def as_updated(content: Content, mailbox: Mailbox, item: Event) -> Content:
    """Give an organizer's new words for an item whose answer stands: what the mailbox decided for itself is kept."""
    invited = replace(as_invited(content, mailbox), show_as=item.content.show_as, categories=item.content.categories)
    if item.response == "notResponded" or item.responded_at is None:
        return invited
    return with_answer(invited, mailbox, item.response, item.responded_at)


def as_cancelled(content: Content) -> Content:
    """Give a cancelled meeting as it stays on a calendar."""
    if content.subject.startswith("Canceled: "):
        return content
    return replace(content, subject=f"Canceled: {content.subject}", show_as="free")


def unanswered(attendees: tuple[Attendee, ...]) -> tuple[Attendee, ...]:
    """Forget every answer."""
    return tuple(replace(one, response="none", responded_at=None, proposed=None) for one in attendees)


def with_answer(content: Content, mailbox: Mailbox, response: str, at: datetime) -> Content:
    """Note what a mailbox answered, under whichever of its addresses it was invited."""
    return replace(
        content,
        attendees=tuple(
            replace(one, response=response, responded_at=at) if mailbox.has_address(one.person.address) else one
            for one in content.attendees
        ),
    )


def invites(content: Content, mailbox: Mailbox) -> bool:
    """Tell whether a mailbox is among the attendees."""
    return any(mailbox.has_address(one.person.address) for one in content.attendees)


def guests_count(content: Content) -> int:
    """Count the people invited; rooms and equipment are none."""
    return sum(one.kind != "resource" for one in content.attendees)


def followed(old: Content, new: Content, exception: Content) -> Content:
    """Let a series' exception follow a change of its series, where it had not gone its own way."""
    changes = {
        one.name: getattr(new, one.name)
        for one in fields(Content)
        if one.name != "attendees" and getattr(exception, one.name) == getattr(old, one.name) != getattr(new, one.name)
    }
    before, after = _addresses(old), _addresses(new)
    kept = [one for one in exception.attendees if one.person.address.lower() not in before - after]
    own = {one.person.address.lower() for one in kept}
    added = [
        one
        for one in new.attendees
        if one.person.address.lower() in after - before and one.person.address.lower() not in own
    ]
    return replace(exception, **changes, attendees=(*kept, *added))


def _addresses(content: Content) -> set[str]:
    return {one.person.address.lower() for one in content.attendees}
