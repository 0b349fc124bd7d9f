"""Which calls are audited, and what is written down of them. One table; a call that it does not know fails a test.

Of a request only the paths of the fields that are set are kept, and values of fields that can be neither a secret nor about a
person. What breaks the form of such a value is left out, since it may be a secret in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import structlog
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from sidecar.aio.budget import Budget
from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.model.audit import OK, Act, Caller
from sidecar.store.audit import Acting

log = structlog.get_logger(__name__)

_ID = "[A-Za-z0-9._~-]{1,63}"
_NAME = re.compile(f"tenants/{_ID}(/rooms/{_ID})?")
_VALUE = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_PATH = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){0,3}")
_FIELDS_MAX = 30
_VALUES_MAX = 10
_DEPTH_MAX = 3
_BURST = 20
_REFUSALS_PER_S = 1.0
"""Refusals beyond this are counted and not written one by one: they cost a disk write each."""

Named = Callable[[Any], str]  # Any: each call has a request type of its own


@dataclass(frozen=True, slots=True)
class Audited:
    """How a call is written down.

    Attributes:
        resource: gives the name of what a request is about.
        values: paths of fields whose values are kept.
    """

    resource: Named
    values: tuple[str, ...] = ()


def _name(request: Any) -> str:
    return str(request.name)


_SETTINGS = tuple(
    f"tenant.settings.{name}"
    for name in (
        "subject_visibility",
        "organizer_visibility",
        "attendee_visibility",
        "private_events",
        "pending_subjects",
        "past_days",
        "future_days",
        "write_mode",
    )
)
"""Who let more of a customer's meetings be kept, and how much, or had people's calendars written to, is what an audit is asked
for."""

AUDITED: dict[str, Audited] = {
    "TenantService/RegisterTenant": Audited(
        lambda request: f"tenants/{request.tenant_id}",
        ("tenant.directory_id", "tenant.cloud", "credential.application_id", *_SETTINGS),
    ),
    "TenantService/UpdateTenant": Audited(lambda request: str(request.tenant.name), ("etag", *_SETTINGS)),
    "TenantService/VerifyTenant": Audited(_name),
    "TenantService/SuspendTenant": Audited(_name),
    "TenantService/ResumeTenant": Audited(_name),
    "TenantService/RotateTenantCredential": Audited(_name, ("credential.application_id", "request_id")),
    "TenantService/SetCredentialExpiry": Audited(_name, ("fingerprint",)),
    "TenantService/DeleteTenant": Audited(_name, ("etag", "allow_missing", "purge")),
    "TenantService/UndeleteTenant": Audited(_name),
    "RoomService/MapRoom": Audited(lambda request: f"{request.parent}/rooms/{request.room_id}"),
    "RoomService/BatchMapRooms": Audited(lambda request: str(request.parent)),
    "RoomService/UpdateRoom": Audited(lambda request: str(request.room.name), ("etag", "allow_other_mailbox")),
    "RoomService/UnmapRoom": Audited(_name, ("etag", "allow_missing", "bookings")),
    "RoomService/ResyncRoom": Audited(_name),
    "TaskService/RunTask": Audited(lambda request: str(request.scope), ("name", "dry_run", "request_id")),
    "RoomService/CheckRoomAccess": Audited(lambda request: str(request.name or request.parent), ("include_write",)),
}
"""Calls that change something."""

WRITING = frozenset(
    {
        "BookingService/CreateBooking",
        "BookingService/UpdateBooking",
        "BookingService/CancelBooking",
        "BookingService/CheckIn",
        "BookingService/ReleaseBooking",
    }
)
"""Calls about bookings: the watch tells of each that did something. What is audited are administrators' acts."""

