"""The files that `kit check` reads: the script's result, and plain output of Get-CalendarProcessing.

A file comes from somebody else's machine: its size, its shape and every value in it are checked first.
"""

from __future__ import annotations

import codecs
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from sidecar.onboarding.kit import KIT_ROOMS_MAX
from sidecar.onboarding.settings_file import ResultUnreadable, RoomSettings, parse_settings

RESULT_BYTES_MAX = 64 * 1024 * 1024
"""10,000 rooms are up to 45 MB, because Windows PowerShell indents deeply."""

_Text = Annotated[str, msgspec.Meta(max_length=500)]
_LongText = Annotated[str, msgspec.Meta(max_length=20_000)]
"""Messages of Exchange, which quote whole names and rules."""
_Guid = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")]
_Address = Annotated[str, msgspec.Meta(max_length=320, pattern=r"\A[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z")]
_Access = Literal["granted", "denied", "untested"]
_Changes = Annotated[list[_LongText], msgspec.Meta(max_length=4 * KIT_ROOMS_MAX)]
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Credential(_Strict, frozen=True):
    """A secret or certificate; `expires_at` is ISO 8601 or empty."""

    kind: Literal["secret", "certificate"]
    key_id: _Text
    expires_at: _Text


class EntraResult(_Strict, frozen=True):
    """What part Entra found."""

    finished_at: _Text
    application_id: _Guid
    application_name: _Text
    service_principal_id: _Guid
    credentials: Annotated[list[Credential], msgspec.Meta(max_length=1_000)]
    tenant_wide_permissions: Annotated[list[_Text], msgspec.Meta(max_length=5_000)]
    changes: _Changes


class Role(_Strict, frozen=True):
    """A role that the application has in Exchange."""

    role: _Text
    scope: _Text
    scope_type: _Text


class Room(_Strict, frozen=True):
    """A room as part Exchange found it. `accepted`: it is a room, or other mailboxes were allowed."""

    mailbox: _Address
    found: bool
    primary_address: _Text
    object_id: _Text
    recipient_type: _Text
    accepted: bool
    access: _Access
    problem: _LongText
    calendar_processing: dict[str, object] | None


class Outside(_Strict, frozen=True):
    """A mailbox that must stay out of reach."""

    mailbox: _Address
    access: _Access
    problem: _LongText


class ExchangeResult(_Strict, frozen=True):
    """What part Exchange found."""

    finished_at: _Text
    application_id: _Guid
    service_principal_id: _Guid
    restriction: Literal["rbac", "access_policy"]
    scope: _Text
    members_not_asked_for: Annotated[int, msgspec.Meta(ge=0)]
    roles: Annotated[list[Role], msgspec.Meta(max_length=1_000)]
    rooms: Annotated[list[Room], msgspec.Meta(max_length=KIT_ROOMS_MAX)]
    outside: Outside | None
    changes: _Changes


class OnboardingResult(_Strict, frozen=True):
    """The script's result file, version 1."""

    schema: Literal["exchange-sidecar/onboarding-result"]
    version: Literal[1]
    tenant: _Text
    directory_id: _Guid
    cloud: _Text
    entra: EntraResult | None
    exchange: ExchangeResult | None


def read_result(raw: bytes) -> OnboardingResult | list[RoomSettings]:
    """Read a file: the script's result, or the settings of rooms as Get-CalendarProcessing told them.

    Raises:
        ResultUnreadable: it is neither, or too large.
    """
    content = _parse(_decode(raw))
    if isinstance(content, dict) and "schema" in content:
        return _read_onboarding(content)
    rooms = content if isinstance(content, list) else [content]
    if not rooms:
        raise ResultUnreadable("the file holds no room")
    if len(rooms) > KIT_ROOMS_MAX:
        raise ResultUnreadable(f"the file holds more than {KIT_ROOMS_MAX} rooms")
    return [_read_plain(number, room) for number, room in enumerate(rooms, start=1)]


def printable(text: str, chars_max: int = 300) -> str:
    """Return a text from a file for a terminal: one line, no control characters, not endless."""
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= chars_max else plain[: chars_max - 3] + "..."


def _decode(raw: bytes) -> str:
    """Decode as PowerShell writes: UTF-8 with or without a mark, or UTF-16 with one."""
    if len(raw) > RESULT_BYTES_MAX:
        raise ResultUnreadable(f"the file is larger than {RESULT_BYTES_MAX // 1024 // 1024} MiB")
    encoding, mark = next(((name, mark) for mark, name in _BOMS if raw.startswith(mark)), ("utf-8", b""))
    try:
        return raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise ResultUnreadable("the file is neither UTF-8 nor UTF-16: write it with -Encoding UTF8") from None


def _parse(text: str) -> object:
    try:
        content: object = json.loads(text, object_hook=_unwrapped, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ResultUnreadable(f"the file is not JSON: {error.msg} in line {error.lineno}") from None
    except (RecursionError, ValueError):
        raise ResultUnreadable("the file is not JSON that PowerShell writes") from None
    return content


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _unwrapped(content: dict[str, object]) -> object:
    """Return the list inside what Windows PowerShell makes of some lists: {"value": [...], "Count": 2}."""
    is_wrapped = content.keys() == {"value", "Count"} and isinstance(content["value"], list)
    return content["value"] if is_wrapped else content


def _read_onboarding(content: Mapping[str, object]) -> OnboardingResult:
    if content.get("schema") == "exchange-sidecar/onboarding-result" and content.get("version") != 1:
        raise ResultUnreadable("the file was written by another version of the script: get a new kit, and run it again")
    try:
        return msgspec.convert(content, OnboardingResult)
    except msgspec.ValidationError as error:
        raise ResultUnreadable(f"the file is not a result of the script: {printable(str(error))}") from None


def _read_plain(number: int, room: object) -> RoomSettings:
    if not isinstance(room, dict) or not any(key.lower() == "automateprocessing" for key in room):
        raise ResultUnreadable(
            f"entry {number} is no output of Get-CalendarProcessing; write it with: Get-CalendarProcessing ... | ConvertTo-Json"
        )
    return parse_settings(_name_of(number, room), room)


def _name_of(number: int, room: Mapping[str, object]) -> str:
    names: Sequence[object] = (room.get("Identity"), room.get("MailboxOwnerId"))
    for name in names:
        told = name.get("Name") if isinstance(name, dict) else name
        if isinstance(told, str) and printable(told):
            return printable(told)
    return f"room {number}"
