"""How much of a meeting is kept: the one place where words and people are left out.

Pure. `admit` is the door: what becomes a booking passes it before anything is stored, compared, logged or told, and what is
stored passes it again when a tenant's settings become stricter. Whatever compares bookings compares what was admitted.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from dataclasses import dataclass, replace

from sidecar.model.booking import Attendee, Booking, BookingState, HashedPerson, Person, SubjectState

HASH_KEY_BYTES = 32
"""As long as the digest's own state takes without loss; a key nobody can guess."""
_HASH_BYTES = 16
"""128 bits: no two people of a directory meet by chance, and a name stays short."""
_NAME_CHARS_MIN = 2
"""A shorter name is in every subject."""


class Visibility(enum.IntEnum):
    """How much of something is kept. The order is that of strictness, the numbers are those of the API."""

    STORED = 1
    HASHED = 2
    """A keyed hash: equal ones can be told to be equal, and nothing else."""
    MASKED = 3
    """Nothing."""


class PrivateEvents(enum.IntEnum):
    """What is kept of events marked private or confidential; the numbers are those of the API."""

    LIKE_OTHERS = 1
    MASKED = 2


class PendingSubjects(enum.IntEnum):
    """What is kept of a subject before the room has answered; the numbers are those of the API."""

    SHOWN = 1
    WITHHELD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """How much a tenant wants to be kept. Of each field a higher number is stricter."""

    subject: Visibility = Visibility.STORED
    organizer: Visibility = Visibility.STORED
    attendees: Visibility = Visibility.STORED
    private_events: PrivateEvents = PrivateEvents.MASKED
    pending_subjects: PendingSubjects = PendingSubjects.WITHHELD

    @property
    def is_hashing(self) -> bool:
        """Whether anything is hashed, so that a key is needed."""
        return Visibility.HASHED in (self.subject, self.organizer, self.attendees)

    @property
    def is_storing_all(self) -> bool:
        """Whether nothing is left out of an ordinary meeting that the room has answered."""
        return self.subject == self.organizer == self.attendees == Visibility.STORED

    def is_stricter_than(self, other: Privacy) -> bool:
        """Tell whether something that `other` lets be kept is not to be kept under this one."""
        return any(mine > theirs for mine, theirs in zip(self._parts(), other._parts(), strict=True))

    def _parts(self) -> tuple[int, ...]:
        return (self.subject, self.organizer, self.attendees, self.private_events, self.pending_subjects)


DEFAULT_PRIVACY = Privacy()


def admit(booking: Booking, privacy: Privacy, *, hash_key: bytes, is_answered: bool) -> Booking:
    """Return a booking with as much of its words and people as may be kept.

    Admitting again changes nothing, and what was admitted before under looser settings comes out as if it had never been
    kept, so a copy can be made stricter without Exchange. Times, states and ids always stay: they are what a copy is for.

    - A private event keeps its organizer: Exchange's own default writes that name into the room's calendar, and whoever
      finds the room taken needs somebody to ask. It loses subject, attendees and the link.
    - Exchange writes the organizer's name into the subject, so a subject that names a hidden organizer is hidden as well.
    - A link for joining holds the organizer's id in the directory, so it is kept only where the organizer is.

    Args:
        hash_key: the tenant's own; may be empty where nothing is hashed.
        is_answered: the room has answered: until then Exchange shows the organizer's own words, afterwards what the
            customer wants shown.
    """
    is_masked = booking.is_private and privacy.private_events is PrivateEvents.MASKED
    is_withheld = not is_answered and privacy.pending_subjects is PendingSubjects.WITHHELD
    if privacy.is_storing_all and not is_masked and not is_withheld:
        return booking
    assert hash_key or not privacy.is_hashing, "whoever lets something be hashed brings the key"
    subject, subject_state = _admit_subject(booking, privacy, hash_key, is_masked=is_masked, is_withheld=is_withheld)
    is_link_kept = not is_masked and privacy.organizer is Visibility.STORED
    return replace(
        booking,
        subject=subject,
        subject_state=subject_state,
        organizer=None
        if booking.organizer is None
        else _admit_person(booking.organizer, privacy.organizer, hash_key=hash_key),
        attendees=() if is_masked else _admit_attendees(booking, privacy, hash_key),
        online_meeting_uri=booking.online_meeting_uri if is_link_kept else "",
    )


