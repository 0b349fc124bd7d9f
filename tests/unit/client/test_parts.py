"""Names, times, targets, errors and token stores."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from exchange_client import (
    ExchangeClient,
    ExchangeError,
    FileTokenStore,
    GapError,
    InternalError,
    LimitReached,
    MemoryTokenStore,
    ResumeTokenInvalid,
    Tls,
    TokenFile,
    TokenStore,
    Unavailable,
    WatcherTooSlow,
    names,
    times,
)
from exchange_client.channel import channel_options, checked_target
from exchange_client.errors import from_rpc
from exchange_client.messages import TimeWindow
from exchange_client.requests import checked_rooms, watch_name
from exchange_client.tokens import replace_file
from google.protobuf.timestamp_pb2 import Timestamp

from tests.unit.client.fake_server import Fault

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_names_are_built_and_taken_apart() -> None:
    assert names.parse_tenant(names.tenant("acme")) == "acme"
    assert names.parse_room(names.room("acme", "r1")) == ("acme", "r1")
    booking = names.booking("acme", "r1", "b9")
    assert names.parse_booking(booking) == names.BookingName(tenant="acme", room="r1", booking="b9")
    assert names.room_of(booking) == "tenants/acme/rooms/r1"
    assert names.tenant_of(booking) == names.tenant_of("tenants/acme") == "tenants/acme"
    assert names.all_rooms("acme") == "tenants/acme/rooms/-"


@pytest.mark.parametrize("wrong", ["", "-", "a/b", "a b", "ü", "x" * 64])
def test_wrong_id_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        names.room("acme", wrong)


@pytest.mark.parametrize(
    "wrong", ["", "r1", "tenants/acme", "tenants/acme/rooms/", "rooms/acme/tenants/r1", "tenants/a/rooms/b/"]
)
def test_wrong_name_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        names.parse_room(wrong)
    with pytest.raises(ValueError):
        names.room_of(wrong)


def test_window_takes_any_zone_and_refuses_none() -> None:
    made = times.window(NINE.astimezone(timezone(timedelta(hours=-6))), NINE + timedelta(hours=1))
    assert times.to_datetime(made.start_time) == NINE
    with pytest.raises(ValueError, match="zone"):
        times.window(NINE.replace(tzinfo=None), NINE)
    with pytest.raises(ValueError, match="end after"):
        times.window(NINE, NINE)


def test_stay_touches_a_half_open_span() -> None:
    def stay(start: int, end: int) -> TimeWindow:
        return TimeWindow(start_time=Timestamp(seconds=start), end_time=Timestamp(seconds=end))

    span = stay(10, 20)
    assert [times.touches(stay(a, b), span) for a, b in [(5, 10), (5, 11), (10, 10), (19, 30), (20, 30), (20, 20)]] == [
        *[False, True, True],
        *[True, False, False],
    ]
    assert times.touches(stay(1, 2), TimeWindow())
    assert not times.touches(stay(5, 9), TimeWindow(start_time=Timestamp(seconds=9)))


def test_durations_keep_fractions() -> None:
    assert times.to_seconds(times.to_duration(2.5)) == 2.5


@pytest.mark.parametrize("target", ["unix:///run/x.sock", "localhost:50551", "[::1]:50551", "dns:///host:1"])
def test_target_is_accepted(target: str) -> None:
    assert checked_target(target) == target


@pytest.mark.parametrize("target", ["http://host:1", "host", "", "host:", "https://host"])
def test_wrong_target_is_refused_with_a_word(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        checked_target(target)


def test_own_channel_arguments_replace_the_defaults() -> None:
    made = dict(channel_options(Tls(server_name="exchange"), [("grpc.keepalive_time_ms", 1)]))
    assert made["grpc.keepalive_time_ms"] == 1
    assert made["grpc.keepalive_timeout_ms"] == 5000
    assert made["grpc.ssl_target_name_override"] == "exchange"


async def test_tls_connection_is_made_with_the_given_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("exchange.test").private_key_and_cert_chain_pem.bytes()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair, pair)]))
    await server.start()
    trusted = Tls.from_files(ca=tmp_path / "ca.pem", server_name="exchange.test")
    async with ExchangeClient.connect(f"127.0.0.1:{port}", tls=trusted) as client:
        await client.wait_ready()
    await server.stop(None)
    with pytest.raises(ValueError, match="go together"):
        Tls(cert_pem=b"x")


def failure(fault: Fault) -> ExchangeError:
    code, details, trailers = fault.status()
    return from_rpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details))


def test_reason_decides_before_the_code() -> None:
    assert isinstance(failure(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")), WatcherTooSlow)
    assert type(failure(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "CALL_LIMIT"))) is LimitReached
    assert isinstance(failure(Fault(grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_MALFORMED")), ResumeTokenInvalid)
    assert isinstance(failure(Fault(grpc.StatusCode.OUT_OF_RANGE)), GapError)
    assert isinstance(failure(Fault(grpc.StatusCode.DATA_LOSS)), InternalError)


def test_details_are_read_whatever_their_number() -> None:
    error = failure(
        Fault(grpc.StatusCode.UNAVAILABLE, "EXCHANGE_THROTTLED", retry_after_s=2.5, metadata={"tenant": "acme"})
    )
    assert isinstance(error, Unavailable)
    assert (error.code, error.retry_after_s, error.metadata) == ("UNAVAILABLE", 2.5, {"tenant": "acme"})
    assert str(error) == "EXCHANGE_THROTTLED: no luck"


def test_reason_of_another_domain_is_not_ours() -> None:
    error = failure(Fault(grpc.StatusCode.UNAVAILABLE, "WATCHER_TOO_SLOW", domain="proxy.example"))
    assert (type(error), error.reason) == (Unavailable, "")


def test_garbled_details_leave_the_code() -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    error = from_rpc(grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, None))
    assert (error.code, error.reason, error.message) == ("NOT_FOUND", "", "the call failed with NOT_FOUND")


def test_error_survives_pickling() -> None:
    error = failure(Fault(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", violations={"f": "wrong"}))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
    assert str(again) == "FIELD_INVALID: no luck; f: wrong"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    return MemoryTokenStore() if request.param == "memory" else FileTokenStore(tmp_path / "tokens")


def test_store_keeps_one_token_for_each_name(store: TokenStore) -> None:
    assert store.load("tenants/acme/rooms/r1") is None
    store.save("tenants/acme/rooms/r1", "t1")
    store.save("tenants/acme/rooms/R1", "other")
    store.save("tenants/acme/rooms/r1", "t2")
    assert store.load("tenants/acme/rooms/r1") == "t2"
    assert store.load("tenants/acme/rooms/R1") == "other"


def test_file_that_cannot_be_replaced_keeps_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    replace_file(path, b"old")

    def refuse(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_watch_of_chosen_rooms_has_a_name_of_its_own() -> None:
    rooms = ["tenants/acme/rooms/r1", "tenants/acme/rooms/r2"]
    assert watch_name("tenants/acme", []) == "tenants/acme"
    assert watch_name("tenants/acme", rooms) == watch_name("tenants/acme", rooms[::-1]) != "tenants/acme"
    with pytest.raises(ValueError, match="sequence"):
        checked_rooms("tenants/acme/rooms/r1")


def test_token_file_is_read_anew_when_it_changes_and_kept_while_it_is_missing(tmp_path: Path) -> None:
    """A secret is replaced under a running process, and never for an instant is there none."""
    path = tmp_path / "token"
    path.write_text("one\n")
    token = TokenFile(path)
    assert token() == "one"
    fresh = tmp_path / "fresh"
    fresh.write_text("two")
    fresh.replace(path)
    assert token() == "two"
    path.unlink()
    assert token() == "two"
    path.write_text("")
    assert token() == "two"
    path.write_text("two lines\nof text")
    assert token() == "two"
    with pytest.raises(ValueError, match="one token"):
        TokenFile(path)
    with pytest.raises(OSError, match="missing"):
        TokenFile(tmp_path / "missing")
