"""Files of rooms: what is read, and how each mistake is told."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import room_file
from sidecar.cli.room_file import Fault, RoomFileInvalid, RoomRow, parse_rooms, propose_id, write_rooms


def faults(content: bytes) -> list[tuple[int, str]]:
    """Return line and column of each mistake in a file that must be refused."""
    with pytest.raises(RoomFileInvalid) as refused:
        parse_rooms(content)
    assert all(fault.description for fault in refused.value.faults)
    return [(fault.line, fault.column) for fault in refused.value.faults]


FULL = b"""room_id,mailbox,display_name,time_zone,capacity,annotation.floor
r1,r1@contoso.example,"Hall, large",Europe/Berlin,8,3
r2,R2@contoso.example,,,,
"""
READ = [
    RoomRow(
        line=2,
        room_id="r1",
        mailbox="r1@contoso.example",
        display_name="Hall, large",
        time_zone="Europe/Berlin",
        capacity=8,
        annotations={"floor": "3"},
    ),
    RoomRow(line=3, room_id="r2", mailbox="R2@contoso.example"),
]


@pytest.mark.parametrize(
    "content",
    [
        FULL,
        b"\xef\xbb\xbf" + FULL,
        FULL.replace(b"\n", b"\r\n"),
        FULL.replace(b",", b";").replace(b"Hall;", b"Hall,"),
        FULL + b",,,,,\n\n",
        FULL.replace(b"r1,r1@", b" r1 , r1@"),
    ],
    ids=["plain", "byte order mark", "Windows", "semicolons", "blank lines", "blanks"],
)
def test_file_is_read_whoever_wrote_it(content: bytes) -> None:
    assert parse_rooms(content) == READ


def test_columns_may_stand_in_any_order_and_be_left_out() -> None:
    assert parse_rooms(b"mailbox;room_id\na@x;r1\n") == [RoomRow(line=2, room_id="r1", mailbox="a@x")]
    assert parse_rooms(b"room_id,mailbox\n") == []


def test_every_mistake_is_told_with_its_line_and_column() -> None:
    content = b"""room_id,mailbox,time_zone,capacity,annotation.a
a/b,nobody,Mars/One,many,x
r2,r2@x,,-1,x