READING = frozenset(
    {
        "TenantService/GetTenant",
        "TenantService/ListTenants",
        "TenantService/WatchTenant",
        "TenantService/GetOnboardingKit",
        "RoomService/GetRoom",
        "RoomService/ListRooms",
        "RoomService/DiscoverRooms",
        "BookingService/ListBookings",
        "BookingService/GetBooking",
        "BookingService/FindAvailability",
        "WatchService/WatchRoom",
        "WatchService/WatchRooms",
        "WatchService/ReadChanges",
        "AuditService/ListAuditEntries",
        "TaskService/ListTasks",
        "TaskService/ListDueLanes",
        "TaskService/DrainLane",
        "TaskService/GetTaskRun",
        "TaskService/ListTaskRuns",
        "TaskService/WatchTaskRun",
        "DiagnosticsService/DiagnoseTenant",
        "DiagnosticsService/DiagnoseRoom",
    }
)
"""Calls that change nothing, or, as DrainLane does, only bring forward what is done anyhow: thousands of times a day."""


class AuditLog(Protocol):
    """Where entries go that no transaction carries; `store.audit.Audit` is one."""

    async def note(self, one: Acting, *, outcome: str) -> None:
        """Write down how an act ended."""


class Auditor:
    """Writes calls down."""

    def __init__(self, *, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._budget = Budget(most=_BURST, per_s=_REFUSALS_PER_S, clock=clock)
        self._skipped_count = 0

    def begin(
        self, method: str, request: Message, caller: Callable[[], Caller], *, is_outside: bool = False
    ) -> Acting | None:
        """Return a call to be acted under; None when it changes nothing, or only bookings.

        What the tables do not know is written down.

        Args:
            is_outside: the caller may not name the tenant that it names. The entry is then about nothing, and says in
                `outside_grant` what was named: those who read that tenant's entries learn nothing of other callers.
        """
        if method in READING or method in WRITING:
            return None
        entry = AUDITED.get(method, Audited(lambda _: ""))
        name = entry.resource(request)
        if not _NAME.fullmatch(name):
            name = ""
        return Acting(
            Act(
                method=method,
                resource="" if is_outside else name,
                caller=caller(),
                fields=tuple(islice(_set_fields(request), _FIELDS_MAX)),
                values={**({"outside_grant": name} if is_outside else {}), **dict(_kept(request, entry.values))},
            )
        )

    async def end(self, one: Acting | None, *, outcome: str = OK) -> None:
        """Write down how a call ended, unless its transaction has done so. A store that fails is the log's news."""
        if one is None or (outcome == OK and one.is_written):
            return
        if outcome != OK and not one.is_written:
            if self._budget.take():
                self._skipped_count += 1
                return
            if self._skipped_count:
                one.act.values["not_recorded"] = str(self._skipped_count)
                self._skipped_count = 0
        error = await contain(self._audit.note(one, outcome=outcome))
        if error is not None:
            log.error("audit.not_written", audited_method=one.act.method, error=type(error).__name__)


def _set_fields(message: Message, prefix: str = "", depth: int = 1) -> Iterator[str]:
    """Yield the paths of the fields that are set, in the order of their numbers; of a field mask, all that it names.

    What a mask names and the request leaves unset goes back to its default: only the mask tells.
    """
    for field, value in message.ListFields():
        path = prefix + field.name
        if isinstance(value, FieldMask):
            yield from (f"{path}.{named}" for named in value.paths if _PATH.fullmatch(named))
            continue
        kind = None if field.is_repeated else field.message_type
        is_ours = kind is not None and not kind.full_name.startswith("google.")
        if is_ours and depth < _DEPTH_MAX and value.ListFields():
            yield from _set_fields(value, f"{path}.", depth + 1)
        else:
            yield path


def _kept(request: Message, paths: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the values worth keeping: those that are set and have the form of an id, a number or a flag."""
    for path in paths[:_VALUES_MAX]:
        holder: Any = request  # a message of some type on the way to the field
        *way, last = path.split(".")
        for step in way:
            holder = getattr(holder, step)
        field = holder.DESCRIPTOR.fields_by_name[last]
        value = getattr(holder, last)
        if field.type == FieldDescriptor.TYPE_ENUM:
            known = field.enum_type.values_by_number.get(value)
            text = "" if known is None or value == 0 else known.name
        else:
            is_set = holder.HasField(last) if field.has_presence else bool(value)
            text = "" if not is_set else str(value).lower() if isinstance(value, bool) else str(value)
        if _VALUE.fullmatch(text):
            yield path, text
