"""The script carried out against a played Entra and Exchange: what it makes, what it leaves alone, what it tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sidecar.model.tenant import Cloud
from sidecar.onboarding.report import Report, report_on_result
from sidecar.onboarding.result_file import OnboardingResult, read_result
from tests.support.powershell.microsoft import NOW, SECRET, Microsoft
from tests.support.powershell.objects import Bag, PowerShellError, Value, to_text
from tests.support.powershell.window import Window
from tests.unit.api.credentials import make_certificate, make_key
from tests.unit.onboarding.values import make_kit

ROOMS = ("room1@contoso.example", "o'neil@contoso.example")
RESULT = "exchange-sidecar-result.json"


class Desk:
    """An administrator with a kit, who opens a new window for each run."""

    def __init__(self, folder: Path, *, rooms: tuple[str, ...] = ROOMS, application_id: str | None = None) -> None:
        self.microsoft = Microsoft()
        for room in rooms:
            self.microsoft.add_mailbox(room)
        self.microsoft.add_mailbox("ceo@contoso.example", "UserMailbox")
        self.folder = folder
        self.script = make_kit(mailboxes=rooms, application_id=application_id).script
        self.windows: list[Window] = []

    def run(self, part: str, **parameters: Value) -> Window:
        """Run a part in a new window; all it prints is kept."""
        window = Window(self.microsoft, self.folder)
        self.windows.append(window)
        output = window.run(self.script, Part=part, **parameters)
        assert output == [], "something was not swallowed"
        assert not window.connected
        return window

    def refused(self, part: str, **parameters: Value) -> str:
        """Run a part that must stop, and return what it says."""
        with pytest.raises(PowerShellError) as caught:
            self.run(part, **parameters)
        return str(caught.value)

    def both(self, **parameters: Value) -> None:
        """Run both parts."""
        self.run("Entra", **{name: value for name, value in parameters.items() if name == "UseAccessPolicy"})
        self.run("Exchange", **parameters)

    @property
    def raw(self) -> bytes:
        """The result file."""
        return (self.folder / RESULT).read_bytes()

    def result(self) -> Any:  # any JSON
        """The result file's content."""
        return json.loads(self.raw)

    def report(self) -> Report:
        """What `kit check` makes of it."""
        read = read_result(self.raw)
        assert isinstance(read, OnboardingResult)
        return report_on_result(read, now=NOW)

    def transcripts(self) -> str:
        """All that went through the host."""
        return "\n".join(line for window in self.windows for line in window.transcript)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a desk with two rooms."""
    return Desk(tmp_path)


def test_both_parts_bring_all_rooms_into_reach_and_nobody_else(desk: Desk) -> None:
    desk.both(OutsideMailbox="ceo@contoso.example")
    exchange = desk.result()["exchange"]
    assert [room["access"] for room in exchange["rooms"]] == ["granted", "granted"]
    assert exchange["outside"]["access"] == "denied"
    assert {role["scope_type"] for role in exchange["roles"]} == {"CustomRecipientScope"}
    assert desk.microsoft.grants == []


def test_result_is_read_by_the_check_and_has_no_error(desk: Desk) -> None:
    desk.both(OutsideMailbox="ceo@contoso.example")
    report = desk.report()
    assert (report.rooms_count, report.rooms_granted_count) == (2, 2)
    assert not report.is_serious
    assert report.obstacles == ()


@pytest.mark.parametrize("parameters", [{}, {"UseAccessPolicy": True}, {"KeepSubjects": True}])
def test_second_run_changes_nothing(desk: Desk, parameters: dict[str, Value]) -> None:
    desk.both(**parameters)
    assert desk.microsoft.log
    desk.microsoft.log.clear()
    first = desk.result()
    desk.both(**parameters)
    assert desk.microsoft.log == []
    second = desk.result()
    assert second["entra"].pop("changes") == second["exchange"].pop("changes") == []
    first["entra"].pop("changes")
    first["exchange"].pop("changes")
    assert second == first
    assert desk.windows[-1].transcript[-1] == desk.windows[-2].transcript[-1] == "Nothing was changed."


@pytest.mark.parametrize("parameters", [{}, {"UseAccessPolicy": True}, {"KeepSubjects": True}])
def test_what_if_changes_nothing_and_tells_what_it_would_do(desk: Desk, parameters: dict[str, Value]) -> None:
    desk.run("Entra", WhatIf=True)
    assert "register the application" in desk.transcripts()
    desk.run("Entra")
    desk.microsoft.log.clear()
    before = desk.raw
    desk.run("Exchange", WhatIf=True, **parameters)
    assert "make the group of rooms" in desk.transcripts()
    assert desk.microsoft.log == []
    assert desk.raw == before


def test_what_if_before_anything_writes_no_file(desk: Desk) -> None:
    desk.run("Entra", WhatIf=True)
    assert desk.microsoft.log == []
    assert list(desk.folder.iterdir()) == []


def test_secret_is_shown_once_on_the_console_and_is_nowhere_else(desk: Desk) -> None:
    window = desk.run("Entra")
    desk.run("Exchange")
    desk.run("Entra")
    assert window.console.count(SECRET) == 1
    assert sum(SECRET in line for other in desk.windows for line in other.console) == 1
    assert SECRET not in desk.transcripts()
    assert SECRET.encode() not in desk.raw


def test_secret_is_saved_in_the_file_named_and_not_shown(desk: Desk) -> None:
    window = desk.run("Entra", SecretFile="secret.txt")
    assert (desk.folder / "secret.txt").read_text() == SECRET
    assert window.console == []
    assert SECRET not in desk.transcripts()
    assert SECRET.encode() not in desk.raw


def test_secret_file_that_exists_is_left_alone_and_no_secret_is_made(desk: Desk) -> None:
    (desk.folder / "secret.txt").write_text("mine")
    assert "exists" in desk.refused("Entra", SecretFile="secret.txt")
    assert (desk.folder / "secret.txt").read_text() == "mine"
    assert "Add-MgApplicationPassword" not in desk.microsoft.log


def test_secret_that_could_not_be_made_leaves_no_file_behind(desk: Desk) -> None:
    desk.microsoft.broken["Add-MgApplicationPassword"] = "Insufficient privileges."
    assert desk.refused("Entra", SecretFile="secret.txt") == "Insufficient privileges."
    assert not (desk.folder / "secret.txt").exists()
    desk.microsoft.broken.clear()
    desk.run("Entra", SecretFile="secret.txt")
    assert (desk.folder / "secret.txt").read_text() == SECRET


def test_secret_is_not_made_where_it_could_only_be_shown_in_a_log(desk: Desk) -> None:
    window = Window(desk.microsoft, desk.folder, is_console=False)
    with pytest.raises(PowerShellError, match="-SecretFile"):
        window.run(desk.script, Part="Entra")
    assert "Add-MgApplicationPassword" not in desk.microsoft.log


def test_new_secret_is_made_only_when_asked_for(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Entra")
    desk.run("Entra", NewSecret=True, SecretMonths=24)
    assert desk.microsoft.log.count("Add-MgApplicationPassword") == 2
    ends = [credential["expires_at"] for credential in desk.result()["entra"]["credentials"]]
    assert ends == ["2027-11-22T12:00:00Z", "2028-11-22T12:00:00Z"]


def test_certificate_takes_the_place_of_a_secret_and_is_registered_once(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_bytes(make_certificate().public_bytes(Encoding.PEM))
    for _ in range(2):
        desk.run("Entra", CertificateFile="public.pem")
    assert desk.microsoft.log.count("Update-MgApplication") == 1
    assert "Add-MgApplicationPassword" not in desk.microsoft.log
    assert [one["kind"] for one in desk.result()["entra"]["credentials"]] == ["certificate"]


def test_second_certificate_leaves_the_first_in_place(desk: Desk, tmp_path: Path) -> None:
    for name in ("ec", "ec2"):
        (tmp_path / f"{name}.pem").write_bytes(make_certificate(make_key(name)).public_bytes(Encoding.PEM))
        desk.run("Entra", CertificateFile=f"{name}.pem")
    assert len({one["key_id"] for one in desk.result()["entra"]["credentials"]}) == 2


def test_application_that_exists_already_is_taken_by_its_id(desk: Desk) -> None:
    mine = desk.microsoft.run("New-MgApplication", {"DisplayName": "mine", "SignInAudience": "AzureADMyOrg"})[0]
    assert isinstance(mine, Bag)
    desk.microsoft.log.clear()
    desk.run("Entra", ApplicationId=mine.get("AppId"))
    desk.run("Exchange", ApplicationId=mine.get("AppId"))
    assert "New-MgApplication" not in desk.microsoft.log
    assert desk.result()["exchange"]["application_id"] == mine.get("AppId")


def test_application_id_that_is_unknown_stops_the_script(desk: Desk) -> None:
    assert "is registered in this directory" in desk.refused(
        "Entra", ApplicationId="6f1c2b1a-0000-4000-8000-0000000000aa"
    )
    assert desk.microsoft.log == []


def test_two_applications_of_the_name_stop_the_script(desk: Desk) -> None:
    wish = {"DisplayName": "Exchange sidecar acme", "SignInAudience": "AzureADMyOrg"}
    desk.microsoft.run("New-MgApplication", dict(wish))
    desk.microsoft.run("New-MgApplication", dict(wish))
    assert "Several applications" in desk.refused("Entra")


@pytest.mark.parametrize("part", ["Entra", "Exchange"])
def test_sign_in_to_another_directory_stops_the_script_before_any_change(desk: Desk, part: str) -> None:
    desk.run("Entra")
    desk.microsoft.log.clear()
    desk.microsoft.directory = "00000000-0000-4000-8000-000000000000"
    assert "another directory" in desk.refused(part)
    assert desk.microsoft.log == []


def test_connection_to_another_directory_that_is_still_open_stops_the_script(desk: Desk) -> None:
    desk.run("Entra")
    desk.microsoft.log.clear()
    window = Window(desk.microsoft, desk.folder, other_directories=("00000000-0000-4000-8000-000000000000",))
    with pytest.raises(PowerShellError, match="another directory"):
        window.run(desk.script, Part="Exchange")
    assert desk.microsoft.log == []


@pytest.mark.parametrize(
    ("part", "rival"), [("Entra", "ExchangeOnlineManagement"), ("Exchange", "Microsoft.Graph.Authentication")]
)
def test_window_that_has_the_other_module_loaded_is_told_apart(desk: Desk, part: str, rival: str) -> None:
    desk.run("Entra")
    window = Window(desk.microsoft, desk.folder, loaded={rival})
    with pytest.raises(PowerShellError, match="new PowerShell window"):
        window.run(desk.script, Part=part)


@pytest.mark.parametrize("modules", [{}, {"Microsoft.Graph.Authentication": "1.28.0"}])
def test_module_that_is_missing_or_too_old_is_named_with_how_to_get_it(desk: Desk, modules: dict[str, str]) -> None:
    window = Window(desk.microsoft, desk.folder, modules=modules)
    with pytest.raises(PowerShellError, match=r"Install-Module -Name Microsoft\.Graph\.Authentication"):
        window.run(desk.script, Part="Entra")


def test_part_exchange_without_part_entra_says_what_it_needs(desk: Desk) -> None:
    assert "Run part Entra first" in desk.refused("Exchange")


def test_part_exchange_runs_from_ids_alone_on_another_machine(desk: Desk) -> None:
    desk.run("Entra")
    entra = desk.result()["entra"]
    (desk.folder / RESULT).unlink()
    desk.run("Exchange", ApplicationId=entra["application_id"], ServicePrincipalId=entra["service_principal_id"])
    assert desk.result()["entra"] is None
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted", "granted"]


def test_result_of_another_directory_is_not_overwritten(desk: Desk) -> None:
    foreign = {"schema": "exchange-sidecar/onboarding-result", "version": 1, "directory_id": "x"}
    (desk.folder / RESULT).write_text(json.dumps(foreign))
    assert "no result of this script for this directory" in desk.refused("Entra")
    assert desk.result() == foreign


def test_persons_mailbox_given_as_a_room_stays_out_of_reach(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Exchange", Room=["room1@contoso.example", "ceo@contoso.example"])
    rooms = {room["mailbox"]: room for room in desk.result()["exchange"]["rooms"]}
    assert rooms["ceo@contoso.example"]["accepted"] is False
    assert rooms["ceo@contoso.example"]["access"] == "untested"
    assert desk.microsoft.groups[0].members == [rooms["room1@contoso.example"]["object_id"]]
    assert desk.report().is_serious


def test_persons_mailbox_is_accepted_when_told_so(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Exchange", Room=["ceo@contoso.example"], AllowOtherMailboxes=True)
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted"]


def test_room_that_does_not_exist_is_told_and_the_others_come_up(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Exchange", Room=["nowhere@contoso.example", "room1@contoso.example"])
    missing, there = desk.result()["exchange"]["rooms"]
    assert (missing["found"], there["access"]) == (False, "granted")
    assert "couldn't be found" in missing["problem"]


def test_room_added_later_joins_the_group_and_others_stay(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.both()
    desk.microsoft.add_mailbox("room3@contoso.example")
    desk.microsoft.log.clear()
    desk.run("Exchange", Room=[*ROOMS, "room3@contoso.example"])
    assert desk.microsoft.log == ["Add-DistributionGroupMember"]
    desk.run("Exchange", Room=["room1@contoso.example", "nowhere@contoso.example"])
    assert desk.result()["exchange"]["members_not_asked_for"] == 2
    desk.microsoft.hides_object_ids = True
    desk.run("Exchange", Room=["room1@contoso.example", "nowhere@contoso.example"])
    assert desk.result()["exchange"]["members_not_asked_for"] == 2
    assert len(desk.microsoft.groups[0].members) == 3


def test_room_given_twice_joins_once(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Exchange", Room=["room1@contoso.example", "ROOM1@contoso.example"])
    assert desk.microsoft.log.count("Add-DistributionGroupMember") == 1
    assert [room["problem"] for room in desk.result()["exchange"]["rooms"]] == ["", ""]


def test_members_that_exchange_lists_without_their_ids_are_recognised(desk: Desk) -> None:
    desk.microsoft.hides_object_ids = True
    desk.both()
    desk.microsoft.log.clear()
    desk.run("Exchange")
    assert desk.microsoft.log == []
    assert desk.result()["exchange"]["members_not_asked_for"] == 0


def test_scope_of_a_group_that_was_made_again_points_to_the_new_one(desk: Desk) -> None:
    desk.both()
    desk.microsoft.scopes[0].set("RecipientFilter", "(MemberOfGroup -eq 'CN=gone')")
    desk.microsoft.log.clear()
    desk.run("Exchange")
    assert desk.microsoft.log == ["Set-ManagementScope"]
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted", "granted"]


def test_application_that_exchange_does_not_see_yet_is_tried_again(desk: Desk) -> None:
    desk.run("Entra")
    desk.microsoft.lag_count = 2
    desk.run("Exchange")
    assert desk.microsoft.seconds_slept == 15
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted", "granted"]


def test_application_that_exchange_never_sees_ends_the_script_with_its_words(desk: Desk) -> None:
    desk.run("Entra")
    desk.microsoft.lag_count = 99
    assert "was not found in the directory" in desk.refused("Exchange")


def test_stale_reference_in_exchange_is_named(desk: Desk) -> None:
    desk.both()
    desk.microsoft.pointers[0].set("ObjectId", "00000000-0000-4000-8000-000000000000")
    assert "Remove-ServicePrincipal" in desk.refused("Exchange")


@pytest.mark.parametrize(
    ("cmdlet", "check"),
    [
        ("Test-ServicePrincipalAuthorization", lambda room: room["access"] == "untested"),
        ("Get-CalendarProcessing", lambda room: room["calendar_processing"] is None),
        ("Add-DistributionGroupMember", lambda room: room["access"] == "denied"),
    ],
)
def test_cmdlet_that_fails_for_rooms_is_told_for_each_of_them(
    desk: Desk, cmdlet: str, check: Callable[[dict[str, Any]], bool]
) -> None:
    desk.run("Entra")
    desk.microsoft.broken[cmdlet] = "The server is busy."
    if cmdlet == "Test-ServicePrincipalAuthorization":
        assert desk.refused("Exchange") == "The server is busy."
        return
    desk.run("Exchange")
    rooms = desk.result()["exchange"]["rooms"]
    assert all(check(room) and room["problem"] == "The server is busy." for room in rooms)


def test_settings_are_reported_by_name_and_people_only_counted(desk: Desk) -> None:
    desk.microsoft.mailboxes[ROOMS[0]].settings.set("ResourceDelegates", ["chris@contoso.example", "michelle"])
    desk.both()
    settings = desk.result()["exchange"]["rooms"][0]["calendar_processing"]
    assert (settings["BookingWindowInDays"], settings["DeleteSubject"], settings["AutomateProcessing"]) == (
        180,
        True,
        "AutoAccept",
    )
    assert (settings["ResourceDelegates"], settings["BookInPolicy"], settings["EnableAutoRelease"]) == (2, 0, None)
    assert b"chris" not in desk.raw


def test_subjects_are_left_alone_unless_asked_for(desk: Desk) -> None:
    desk.both()
    assert "Set-CalendarProcessing" not in desk.microsoft.log


def test_subjects_are_kept_together_with_the_private_flag_when_asked_for(desk: Desk) -> None:
    desk.both(KeepSubjects=True)
    assert desk.microsoft.log.count("Set-CalendarProcessing") == 2
    settings = desk.result()["exchange"]["rooms"][0]["calendar_processing"]
    assert [settings[name] for name in ("DeleteSubject", "AddOrganizerToSubject", "RemovePrivateProperty")] == [
        False
    ] * 3


def test_access_policy_narrows_a_consent_to_the_group(desk: Desk) -> None:
    desk.both(UseAccessPolicy=True, OutsideMailbox="ceo@contoso.example")
    result = desk.result()
    assert sorted(result["entra"]["tenant_wide_permissions"]) == ["Calendars.ReadWrite", "MailboxSettings.Read"]
    assert [room["access"] for room in result["exchange"]["rooms"]] == ["granted", "granted"]
    assert result["exchange"]["outside"]["access"] == "denied"
    assert not {"New-ServicePrincipal", "New-ManagementScope", "New-ManagementRoleAssignment"} & set(desk.microsoft.log)
    assert not desk.report().is_serious


def test_administrative_unit_takes_the_place_of_the_group(desk: Desk) -> None:
    desk.run("Entra")
    desk.run("Exchange", AdministrativeUnitId="4d819ce9-9257-44d0-9ff7-9b6a2b2f4c0e")
    assert (desk.microsoft.groups, desk.microsoft.scopes) == ([], [])
    assert desk.result()["exchange"]["scope"] == "4d819ce9-9257-44d0-9ff7-9b6a2b2f4c0e"
    assert {role["scope_type"] for role in desk.result()["exchange"]["roles"]} == {"AdministrativeUnit"}


def test_permission_for_all_mailboxes_is_told_and_taken_back_once_the_rooms_are_in_reach(desk: Desk) -> None:
    desk.run("Entra", UseAccessPolicy=True)
    assert "Run part Exchange first" in desk.refused("Entra", RevokeTenantWide=True)
    desk.run("Exchange")
    assert any("reaches all mailboxes" in obstacle.message for obstacle in desk.report().obstacles)
    desk.run("Entra", RevokeTenantWide=True)
    assert desk.microsoft.grants == []
    assert not desk.report().is_serious


def test_permission_that_roles_do_not_replace_is_not_taken_back(desk: Desk) -> None:
    desk.both()
    principal = desk.microsoft.principals[1].get("Id")
    grant = Bag.of(Id="g", PrincipalId=principal, ResourceId=desk.microsoft.principals[0].get("Id"))
    grant.set("AppRoleId", "00000000-0000-4000-9000-000000000003")
    desk.microsoft.grants.append(grant)
    desk.run("Entra", RevokeTenantWide=True)
    assert desk.microsoft.grants == [grant]


@pytest.mark.parametrize(
    ("part", "parameters", "told"),
    [
        ("Entra", {"UseAccessPolicy": True, "RevokeTenantWide": True}, "Give one of them"),
        ("Exchange", {"UseAccessPolicy": True, "AdministrativeUnitId": "x"}, "takes a group"),
        ("Exchange", {"Room": ["no address"]}, "is not the address of a mailbox"),
        ("Exchange", {"Room": ["x'; Remove-Item"]}, "is not the address of a mailbox"),
        ("Entra", {"ApplicationId": "x"}, "must be a GUID"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_before_signing_in(
    desk: Desk, part: str, parameters: dict[str, Value], told: str
) -> None:
    desk.run("Entra")
    desk.microsoft.log.clear()
    assert told in desk.refused(part, **parameters)
    assert desk.microsoft.log == []


def test_kit_without_rooms_asks_for_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rooms=())
    desk.run("Entra")
    assert "Name their addresses with -Room" in desk.refused("Exchange")
    desk.microsoft.add_mailbox("room1@contoso.example")
    desk.run("Exchange", Room=["room1@contoso.example"])
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted"]


def test_rooms_with_any_characters_are_asked_for_as_they_are(tmp_path: Path) -> None:
    rooms = ("büro@contoso.example", "会議室@contoso.example", "$(x)`y@contoso.example", "‘q’@contoso.example")
    desk = Desk(tmp_path, rooms=rooms)
    desk.both()
    assert [(room["mailbox"], room["access"]) for room in desk.result()["exchange"]["rooms"]] == [
        (room, "granted") for room in rooms
    ]


@pytest.mark.parametrize(
    ("cloud", "graph", "exchange"),
    [
        (Cloud.GLOBAL, "Global", "O365Default"),
        (Cloud.US_GOVERNMENT, "USGov", "O365USGovGCCHigh"),
        (Cloud.US_GOVERNMENT_DOD, "USGovDoD", "O365USGovDoD"),
        (Cloud.CHINA, "China", "O365China"),
    ],
)
def test_each_cloud_is_signed_in_to_by_its_name(desk: Desk, cloud: Cloud, graph: str, exchange: str) -> None:
    desk.script = make_kit(mailboxes=ROOMS, cloud=cloud).script
    own = {"SignInApplicationId": "6f1c2b1a-0000-4000-8000-0000000000cc"} if cloud is Cloud.CHINA else {}
    assert desk.run("Entra", **own).signed_in_with["Environment"] == graph
    assert desk.run("Exchange").signed_in_with["ExchangeEnvironmentName"] == exchange


def test_scopes_asked_for_are_as_few_as_the_way_needs(desk: Desk) -> None:
    assert desk.run("Entra").signed_in_with["Scopes"] == ["Application.ReadWrite.All"]
    wide = desk.run("Entra", UseAccessPolicy=True).signed_in_with["Scopes"]
    assert wide == ["Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"]


def test_sign_in_without_an_own_application_is_refused_in_china(desk: Desk) -> None:
    desk.script = make_kit(mailboxes=ROOMS, cloud=Cloud.CHINA).script
    assert "-SignInApplicationId" in desk.refused("Entra")
    window = desk.run("Entra", SignInApplicationId="6f1c2b1a-0000-4000-8000-0000000000cc")
    assert window.signed_in_with["ClientId"] == "6f1c2b1a-0000-4000-8000-0000000000cc"


def test_longest_names_are_taken_by_exchange(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.script = make_kit(tenant_id="x" * 63, mailboxes=ROOMS).script
    desk.both()
    assert [room["access"] for room in desk.result()["exchange"]["rooms"]] == ["granted", "granted"]


def test_names_in_exchange_hold_the_tenant_so_that_two_tenants_do_not_meet(desk: Desk) -> None:
    desk.both()
    names = [
        one.get("Name") for one in (*desk.microsoft.scopes, *desk.microsoft.assignments, desk.microsoft.groups[0].bag)
    ]
    assert all("acme" in to_text(name) for name in names)
    assert len(names) == 4
