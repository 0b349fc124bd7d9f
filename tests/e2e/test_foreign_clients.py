"""Client libraries of others, unchanged, against an emulator with real ports and TLS: MSAL and O365.

They read what they get by their own idea of Microsoft, and not by this project's. Neither can be told of another login host by
a setting that passes through O365, so its MSAL application is made here; nothing else is put in.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import httpx
import msal
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from O365 import Account, MSGraphProtocol
from O365.utils.token import MemoryTokenBackend
from requests import HTTPError

from sidecar.cli.processes import Started

pytestmark = pytest.mark.e2e

SCOPES = ["https://graph.microsoft.com/.default"]
BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2027, 1, 11, tzinfo=BERLIN)
Json = dict[str, Any]  # Any: JSON from the wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A tenant of the emulator with a room and a person."""

    tenant: Json
    room: str
    person: str
    graph_url: str
    ca_file: str
    control_url: str

    def control(self, method: str, path: str, body: Json) -> Json:
        """Make a control call about the tenant."""
        url = f"{self.control_url}/control/tenants/{self.tenant['tenant_id']}/{path}"
        answer = httpx.request(method, url, json=body, trust_env=False)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    def msal(self, credential: Any, **more: Any) -> msal.ConfidentialClientApplication:  # Any: MSAL has no types
        """Make MSAL's application for the tenant."""
        return msal.ConfidentialClientApplication(
            self.tenant["client_id"],
            client_credential=credential,
            authority=self.tenant["authority"],
            instance_discovery=False,
            verify=self.ca_file,
            **more,
        )

    def account(self, mailbox: str) -> Account:
        """Sign in with O365 and make a mailbox its main resource."""
        protocol = type("Emulated", (MSGraphProtocol,), {"_protocol_url": f"{self.graph_url}/"})
        account = Account(
            (self.tenant["client_id"], self.tenant["client_secret"]),
            auth_flow_type="credentials",
            tenant_id=self.tenant["tenant_id"],
            protocol=protocol,
            main_resource=mailbox,
            timezone="Europe/Berlin",
            default_headers={"Prefer": 'IdType="ImmutableId"'},
            token_backend=MemoryTokenBackend(),
            verify_ssl=self.ca_file,
        )
        account.con._msal_client = self.msal(self.tenant["client_secret"], token_cache=account.con.token_backend)
        assert account.authenticate()
        return account


@pytest.fixture
def office(emulator: Started, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Give a tenant of its own; the variables taken away would overrule what the libraries are told to trust."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    control = emulator.text("control_url")
    tenant = httpx.post(f"{control}/control/tenants", json={}, trust_env=False).json()
    path = f"{control}/control/tenants/{tenant['tenant_id']}"
    room = httpx.post(f"{path}/rooms", json={"count": 1}, trust_env=False).json()["rooms"][0]["address"]
    person = httpx.post(f"{path}/users", json={"count": 1}, trust_env=False).json()["users"][0]["address"]
    return Office(
        tenant=tenant,
        room=room,
        person=person,
        graph_url=emulator.text("graph_url"),
        ca_file=emulator.text("ca_file"),
        control_url=control,
    )


def book(office: Office, start: datetime, **more: Any) -> Json:  # Any: JSON for the wire
    """Let the person book the room for an hour."""
    times = {name: at.strftime("%Y-%m-%dT%H:%M:%S") for name, at in _hour(start).items()}
    body = {"organizer": office.person, "rooms": [office.room], "subject": "Plans", "time_zone": "Europe/Berlin"}
    return office.control("POST", "outlook/book", {**body, **times, **more})


def _hour(start: datetime) -> dict[str, datetime]:
    return {"start": start, "end": start + timedelta(hours=1)}


# -- MSAL


@pytest.mark.parametrize("with_certificate", [True, False])
def test_msal_signs_in_with_a_certificate(office: Office, with_certificate: bool) -> None:
    """With the certificate itself MSAL signs PS256 and names it by SHA-256, else RS256 and SHA-1."""
    key, certificate = _certificate()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    office.control("PATCH", "app", {"certificate_pem": pem})
    thumbprint = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    credential = {
        "private_key": key,
        "thumbprint": thumbprint,
        **({"public_certificate": pem} if with_certificate else {}),
    }
    answer = office.msal(credential).acquire_token_for_client(scopes=SCOPES)
    assert "access_token" in answer, answer


def test_msal_signs_in_with_an_assertion_made_elsewhere(office: Office) -> None:
    key, certificate = _certificate()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    office.control("PATCH", "app", {"certificate_pem": pem})
    made: list[str] = []

    def assertion() -> str:
        maker = msal.oauth2cli.assertion.JwtAssertionCreator(
            key, algorithm="PS256", sha256_thumbprint=certificate.fingerprint(hashes.SHA256()).hex()
        )
        audience = f"{office.tenant['authority']}/oauth2/v2.0/token"
        signed = maker.create_normal_assertion(audience, issuer=office.tenant["client_id"])
        made.append(signed if isinstance(signed, str) else signed.decode())
        return made[-1]

    answer = office.msal({"client_assertion": assertion}).acquire_token_for_client(scopes=SCOPES)
    assert "access_token" in answer, answer
    assert len(made) == 1


def test_msal_tells_an_unregistered_certificate_apart(office: Office) -> None:
    key, certificate = _certificate()
    thumbprint = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    answer = office.msal({"private_key": key, "thumbprint": thumbprint}).acquire_token_for_client(scopes=SCOPES)
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [700027])