def readmit(booking: Booking, privacy: Privacy, *, hash_key: bytes) -> Booking:
    """Return a booking that was kept as it may be kept from now on; see `admit`.

    Whether a room had answered an invitation that was cancelled is not kept; such a subject goes, until it is read again.
    """
    is_answered = booking.state not in (BookingState.PENDING, BookingState.CANCELLED)
    return admit(booking, privacy, hash_key=hash_key, is_answered=is_answered)


def _admit_subject(
    booking: Booking, privacy: Privacy, hash_key: bytes, *, is_masked: bool, is_withheld: bool
) -> tuple[str, SubjectState]:
    if is_masked:
        return "", SubjectState.PRIVATE
    if is_withheld:
        return "", SubjectState.WITHHELD
    known = booking.subject_state
    if known in (SubjectState.PRIVATE, SubjectState.WITHHELD, SubjectState.MASKED):
        return "", known  # there is nothing left to decide about
    visibility = privacy.subject
    # A hash that the subject's own setting does not ask for is there because the subject named the organizer.
    is_foreign_hash = known is SubjectState.HASHED and visibility is Visibility.STORED
    if is_foreign_hash or (known is SubjectState.SHOWN and _names_organizer(booking)):
        visibility = _stricter(visibility, privacy.organizer)
    match visibility:
        case Visibility.MASKED:
            return "", SubjectState.MASKED
        case Visibility.HASHED if known is not SubjectState.HASHED:
            return _hash(booking.subject.strip(), hash_key, what=b"subject"), SubjectState.HASHED
    return booking.subject, known


def _names_organizer(booking: Booking) -> bool:
    organizer = booking.organizer
    if not isinstance(organizer, Person):
        return False
    subject = " ".join(booking.subject.casefold().split())
    names = (" ".join(name.casefold().split()) for name in (organizer.display_name, organizer.email))
    return any(len(name) >= _NAME_CHARS_MIN and name in subject for name in names)


def _admit_attendees(booking: Booking, privacy: Privacy, hash_key: bytes) -> tuple[Attendee, ...]:
    """Admit attendees, the organizer among them no more openly than as the organizer."""
    if privacy.attendees is Visibility.MASKED:
        return ()
    if privacy.attendees is privacy.organizer is Visibility.STORED:
        return booking.attendees
    kept: list[Attendee] = []
    for attendee in booking.attendees:
        # As with subjects: a hash that the attendees' own setting does not ask for is the organizer's.
        is_foreign_hash = isinstance(attendee.person, HashedPerson) and privacy.attendees is Visibility.STORED
        is_organizer = is_foreign_hash or _is_same(attendee.person, booking.organizer)
        visibility = _stricter(privacy.attendees, privacy.organizer) if is_organizer else privacy.attendees
        person = _admit_person(attendee.person, visibility, hash_key=hash_key)
        if person is not None:
            kept.append(replace(attendee, person=person))
    return tuple(kept)


def _stricter(one: Visibility, other: Visibility) -> Visibility:
    return max(one, other)


def _is_same(person: Person | HashedPerson, other: Person | HashedPerson | None) -> bool:
    if isinstance(person, Person) and isinstance(other, Person):
        return _identity(person) == _identity(other) or (
            bool(person.display_name) and person.display_name.casefold() == other.display_name.casefold()
        )
    return person == other


def _admit_person(
    person: Person | HashedPerson, visibility: Visibility, *, hash_key: bytes
) -> Person | HashedPerson | None:
    if visibility is Visibility.MASKED:
        return None
    if visibility is Visibility.STORED or isinstance(person, HashedPerson):
        return person
    return HashedPerson(_hash(_identity(person), hash_key, what=b"person"))


def _identity(person: Person) -> str:
    """Return what makes a person the same in two meetings: the address, however it is written; else the name."""
    return (person.email or person.display_name).strip().casefold()


def _hash(text: str, key: bytes, *, what: bytes) -> str:
    """Return a keyed hash; `what` keeps a subject and a person of the same name apart."""
    encoded = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(encoded, key=key, person=what, digest_size=_HASH_BYTES).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()
