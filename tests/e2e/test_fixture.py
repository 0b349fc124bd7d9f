"""The fixture package: what other teams' tests are given."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from sidecar.emulator.fixture import EmulatorFailed, FaultsLeft, RunningEmulator, run_emulator, tenant_made
from sidecar.emulator.fixture.plugin import exchange_tenant
from sidecar.emulator.fixture.tenant import ControlRefused, EmulatedTenant

__all__ = ["exchange_tenant"]

pytestmark = pytest.mark.e2e
NINE = datetime(2027, 1, 11, 9, tzinfo=UTC)


async def test_tenant_of_a_test_books_and_sees_the_truth(exchange_tenant: EmulatedTenant) -> None:
    """A booking made by a person is on the room's calendar."""
    (room,) = exchange_tenant.rooms
    await exchange_tenant.book(room, NINE, subject="Plans")
    (item,) = await exchange_tenant.truth(room, NINE, NINE.replace(hour=10))
    assert (item["start"], item["organizer"]) == ("2027-01-11T09:00:00Z", exchange_tenant.people[0])


async def test_fault_that_met_nothing_fails_the_test(emulator: RunningEmulator) -> None:
    """A script left unconsumed is a test that did not test what it meant to."""
    with pytest.raises(FaultsLeft, match="1 scripted faults"):
        async with tenant_made(emulator.text("control_url")) as tenant:
            await tenant.fault({"status": 503}, path="/calendarView")


async def test_control_call_that_is_refused_says_why(emulator: RunningEmulator) -> None:
    async with tenant_made(emulator.text("control_url")) as tenant:
        with pytest.raises(ControlRefused, match=r"404 .*There is no mailbox nobody"):
            await tenant.truth("nobody", NINE, NINE)


async def test_unkindness_to_one_tenant_spares_the_others(emulator: RunningEmulator) -> None:
    url = emulator.text("control_url")
    async with tenant_made(url) as one, tenant_made(url) as other:
        assert (await one.change_moods(throttle_share=1))["throttle_share"] == 1
        assert (await other.change_moods())["throttle_share"] == 0
        assert (await one.change_moods(calm=True))["throttle_share"] == 0
        await one.begin_outage(60, service="login")
        documents = [f"{tenant.authority}/v2.0/.well-known/openid-configuration" for tenant in (one, other)]
        context = ssl.create_default_context(cafile=emulator.text("ca_file"))
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            assert [(await http.get(document)).status_code for document in documents] == [503, 200]


def test_ready_line_is_enough_for_the_first_read(emulator: RunningEmulator) -> None:
    """Addresses and credentials are told together: no control call comes before the first request."""
    tenant = emulator.ready["tenant"]
    assert isinstance(tenant, dict)
    form = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"}
    form |= {name: tenant[name] for name in ("client_id", "client_secret")}
    with httpx.Client(verify=ssl.create_default_context(cafile=emulator.text("ca_file")), trust_env=False) as http:
        answer = http.post(f"{tenant['authority']}/oauth2/v2.0/token", data=form).raise_for_status().json()
        url = f"{emulator.text('graph_url')}/v1.0/users/{tenant['rooms'][0]}/events"
        read = http.get(url, headers={"authorization": f"Bearer {answer['access_token']}"})
    assert (read.status_code, read.json()["value"]) == (200, [])


def test_emulator_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(EmulatorFailed, match="unrecognized arguments: --no-such"),
        run_emulator(tmp_path, "--no-such"),
    ):
        pass