def test_msal_keeps_its_token_and_takes_a_new_one_after_it_was_dropped(office: Office) -> None:
    app = office.msal(office.tenant["client_secret"])
    first = app.acquire_token_for_client(scopes=SCOPES)
    again = app.acquire_token_for_client(scopes=SCOPES)
    assert (first["token_source"], again["token_source"]) == ("identity_provider", "cache")
    app.remove_tokens_for_client()
    new = app.acquire_token_for_client(scopes=SCOPES)
    assert new["token_source"] == "identity_provider"
    assert new["access_token"] != first["access_token"]


def _certificate() -> tuple[str, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    build = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    build = build.serial_number(1).not_valid_before(datetime(2026, 1, 1)).not_valid_after(datetime(2036, 1, 1))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), build.sign(key, hashes.SHA256())


# -- O365


def test_o365_finds_the_calendar(office: Office) -> None:
    schedule = office.account(office.room).schedule()
    default = schedule.get_default_calendar()
    assert (default.owner.address, default.can_edit) == (office.room, True)
    assert [one.calendar_id for one in schedule.list_calendars()] == [default.calendar_id]


def test_o365_reads_a_view_over_many_pages(office: Office) -> None:
    for number in range(14):
        book(office, MONDAY + timedelta(hours=7 + number), subject=str(number))
    _at_rest(office)
    calendar = office.account(office.room).schedule().get_default_calendar()
    span = {"start_recurring": MONDAY, "end_recurring": MONDAY + timedelta(days=1)}
    whole = list(calendar.get_events(limit=None, **span))
    assert [one.start for one in whole] == [MONDAY + timedelta(hours=7 + number) for number in range(14)]
    paged = office.account(office.room).schedule().get_events(limit=14, batch=4, order_by="start/dateTime", **span)
    assert [one.object_id for one in paged] == [one.object_id for one in whole]


def test_o365_reads_a_meeting_in_the_room(office: Office) -> None:
    book(office, MONDAY + timedelta(hours=9))
    _at_rest(office)
    (event,) = _events(office)
    assert (event.start, event.end) == (MONDAY + timedelta(hours=9), MONDAY + timedelta(hours=10))
    assert event.subject.strip() == event.organizer.name
    assert event.organizer.address == office.person
    assert event.response_status.status.value == "accepted"
    assert event.show_as.value == "busy"
    assert [one.address for one in event.attendees] == [office.room]
    assert event.recurrence.recurrence_type is None


def test_o365_reads_a_series_and_its_occurrences(office: Office) -> None:
    recurrence = {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "sunday"},
        "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": "2027-03-15"},
    }
    start = datetime(2027, 3, 15, 9, tzinfo=BERLIN)  # two weeks before the clocks change
    book(office, start, recurrence=recurrence)
    _at_rest(office)
    schedule = office.account(office.room).schedule()
    (master,) = schedule.get_events(include_recurring=False)
    assert master.event_type.name == "SeriesMaster"
    assert (master.recurrence.interval, master.recurrence.days_of_week) == (1, ["monday"])
    shown = list(master.get_occurrences(start - timedelta(days=1), start + timedelta(days=30)))
    assert [one.start for one in shown] == [start + timedelta(weeks=at) for at in range(3)]
    assert {one.event_type.name for one in shown} == {"Occurrence"}


def test_o365_changes_and_deletes_an_event(office: Office) -> None:
    book(office, MONDAY + timedelta(hours=9))
    _at_rest(office)
    (event,) = _events(office)
    event.subject, event.show_as = "Changed", "free"
    event.start, event.end = MONDAY + timedelta(hours=14), MONDAY + timedelta(hours=15)
    event.location = "East"
    assert event.save()
    (after,) = _events(office)
    assert after.object_id == event.object_id
    assert (after.subject, after.show_as.value, after.location["displayName"]) == ("Changed", "free", "East")
    assert (after.start, after.end) == (MONDAY + timedelta(hours=14), MONDAY + timedelta(hours=15))
    assert after.delete()
    assert _events(office) == []


def test_o365_makes_an_event(office: Office) -> None:
    """The library sends every property it knows, an extended one among them, and flags as texts."""
    event = office.account(office.room).schedule().new_event(subject="Painters")
    event.start, event.end = MONDAY + timedelta(hours=9), MONDAY + timedelta(hours=10)
    event.body, event.location = "Second coat", "East"
    event.transaction_id = "painters-1"
    assert event.save()
    (found,) = _events(office)
    assert (found.object_id, found.ical_uid, found.subject) == (event.object_id, event.ical_uid, "Painters")
    assert found.get_body_soup().text.strip() == "Second coat"
    assert (found.start, found.end) == (event.start, event.end)
    assert found.transaction_id == "painters-1"