"r3
",r3@x,,1,x
r4,r4@x
r5,r5@x,,1,"""
    told = faults(content + b"x" * 501)
    assert told == [
        (2, "capacity"),
        (2, "room_id"),
        (2, "mailbox"),
        (2, "time_zone"),
        (3, "capacity"),
        (7, ""),
        (8, "annotation.*"),
    ]


def test_line_of_a_mistake_is_the_one_a_person_sees_after_cells_of_several_lines() -> None:
    assert faults(b'room_id,mailbox,display_name\nr1,r1@x,"two\nlines"\nr2,wrong,\n') == [(4, "mailbox")]


def test_same_room_or_mailbox_twice_is_told_at_the_second_place() -> None:
    content = b"room_id,mailbox\nr1,a@x\nr2,A@X\nr1,b@x\n"
    with pytest.raises(RoomFileInvalid) as refused:
        parse_rooms(content)
    assert refused.value.faults == (
        Fault(3, "mailbox", "the same as in line 2"),
        Fault(4, "room_id", "the same as in line 2"),
    )
    assert "line 3, column mailbox: the same as in line 2" in refused.value.message


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (b"", {"room_id", "mailbox"}),
        (b"room_id\n", {"mailbox"}),
        (b"room_id,mailbox,seats\n", {"seats"}),
        (b"room_id,mailbox,mailbox\n", {"mailbox"}),
        (b"room_id,mailbox,annotation.\n", {"annotation."}),
        (b"room_id,mailbox," + b",".join(b"annotation.%d" % n for n in range(60)) + b"\n", {""}),
    ],
    ids=["empty", "missing", "unknown", "twice", "no key", "too many"],
)
def test_broken_header_is_told(header: bytes, columns: set[str]) -> None:
    assert {column for _, column in faults(header)} == columns


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"room_id,mailbox\nr1,r1@x\nr2,\xe4@x\n", 3),
        ("room_id,mailbox\nr1,r1@x\n".encode("utf-16"), 1),
        (b'room_id,mailbox\nr1,"r1@x\n', 2),
        (b'room_id,mailbox\nr1,"r1"@x\n', 2),
        (b"room_id,mailbox,display_name\nr1,r1@x," + b"x" * 1_001, 2),
        (b"room_id,mailbox\nr1,r1@x\n" + b"x" * 200_000, 3),
        (b"room_id,mailbox\n\x00,\x00\n", 2),
    ],
    ids=["latin-1", "utf-16", "open quote", "quote inside", "long cell", "huge cell", "nul"],
)
def test_file_that_is_no_table_is_told_with_its_line(content: bytes, line: int) -> None:
    assert faults(content)[0][0] == line


def test_file_beyond_the_limits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_file, "ROWS_MAX", 2)
    many = b"room_id,mailbox\n" + b"".join(b"r%d,r%d@x\n" % (n, n) for n in range(3))
    assert faults(many) == [(4, "")]
    monkeypatch.setattr(room_file, "BYTES_MAX", 10)
    assert faults(FULL) == [(1, "")]


def test_many_mistakes_are_told_in_a_message_of_bounded_length() -> None:
    with pytest.raises(RoomFileInvalid) as refused:
        parse_rooms(b"room_id,mailbox\n" + b"/,x\n" * 5_000)
    assert len(refused.value.faults) == 10_000
    assert len(refused.value.message) < 10_000
    assert "and 9950 more" in refused.value.message


_WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)
_TEXTS = st.builds(str.__add__, st.sampled_from(["", "", "=", "'=", "'"]), _WORDS)
_ROWS = st.lists(
    st.tuples(_TEXTS, st.none() | st.integers(0, 9_999), st.dictionaries(st.sampled_from(["a", "b,c"]), _TEXTS)),
    max_size=8,
)


@given(_ROWS)
def test_written_file_is_read_back(given_rows: list[tuple[str, int | None, dict[str, str]]]) -> None:
    rows = [
        RoomRow(
            line=line,
            room_id=f"r{line}",
            mailbox=f"r{line}@x",
            display_name=name,
            capacity=capacity,
            annotations={key: text for key, text in notes.items() if text},
        )
        for line, (name, capacity, notes) in enumerate(given_rows, 2)
    ]
    written = write_rooms(rows)
    assert parse_rooms(written.encode()) == rows
    assert len(list(csv.reader(io.StringIO(written)))) == len(rows) + 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''@x", "\uff1d1"])
def test_words_that_a_spreadsheet_takes_for_a_formula_become_text_and_are_read_back(text: str) -> None:
    """Names of rooms come from a customer's directory; whoever opens the list runs nothing by it."""
    row = RoomRow(line=2, room_id="r1", mailbox="+r1@x", display_name=text, annotations={"a": text})
    written = write_rooms([row])
    (cells,) = list(csv.reader(io.StringIO(written)))[1:]
    assert all(cell[:1] not in "=+-@\t\r\uff1d" for cell in cells if cell)
    assert parse_rooms(written.encode()) == [row]


@pytest.mark.parametrize("text", ["'s-Hertogenbosch", "Room 1", "5-4", "'"])
def test_words_that_are_no_formula_are_written_as_they_are(text: str) -> None:
    """An apostrophe of the name itself stays one."""
    row = RoomRow(line=2, room_id="r1", mailbox="r1@x", display_name=text)
    assert f",{text}," in write_rooms([row])


@given(st.binary(max_size=300))
def test_no_content_does_more_than_be_refused(content: bytes) -> None:
    for beginning in (b"", b"room_id,mailbox\n"):
        with contextlib.suppress(RoomFileInvalid):
            parse_rooms(beginning + content)


def test_proposed_ids_are_ids_and_differ() -> None:
    taken = {"hall"}
    proposed = [propose_id(mailbox, taken) for mailbox in ("hall@x", "Hall@x", "hall@y", "räum 1@x", "@x", "é@x")]
    assert proposed == ["hall-2", "Hall", "hall-3", "r-um-1", "room", "room-2"]
    long = [propose_id("x" * 200 + "@x", taken) for _ in range(12)]
    assert {len(room_id) for room_id in long} == {63}
    assert len(set(long)) == 12
