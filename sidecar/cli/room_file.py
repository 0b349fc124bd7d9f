"""Files of rooms: a table with a header, as Excel and everybody else writes them. Read whole and checked before it is used.

Pure. What a cell may hold is what the API takes (`api.validate`), so that a file that passes here is not refused there.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.api.validate import Check
from sidecar.errors import InvalidArgument, SidecarError

BYTES_MAX = 16 * 1024 * 1024
ROWS_MAX = 20_000
"""Twice the rooms of the largest organisation that this was measured with."""
CELL_CHARS_MAX = 1_000
"""Twice the longest value that the API takes: a longer cell is a missing quotation mark."""
COLUMNS = ("room_id", "mailbox", "display_name", "time_zone", "capacity")
ANNOTATION = "annotation."
"""Begins the name of a column that holds the caller's notes under a key."""
_REQUIRED = ("room_id", "mailbox")
_COLUMNS_MAX = 50
_FAULTS_MAX = 50
"""Told at once; a file in which more is wrong has something else wrong with it."""
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet takes for a formula, in some countries also in wide letters. An apostrophe before it
makes it a text; one that stands there already is told apart by another one."""
_UNFIT = re.compile(r"[^A-Za-z0-9._~-]+")
_ID_CHARS_MAX = 63


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a file. `line` counts from 1; `column` is the column's name, empty for the line as a whole."""

    line: int
    column: str
    description: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.description}"


class RoomFileInvalid(SidecarError):
    """A file of rooms that cannot be used; nothing was done."""

    reason = "FIELD_INVALID"

    def __init__(self, faults: Sequence[Fault]) -> None:
        lines = [str(fault) for fault in faults[:_FAULTS_MAX]]
        if len(faults) > _FAULTS_MAX:
            lines.append(f"and {len(faults) - _FAULTS_MAX} more")
        super().__init__("the file cannot be used, and nothing was changed:\n  " + "\n  ".join(lines))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """A room as the file gives it. An empty text, and a capacity of None, say nothing."""

    line: int
    room_id: str
    mailbox: str
    display_name: str = ""
    time_zone: str = ""
    capacity: int | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse_rooms(content: bytes) -> list[RoomRow]:
    """Read a file: UTF-8 with or without a byte order mark, cells parted by commas or semicolons, a header first.

    Raises:
        RoomFileInvalid: with all that is wrong.
    """
    rows = _records(_decoded(content))
    header_line, header = next(rows, (1, []))
    faults = list(_header_faults(header_line, header))
    if faults:
        raise RoomFileInvalid(faults)
    found: list[RoomRow] = []
    for line, cells in rows:
        if not any(cells):
            continue  # a blank line, or one that a spreadsheet left behind
        if len(found) == ROWS_MAX:
            raise RoomFileInvalid([Fault(line, "", f"the file has more than {ROWS_MAX} rooms; part it")])
        row = _read_row(line, header, cells, faults)
        if row is not None:
            found.append(row)
    faults += _duplicates(found)
    if faults:
        raise RoomFileInvalid(sorted(faults, key=lambda fault: fault.line))
    return found