def test_o365_makes_a_series_and_books_a_room_with_it(office: Office) -> None:
    event = office.account(office.person).schedule().new_event(subject="Standup")
    event.start, event.end = MONDAY + timedelta(hours=9), MONDAY + timedelta(hours=9, minutes=15)
    event.recurrence.set_weekly(1, days_of_week=["monday", "wednesday"], first_day_of_week="monday")
    event.recurrence.start_date, event.recurrence.occurrences = MONDAY.date(), 4
    event.attendees.add(office.room)
    assert event.save()
    _at_rest(office)
    span = {"start_recurring": MONDAY, "end_recurring": MONDAY + timedelta(days=30)}
    shown = list(office.account(office.room).schedule().get_events(order_by="start/dateTime", **span))
    assert [one.start for one in shown] == [MONDAY + timedelta(days=day, hours=9) for day in (0, 2, 7, 9)]
    assert {one.response_status.status.value for one in shown} == {"accepted"}


def test_o365_finds_events_by_a_filter(office: Office) -> None:
    book(office, MONDAY + timedelta(hours=9), subject="One")
    book(office, MONDAY + timedelta(hours=11), subject="Two")
    schedule = office.account(office.person).schedule()
    assert [one.subject for one in schedule.get_events(query="subject eq 'Two'", include_recurring=False)] == ["Two"]


def test_o365_sees_when_a_room_is_taken(office: Office) -> None:
    book(office, MONDAY + timedelta(hours=9))
    _at_rest(office)
    schedule = office.account(office.person).schedule()
    (found,) = schedule.get_availability([office.room], MONDAY + timedelta(hours=8), MONDAY + timedelta(hours=12))
    assert found["availabilityView"] == ["free", "busy", "free", "free"]
    assert [one["status"] for one in found["scheduleItems"]] == ["busy"]


def test_o365_declines_a_meeting_for_the_room(office: Office) -> None:
    book(office, MONDAY + timedelta(hours=9))
    _at_rest(office)
    (event,) = _events(office)
    assert event.decline_event(comment="Painters", send_response=True)
    assert _events(office) == []
    (own,) = office.account(office.person).schedule().get_events(include_recurring=False)
    assert [one.response_status.status.value for one in own.attendees] == ["declined"]


def test_o365_understands_a_refusal(office: Office) -> None:
    calendar = office.account(office.room).schedule().get_default_calendar()
    book(office, MONDAY + timedelta(hours=9))
    _at_rest(office)
    (event,) = _events(office)
    event.delete()
    with pytest.raises(HTTPError, match="The specified object was not found in the store"):
        calendar.get_event(event.object_id)


def test_o365_makes_renews_and_deletes_a_subscription(office: Office) -> None:
    subscriptions = office.account(office.room).subscriptions()
    with _webhook() as hook:
        made = subscriptions.create_subscription(
            hook.url,
            resource=f"/users/{office.room}/events",
            change_type=["created", "updated", "deleted"],
            expiration_minutes=90,
            client_state="s3cret",
        )
        assert made is not None
        assert [one["id"] for one in subscriptions.list_subscriptions()] == [made["id"]]
        book(office, MONDAY + timedelta(hours=9))
        _at_rest(office)
        assert hook.handshakes == 1
        assert b'"created"' in hook.bodies[0]
        assert b"s3cret" in hook.bodies[0]
        renewed = subscriptions.renew_subscription(made["id"], expiration_minutes=3000)
        assert datetime.fromisoformat(renewed["expirationDateTime"]) > datetime.now(UTC) + timedelta(days=2)
        assert subscriptions.delete_subscription(made["id"])
        assert list(subscriptions.list_subscriptions()) == []


def _events(office: Office) -> list[Any]:  # Any: O365 has no types
    """Read the room's Monday."""
    span = {"start_recurring": MONDAY, "end_recurring": MONDAY + timedelta(days=1)}
    return list(office.account(office.room).schedule().get_events(**span))


def _at_rest(office: Office) -> None:
    """Let the room have answered, and the webhook have heard of it."""
    url = f"{office.control_url}/control/tenants/{office.tenant['tenant_id']}/pending"
    for _ in range(300):
        pending = httpx.get(url, trust_env=False).json()
        if not pending["room_processing"] and not pending["deliveries"]:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the emulator does not come to rest")


@dataclass(slots=True, kw_only=True)
class _Hook:
    """A webhook of the plainest kind."""

    url: str
    handshakes: int
    bodies: list[bytes]


@contextmanager
def _webhook() -> Iterator[_Hook]:
    hook = _Hook(url="", handshakes=0, bodies=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server names it so
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            token = parse_qs(urlsplit(self.path).query).get("validationToken")
            if token:
                hook.handshakes += 1
            else:
                hook.bodies.append(body)
            answer = token[0].encode() if token else b""
            self.send_response(200 if token else 202)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hook.url = f"http://127.0.0.1:{server.server_address[1]}/graph"
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
