"""What each call needs its caller to be allowed, and which tenants it names. A call that the table lacks stops the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from sidecar.model.access import Scope
from sidecar.model.ids import TenantId

SCOPES: dict[str, Scope] = {
    "TenantService/GetTenant": Scope.TENANTS_READ,
    "TenantService/ListTenants": Scope.TENANTS_READ,
    "TenantService/WatchTenant": Scope.TENANTS_READ,
    "TenantService/GetOnboardingKit": Scope.TENANTS_READ,
    "TenantService/RegisterTenant": Scope.TENANTS_ADMIN,
    "TenantService/UpdateTenant": Scope.TENANTS_ADMIN,
    "TenantService/SuspendTenant": Scope.TENANTS_ADMIN,
    "TenantService/ResumeTenant": Scope.TENANTS_ADMIN,
    "TenantService/DeleteTenant": Scope.TENANTS_ADMIN,
    "TenantService/UndeleteTenant": Scope.TENANTS_ADMIN,
    "TenantService/RotateTenantCredential": Scope.TENANTS_ADMIN,
    "TenantService/SetCredentialExpiry": Scope.TENANTS_ADMIN,
    "TenantService/VerifyTenant": Scope.DIAGNOSTICS,
    "RoomService/GetRoom": Scope.ROOMS_READ,
    "RoomService/ListRooms": Scope.ROOMS_READ,
    "RoomService/MapRoom": Scope.ROOMS_ADMIN,
    "RoomService/BatchMapRooms": Scope.ROOMS_ADMIN,
    "RoomService/UpdateRoom": Scope.ROOMS_ADMIN,
    "RoomService/UnmapRoom": Scope.ROOMS_ADMIN,
    "RoomService/ResyncRoom": Scope.ROOMS_ADMIN,
    "RoomService/DiscoverRooms": Scope.ROOMS_ADMIN,
    "RoomService/CheckRoomAccess": Scope.DIAGNOSTICS,
    "BookingService/ListBookings": Scope.BOOKINGS_READ,
    "BookingService/GetBooking": Scope.BOOKINGS_READ,
    "BookingService/FindAvailability": Scope.BOOKINGS_READ,
    "BookingService/CreateBooking": Scope.BOOKINGS_WRITE,
    "BookingService/UpdateBooking": Scope.BOOKINGS_WRITE,
    "BookingService/CancelBooking": Scope.BOOKINGS_WRITE,
    "BookingService/CheckIn": Scope.BOOKINGS_WRITE,
    "BookingService/ReleaseBooking": Scope.BOOKINGS_WRITE,
    "WatchService/WatchRoom": Scope.BOOKINGS_READ,
    "WatchService/WatchRooms": Scope.BOOKINGS_READ,
    "WatchService/ReadChanges": Scope.BOOKINGS_READ,
    "AuditService/ListAuditEntries": Scope.AUDIT_READ,
    "TaskService/ListTasks": Scope.TASKS_READ,
    "TaskService/ListDueLanes": Scope.TASKS_READ,
    "TaskService/GetTaskRun": Scope.TASKS_READ,
    "TaskService/ListTaskRuns": Scope.TASKS_READ,
    "TaskService/WatchTaskRun": Scope.TASKS_READ,
    "TaskService/DrainLane": Scope.TASKS_RUN,
    "TaskService/RunTask": Scope.TASKS_RUN,
    "DiagnosticsService/DiagnoseTenant": Scope.DIAGNOSTICS,
    "DiagnosticsService/DiagnoseRoom": Scope.DIAGNOSTICS,
}

UNNAMED = frozenset(
    {
        "TenantService/ListTenants",
        "AuditService/ListAuditEntries",
        "TaskService/ListTasks",
        "TaskService/ListDueLanes",
        "TaskService/RunTask",
        "TaskService/GetTaskRun",
        "TaskService/ListTaskRuns",
        "TaskService/WatchTaskRun",
    }
)
"""Calls that need not name a tenant. Their handlers show only what `door.visible_tenants` lets a caller see."""

CREATING = frozenset({"TenantService/RegisterTenant"})
"""Calls whose tenant need not exist, so that its being missing is no answer."""

_NAMING = frozenset({"name", "parent", "room", "rooms", "tenant", "tenant_id", "booking", "lane", "scope"})
_DEPTH_MAX = 4
_PREFIX = "tenants/"

Path = tuple[FieldDescriptor, ...]


def naming_paths(message: Descriptor, depth: int = 1) -> Iterator[Path]:
    """Yield the ways to all texts of a message that may hold the name of something of a tenant."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING and field.name in _NAMING:
            yield (field,)
        kind = field.message_type
        if kind is not None and kind.full_name.startswith("ioffice.") and depth < _DEPTH_MAX:
            if kind.GetOptions().map_entry:
                continue
            yield from ((field, *rest) for rest in naming_paths(kind, depth + 1))


def tenants_named(request: Message, paths: tuple[Path, ...]) -> frozenset[TenantId]:
    """Return the ids of all tenants that a request names, whether or not the names have the right form otherwise."""
    texts = ((path[-1].name, text) for path in paths for text in _texts(request, path))
    return frozenset(TenantId(_tenant(name, text)) for name, text in texts if _tenant(name, text))


def _tenant(field_name: str, text: str) -> str:
    if field_name == "tenant_id":
        return text
    return text.removeprefix(_PREFIX).partition("/")[0] if text.startswith(_PREFIX) else ""


def _texts(holder: Any, path: Path) -> Iterator[str]:  # a message of any type on the way to the text
    field, *rest = path
    if not rest:
        value = getattr(holder, field.name)
        yield from value if field.is_repeated else (value,)
    elif field.is_repeated:
        for item in getattr(holder, field.name):
            yield from _texts(item, tuple(rest))
    elif holder.HasField(field.name):
        yield from _texts(getattr(holder, field.name), tuple(rest))
