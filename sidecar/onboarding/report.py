"""What is to be said about a result file: what stands in the way, whose move it is, and which room settings will bite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sidecar.onboarding.findings import RANKS, Finding, Severity, find_settings_that_bite
from sidecar.onboarding.result_file import (
    EntraResult,
    ExchangeResult,
    OnboardingResult,
    Outside,
    Room,
    printable,
)
from sidecar.onboarding.settings_file import RoomSettings, parse_settings

_EXPIRY_WARNING = timedelta(days=30)
_EVERYTHING = "Organization"
_SCOPED = frozenset({"CustomRecipientScope", "AdministrativeUnit"})
"""What Exchange calls the limits that the script sets."""
_CALENDAR_ROLE = "Application Calendars.ReadWrite"
_WANTED_ROLES = frozenset({_CALENDAR_ROLE, "Application MailboxSettings.Read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something about the application or a room. `about` is a room's address, or the part of the set-up it concerns."""

    about: str
    severity: Severity
    message: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a file says. `rooms_count` counts the rooms in it, `rooms_granted_count` those that were tested with success.

    `obstacles` come with the worst first; `findings` room by room, of all rooms whose settings the file holds.
    """

    rooms_count: int
    rooms_granted_count: int
    obstacles: tuple[Obstacle, ...]
    findings: tuple[Finding, ...]

    @property
    def is_serious(self) -> bool:
        """Whether something has to be changed before the rooms work as promised."""
        severities = [item.severity for item in self.obstacles] + [item.severity for item in self.findings]
        return Severity.ERROR in severities


def report_on_settings(rooms: Sequence[RoomSettings]) -> Report:
    """Report on plain output of Get-CalendarProcessing, which tells nothing about access."""
    findings = [finding for room in rooms for finding in find_settings_that_bite(room)]
    return Report(rooms_count=len(rooms), rooms_granted_count=0, obstacles=(), findings=tuple(findings))


def report_on_result(result: OnboardingResult, *, now: datetime) -> Report:
    """Report on the script's result file.

    Raises:
        ResultUnreadable: the settings of a room have values that Exchange does not give.
    """
    rooms = result.exchange.rooms if result.exchange is not None else []
    settings = [
        parse_settings(printable(room.primary_address or room.mailbox), room.calendar_processing)
        for room in rooms
        if room.calendar_processing is not None
    ]
    return Report(
        rooms_count=len(rooms),
        rooms_granted_count=sum(room.access == "granted" for room in rooms),
        obstacles=tuple(sorted(_obstacles(result, now), key=lambda item: RANKS[item.severity])),
        findings=report_on_settings(settings).findings,
    )


def _obstacles(result: OnboardingResult, now: datetime) -> Iterator[Obstacle]:
    entra, exchange = result.entra, result.exchange
    if entra is not None:
        yield from _credential_obstacles(entra, now)
    else:
        yield Obstacle(
            about="application",
            severity=Severity.NOTE,
            message="The file tells nothing about the application itself.",
            action="Run part Entra with the same result file if you want its permissions and secrets checked.",
        )
    if exchange is None:
        yield Obstacle(
            about="rooms",
            severity=Severity.ERROR,
            message="The rooms were not limited and not tested yet.",
            action="Run part Exchange, in a new PowerShell window.",
        )
        return
    if entra is not None:
        yield from _permission_obstacles(entra, exchange)
    yield from _scope_obstacles(exchange)
    yield from _outside_obstacles(exchange.outside)
    for room in exchange.rooms:
        yield from _room_obstacles(room)


def _credential_obstacles(entra: EntraResult, now: datetime) -> Iterator[Obstacle]:
    ends = [_instant(credential.expires_at) for credential in entra.credentials]
    last = max((end for end in ends if end is not None), default=None)
    if last is None or last <= now:
        yield Obstacle(
            about="application",
            severity=Severity.ERROR,
            message="The application has no valid secret or certificate.",
            action="Run part Entra with -NewSecret, and hand over the new secret.",
        )
    elif last - now < _EXPIRY_WARNING:
        yield Obstacle(
            about="application",
            severity=Severity.WARNING,
            message=f"The last valid secret or certificate runs out on {last:%Y-%m-%d}.",
            action="Run part Entra with -NewSecret, and hand over the new secret.",
        )


def _permission_obstacles(entra: EntraResult, exchange: ExchangeResult) -> Iterator[Obstacle]:
    if entra.application_id.lower() != exchange.application_id.lower():
        yield Obstacle(
            about="application",
            severity=Severity.ERROR,
            message="The two parts were run for different applications.",
            action="Run part Exchange again with the result file of part Entra.",
        )
        return
    wide = [name for name in entra.tenant_wide_permissions if name.startswith("Calendars.")]
    if exchange.restriction == "rbac" and wide:
        yield Obstacle(
            about="application",
            severity=Severity.ERROR,
            message=f"The application reaches all mailboxes: {printable(', '.join(wide))} in Entra is added to the roles.",
            action="When all rooms have worked for two hours, run part Entra with -RevokeTenantWide.",
        )
    if exchange.restriction == "access_policy" and "Calendars.ReadWrite" not in wide:
        yield Obstacle(
            about="application",
            severity=Severity.ERROR,
            message="The policy narrows a permission that was not given.",
            action="Run part Entra with -UseAccessPolicy, or part Exchange without it.",
        )


def _scope_obstacles(exchange: ExchangeResult) -> Iterator[Obstacle]:
    for role in exchange.roles:
        if role.scope_type == _EVERYTHING:
            yield Obstacle(
                about="application",
                severity=Severity.ERROR,
                message=f"The role {printable(role.role)} is not limited: it reaches every mailbox of the organisation.",
                action="Remove that role assignment in Exchange, then run part Exchange again.",
            )
        elif role.scope_type not in _SCOPED:
            yield Obstacle(
                about="application",
                severity=Severity.WARNING,
                message=f"The role {printable(role.role)} is limited in a way not known here: {printable(role.scope_type)}.",
                action="Look at that role assignment in Exchange, and see that it covers the rooms alone.",
            )
        elif role.role not in _WANTED_ROLES:
            yield Obstacle(
                about="application",
                severity=Severity.NOTE,
                message=f"The application has the role {printable(role.role)}, which it does not need.",
                action="Remove that role assignment unless something else of yours needs it.",
            )
    if exchange.members_not_asked_for:
        yield Obstacle(
            about="group",
            severity=Severity.WARNING,
            message=f"The group holds {exchange.members_not_asked_for} more than the rooms asked for; all are in reach.",
            action=f"Look at the members of {printable(exchange.scope)}, and remove what is no room of yours.",
        )


def _outside_obstacles(outside: Outside | None) -> Iterator[Obstacle]:
    if outside is None:
        yield Obstacle(
            about="restriction",
            severity=Severity.NOTE,
            message="Nobody tried whether other mailboxes are out of reach.",
            action="Run part Exchange with -OutsideMailbox and the address of any person.",
        )
    elif outside.access == "granted":
        yield Obstacle(
            about=printable(outside.mailbox),
            severity=Severity.ERROR,
            message="A mailbox that must be out of reach is in reach.",
            action="Look for it in the group of rooms, and for other roles of the application.",
        )
    elif outside.access == "untested":
        yield Obstacle(
            about=printable(outside.mailbox),
            severity=Severity.WARNING,
            message=f"The mailbox outside could not be tested. {printable(outside.problem)}".strip(),
            action="Check its address, and run part Exchange again.",
        )


def _room_obstacles(room: Room) -> Iterator[Obstacle]:
    about, told = printable(room.mailbox), printable(room.problem)
    if not room.found:
        yield Obstacle(
            about=about,
            severity=Severity.ERROR,
            message=f"No mailbox was found. {told}".strip(),
            action="Correct the address where the room is mapped, or have the mailbox made.",
        )
    elif not room.accepted:
        yield Obstacle(
            about=about,
            severity=Severity.ERROR,
            message=f"This is not a room but a {printable(room.recipient_type) or 'mailbox of another kind'}; it was left out.",
            action="Correct the address, or run part Exchange with -AllowOtherMailboxes.",
        )
    elif room.access == "denied":
        yield Obstacle(
            about=about,
            severity=Severity.ERROR,
            message=f"Exchange denies access to the room. {told}".strip(),
            action="Run part Exchange again in a few minutes; then look whether the room is a member of the group.",
        )
    elif room.access == "untested":
        yield Obstacle(
            about=about,
            severity=Severity.ERROR,
            message=f"The room could not be tested. {told}".strip(),
            action="Run part Exchange again.",
        )
    if room.found and room.calendar_processing is None:
        yield Obstacle(
            about=about,
            severity=Severity.WARNING,
            message=f"The room's booking settings could not be read. {told}".strip(),
            action="Run part Exchange again, as a member of Organization Management.",
        )


def _instant(text: str) -> datetime | None:
    """Read a time as PowerShell writes it, UTC unless it says otherwise; None when it is none."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
