"""GetOnboardingKit over the wire."""

from __future__ import annotations

import grpc
import pytest

from sidecar.api import tenants
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as rooms_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.onboarding import kit
from tests.support.builders import CANARY, DIRECTORY
from tests.unit.api.rig import Rig, failing
from tests.unit.api.test_tenants import APP, registration

OTHER_DIRECTORY = "9b1c2d3e-0000-4000-8000-000000000001"


async def map_room(rig: Rig, room_id: str, mailbox: str) -> None:
    room = rooms_pb.Room(mailbox=mailbox)
    await rig.rooms.MapRoom(rooms_pb.MapRoomRequest(parent="tenants/acme", room_id=room_id, room=room))


async def test_kit_of_a_registered_tenant_holds_its_own_values_and_no_secret(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    await map_room(rig, "r2", "b@contoso.example")
    await map_room(rig, "r1", "a@contoso.example")
    made = await rig.tenants.GetOnboardingKit(
        pb.GetOnboardingKitRequest(name="tenants/acme", mailboxes=["new@contoso.example", "A@contoso.example"])
    )
    assert list(made.mailboxes) == ["a@contoso.example", "b@contoso.example", "new@contoso.example"]
    assert made.script_name == "exchange-sidecar-acme.ps1"
    for text in (made.script, made.guide):
        assert DIRECTORY in text
        assert APP in text
    assert CANARY.encode() not in made.SerializeToString()


async def test_kit_of_a_tenant_not_registered_yet_is_made_of_the_request(rig: Rig) -> None:
    request = pb.GetOnboardingKitRequest(
        name="tenants/new",
        directory_id=OTHER_DIRECTORY.upper(),
        cloud=pb.CLOUD_US_GOVERNMENT,
        display_name="New & Co",
        mailboxes=["a@contoso.example"],
    )
    made = await rig.tenants.GetOnboardingKit(request)
    assert OTHER_DIRECTORY in made.script
    assert "ExchangeEnvironment = 'O365USGovGCCHigh'" in made.script
    assert "ApplicationId = ''" in made.script
    assert "New \\& Co" in made.guide
    told = await failing(rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/new")))
    assert told.reason == "TENANT_NOT_FOUND"


async def test_kit_of_an_unknown_tenant_without_a_directory_is_not_found(rig: Rig) -> None:
    told = await failing(rig.tenants.GetOnboardingKit(pb.GetOnboardingKitRequest(name="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_kit_for_another_directory_than_the_tenants_is_refused(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    request = pb.GetOnboardingKitRequest(name="tenants/acme", directory_id=OTHER_DIRECTORY)
    told = await failing(rig.tenants.GetOnboardingKit(request))
    assert told.violations == {"directory_id": "is not the directory of this tenant"}


async def test_all_broken_rules_are_told_together(rig: Rig) -> None:
    request = pb.GetOnboardingKitRequest(
        name="acme", directory_id="x", display_name="x" * 201, mailboxes=["ok@x.example", "no address"]
    )
    request.cloud = 99  # type: ignore[assignment]  # a value of a later version
    told = await failing(rig.tenants.GetOnboardingKit(request))
    assert set(told.violations) == {"name", "directory_id", "display_name", "cloud", "mailboxes[1]"}


async def test_more_rooms_than_a_kit_takes_are_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tenants, kit):
        monkeypatch.setattr(module, "KIT_ROOMS_MAX", 2)
    await rig.tenants.RegisterTenant(registration())
    await map_room(rig, "r1", "a@contoso.example")
    three = pb.GetOnboardingKitRequest(name="tenants/acme", mailboxes=[f"{name}@contoso.example" for name in "xyz"])
    two = pb.GetOnboardingKitRequest(name="tenants/acme", mailboxes=[f"{name}@contoso.example" for name in "xy"])
    assert "2 entries at most" in (await failing(rig.tenants.GetOnboardingKit(three))).violations["mailboxes"]
    assert "more than 2 rooms" in (await failing(rig.tenants.GetOnboardingKit(two))).violations["mailboxes"]
