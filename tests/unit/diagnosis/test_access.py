"""What a refused room, a zone and a room's treatment of meetings mean."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.diagnosis.access import judge_processing, judge_zone, read_room
from sidecar.errors import GraphUnavailable, MailboxDenied, MailboxNotFound, SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.graph.logins import TokenClaims
from sidecar.graph.wire import GraphAddress, GraphEvent, GraphRecipient, GraphResponse
from sidecar.model.check import CheckOutcome
from sidecar.model.ids import EventId, TenantUid
from sidecar.model.tenant import Cloud
from tests.support.builders import CANARY, DIRECTORY, NOW
from tests.support.fake_microsoft import FakeMicrosoft

PASSED, WARNING, FAILED, SKIPPED = CheckOutcome
REF = TenantRef(tenant_uid=TenantUid("t1"), directory_id=DIRECTORY, cloud=Cloud.GLOBAL)


def claims(*roles: str) -> TokenClaims:
    return TokenClaims(directory_id="", audience="", application_id="", service_principal_id="", roles=roles)


@pytest.mark.parametrize(
    ("roles", "error", "says"),
    [
        (("Calendars.ReadWrite",), MailboxDenied("no", details={"cause": "ACCESS_POLICY"}), "access policy"),
        (("Calendars.ReadWrite",), MailboxDenied("no"), "though the app was granted calendars"),
        ((), MailboxDenied("no"), "no calendar permission, and no role assignment"),
        ((), MailboxNotFound("no"), "no mailbox with this address"),
        ((), GraphUnavailable("away"), "cannot be reached"),
    ],
)
async def test_refused_room_is_told_by_what_was_granted(roles: tuple[str, ...], error: SidecarError, says: str) -> None:
    result = await read_room(FakeMicrosoft(probe_error=error), REF, "r@x.example", claims(*roles), now=NOW)
    assert result.outcome is FAILED
    assert says in result.message
    assert result.problem is not None
    assert result.problem.reason == error.reason


@pytest.mark.parametrize(
    ("mailbox", "mapped", "outcome", "reason"),
    [
        ("Europe/Berlin", "", PASSED, None),
        ("Europe/Berlin", "Europe/Berlin", PASSED, None),
        (None, "Europe/Berlin", PASSED, None),
        (None, "", WARNING, "TIME_ZONE_UNKNOWN"),
        ("Europe/Paris", "Europe/Berlin", WARNING, "TIME_ZONE_DIFFERS"),
    ],
)
def test_zone_of_mailbox_and_room(mailbox: str | None, mapped: str, outcome: CheckOutcome, reason: str | None) -> None:
    result = judge_zone(mailbox, mapped, now=NOW)
    assert result.outcome is outcome
    assert (None if result.problem is None else result.problem.reason) == reason


def meeting(subject: str, response: str = "accepted", *, age: timedelta = timedelta(hours=2)) -> GraphEvent:
    return GraphEvent(
        id=EventId(subject),
        is_organizer=False,
        subject=subject,
        response_status=GraphResponse(response),
        organizer=GraphRecipient(GraphAddress("Ada Lovelace", "ada@contoso.example")),
        created_date_time=NOW - age,
    )


def test_room_that_replaces_subjects_is_recognised_by_what_its_copies_show() -> None:
    result = judge_processing([meeting("Ada Lovelace "), meeting("Ada Lovelace"), meeting("Plans")], now=NOW)
    assert result.outcome is PASSED
    assert "organizer's name in place of the subject (2 of 3)" in result.message


def test_room_that_removes_subjects_is_recognised() -> None:
    assert "nothing in place of the subject (1 of 1)" in judge_processing([meeting("")], now=NOW).message


def test_room_that_leaves_subjects_alone_is_recognised() -> None:
    result = judge_processing([meeting(CANARY)], now=NOW)
    assert "leaves subjects as they are" in result.message
    assert CANARY not in repr(result)


def test_room_that_does_not_answer_is_a_warning() -> None:
    result = judge_processing([meeting("Plans", "notResponded"), meeting("More")], now=NOW)
    assert result.outcome is WARNING
    assert result.problem is not None
    assert result.problem.reason == "ROOM_NOT_ANSWERING"


def test_room_is_given_its_time_to_answer() -> None:
    young = meeting("Plans", "none", age=timedelta(seconds=5))
    assert judge_processing([young], now=NOW).outcome is SKIPPED


def test_meetings_of_the_rooms_own_say_nothing() -> None:
    own = GraphEvent(id=EventId("own"), is_organizer=True, subject="Own")
    assert judge_processing([own], now=NOW).outcome is SKIPPED
