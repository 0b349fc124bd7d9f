"""Settings of tenants: from what callers send, and to what they are told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

from sidecar.api.validate import Check
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.privacy import DEFAULT_PRIVACY, PendingSubjects, PrivateEvents, Visibility
from sidecar.model.tenant_settings import (
    CHECK_INTERVAL_S_MAX,
    CHECK_INTERVAL_S_MIN,
    FUTURE_DAYS_MAX,
    FUTURE_DAYS_MIN,
    NO_SETTINGS,
    PAST_DAYS_MAX,
    TenantSettings,
)
from sidecar.model.write import WriteMode

_CHOICES: Final[dict[str, tuple[str, type[Visibility | PrivateEvents | PendingSubjects]]]] = {
    "subject_visibility": ("subject", Visibility),
    "organizer_visibility": ("organizer", Visibility),
    "attendee_visibility": ("attendees", Visibility),
    "private_events": ("private_events", PrivateEvents),
    "pending_subjects": ("pending_subjects", PendingSubjects),
}
"""Field of the API -> field of `Privacy`, and what it may be."""
FIELDS: Final = ("past_days", "future_days", "check_interval", *_CHOICES, "write_mode")

Amendment = Callable[[TenantSettings], TenantSettings]
"""Returns settings as they are to be, given those that are."""


def settings_to_proto(settings: TenantSettings) -> pb.TenantSettings:
    """Write settings; what has a default of its own is always there, what is the server's only where it is the tenant's."""
    privacy = settings.privacy
    message = pb.TenantSettings(
        past_days=settings.past_days,
        future_days=settings.future_days,
        subject_visibility=privacy.subject,  # type: ignore[arg-type]  # the numbers are those of the API, here and below
        organizer_visibility=privacy.organizer,  # type: ignore[arg-type]
        attendee_visibility=privacy.attendees,  # type: ignore[arg-type]
        private_events=privacy.private_events,  # type: ignore[arg-type]
        pending_subjects=privacy.pending_subjects,  # type: ignore[arg-type]
        write_mode=settings.write_mode,  # type: ignore[arg-type]
    )
    if settings.check_interval_s is not None:
        message.check_interval.seconds = settings.check_interval_s
    return message


def read_settings(check: Check, field: str, message: pb.TenantSettings, names: Collection[str] = FIELDS) -> Amendment:
    """Read some of the settings; unset ones are those of a tenant that never had any.

    Args:
        field: path of the message in the request.
        names: those of FIELDS that count.
    """
    numbers: dict[str, int | None] = {}
    if "past_days" in names:
        numbers["past_days"] = _days(check, f"{field}.past_days", message, "past_days", 0, PAST_DAYS_MAX)
    if "future_days" in names:
        numbers["future_days"] = _days(
            check, f"{field}.future_days", message, "future_days", FUTURE_DAYS_MIN, FUTURE_DAYS_MAX
        )
    if "check_interval" in names:
        numbers["check_interval_s"] = _check_interval_s(check, f"{field}.check_interval", message)
    values = _read_privacy(check, field, message, names)
    mode = _read_mode(check, f"{field}.write_mode", message.write_mode) if "write_mode" in names else None

    def amend(known: TenantSettings) -> TenantSettings:
        return replace(
            known,
            **numbers,
            privacy=replace(known.privacy, **values),
            write_mode=known.write_mode if mode is None else mode,
        )

    return amend


def _days(check: Check, field: str, message: pb.TenantSettings, name: str, least: int, most: int) -> int | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # one of two names that it has
        return None
    days: int = getattr(message, name)
    if not least <= days <= most:
        check.refuse(field, f"must be between {least} and {most}")
    return days


def _check_interval_s(check: Check, field: str, message: pb.TenantSettings) -> int | None:
    if not message.HasField("check_interval"):
        return None
    interval = message.check_interval
    check.duration_s(field, interval, least_s=CHECK_INTERVAL_S_MIN, most_s=CHECK_INTERVAL_S_MAX)
    if interval.nanos:
        check.refuse(field, "must be whole seconds")
    return interval.seconds


def _read_privacy(
    check: Check, field: str, message: pb.TenantSettings, names: Collection[str]
) -> dict[str, Any]:  # each part has an enum of its own
    values: dict[str, Any] = {}
    for name, (part, kind) in _CHOICES.items():
        if name in names:
            number: int = getattr(message, name)
            is_known = number in {choice.value for choice in kind}
            check.choice(f"{field}.{name}", number, {0, *(choice.value for choice in kind)})
            values[part] = kind(number) if is_known else getattr(DEFAULT_PRIVACY, part)
    return values


def _read_mode(check: Check, field: str, number: int) -> WriteMode:
    known = {mode.value for mode in WriteMode}
    check.choice(field, number, {0, *known})
    return WriteMode(number) if number in known else NO_SETTINGS.write_mode