def _decoded(content: bytes) -> str:
    if len(content) > BYTES_MAX:
        raise RoomFileInvalid([Fault(1, "", f"the file is larger than {BYTES_MAX // 1024**2} MiB; part it")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RoomFileInvalid([Fault(line, "", 'this is not UTF-8; in Excel, save as "CSV UTF-8"')]) from None


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of the table, each with the number of its first line in the file, and its cells without blanks."""
    first, _, _ = text.lstrip("\r\n").partition("\n")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, [_undefended(cell.strip()) for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise RoomFileInvalid([Fault(line, "", f"this is no line of a table: {error}")]) from None


def _header_faults(line: int, header: Sequence[str]) -> Iterator[Fault]:
    if len(header) > _COLUMNS_MAX:
        yield Fault(line, "", f"there are more than {_COLUMNS_MAX} columns")
        return
    seen: set[str] = set()
    for name in header:
        if name in seen:
            yield Fault(line, _shown(name), "the column stands twice")
        seen.add(name)
        is_annotation = name.startswith(ANNOTATION) and len(name) > len(ANNOTATION)
        if name not in COLUMNS and not is_annotation:
            known = ", ".join((*COLUMNS, f"{ANNOTATION}KEY"))
            yield Fault(line, _shown(name), f"no such column; there are {known}")
    for name in _REQUIRED:
        if name not in seen:
            yield Fault(line, name, "the column is missing; the first line names the columns")


def _read_row(line: int, header: Sequence[str], cells: Sequence[str], faults: list[Fault]) -> RoomRow | None:
    """Read a line, and note what is wrong with it; None when anything is."""
    if len(cells) != len(header):
        faults.append(Fault(line, "", f"there are {len(cells)} cells, and {len(header)} columns"))
        return None
    found = dict(zip(header, cells, strict=True))
    wrong = [Fault(line, name, "the cell is too long") for name, cell in found.items() if len(cell) > CELL_CHARS_MAX]
    if not wrong:
        check = Check()
        capacity = _read_capacity(check, found.get("capacity", ""))
        row = RoomRow(
            line=line,
            room_id=check.new_id("room_id", found["room_id"]),
            mailbox=check.mailbox("mailbox", found["mailbox"]),
            display_name=check.display_name("display_name", found.get("display_name", "")),
            time_zone=check.time_zone("time_zone", found.get("time_zone", "")),
            capacity=capacity,
            annotations=_read_annotations(check, found),
        )
        try:
            check.finish()
        except InvalidArgument as error:
            wrong = [Fault(line, violation.field, violation.description) for violation in error.violations]
        else:
            return row
    faults += wrong
    return None


def _read_capacity(check: Check, cell: str) -> int | None:
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and len(cell) <= 10):
        check.refuse("capacity", "must be a whole number")
        return None
    return check.capacity("capacity", int(cell))


def _read_annotations(check: Check, found: Mapping[str, str]) -> dict[str, str]:
    given = {name.removeprefix(ANNOTATION): cell for name, cell in found.items() if name.startswith(ANNOTATION)}
    return check.annotations(f"{ANNOTATION}*", {key: text for key, text in given.items() if text})


def _duplicates(rows: Iterable[RoomRow]) -> Iterator[Fault]:
    """Tell of ids and mailboxes that stand twice; the later line is the wrong one."""
    ids: dict[str, int] = {}
    mailboxes: dict[str, int] = {}
    for row in rows:
        for column, value, seen in (("room_id", row.room_id, ids), ("mailbox", row.mailbox.casefold(), mailboxes)):
            before = seen.setdefault(value, row.line)
            if before != row.line:
                yield Fault(row.line, column, f"the same as in line {before}")


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 64 else repr(name[:64])


def write_rooms(rows: Iterable[RoomRow]) -> str:
    """Write a file that `parse_rooms` reads back. A spreadsheet finds no formula in it: names are other people's words."""
    rows = list(rows)
    keys = sorted({key for row in rows for key in row.annotations})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"{ANNOTATION}{key}" for key in keys)])
    for row in rows:
        capacity = "" if row.capacity is None else row.capacity
        notes = [row.annotations.get(key, "") for key in keys]
        texts = (row.room_id, row.mailbox, row.display_name, row.time_zone)
        writer.writerow([*map(_defended, texts), capacity, *map(_defended, notes)])
    return out.getvalue()


def _defended(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _undefended(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def propose_id(mailbox: str, taken: set[str]) -> str:
    """Make up a room id from the part of an address before the @, one that is not taken; it is taken from then on."""
    stem = _UNFIT.sub("-", mailbox.partition("@")[0]).strip("-")[:_ID_CHARS_MAX] or "room"
    room_id, number = stem, 1
    while room_id in taken:
        number += 1
        ending = f"-{number}"
        room_id = stem[: _ID_CHARS_MAX - len(ending)] + ending
    taken.add(room_id)
    return room_id
