"""Reading what a caller writes: what Graph's reader converts, and what it refuses."""

from typing import Any

import pytest

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import Content
from sidecar.emulator.wire.event_input import EventInput, parse_event
from tests.unit.emulator.rig import wire_event


def read(**given: Any) -> EventInput:
    return parse_event(wire_event(**given), base=Content(), base_times=None, lookup=lambda _: None)


def test_flags_and_numbers_may_be_written_as_texts() -> None:
    """Graph's reader converts them; the O365 library writes `"isOnlineMeeting": "false"`."""
    found = read(isReminderOn="False", reminderMinutesBeforeStart="25", isOnlineMeeting="false", hideAttendees="true")
    assert found.content.is_reminder_on is False
    assert found.content.reminder_minutes == 25
    assert found.content.hide_attendees is True


@pytest.mark.parametrize(
    "given",
    [
        {"isReminderOn": "yes"},
        {"isReminderOn": 1},
        {"reminderMinutesBeforeStart": "1.5"},
        {"reminderMinutesBeforeStart": True},
        {"categories": ["Blue", 2]},
        {"location": "East"},
        {"body": "Minutes"},
        {"attendees": ["ada@contoso.example"]},
        {"location": {"coordinates": {"latitude": "north"}}},
    ],
)
def test_value_of_another_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(GraphError) as refusal:
        read(**given)
    assert (refusal.value.status, refusal.value.code) == (400, "RequestBodyRead")


def test_null_takes_a_property_back_to_its_default() -> None:
    found = read(showAs=None, categories=None, isReminderOn=None, body=None, location=None)
    assert found.content == read().content


def test_body_type_is_read_in_any_case_of_letters() -> None:
    assert read(body={"contentType": "HTML", "content": "<b>x</b>"}).content.body_type == "html"
