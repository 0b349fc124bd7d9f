"""What travels in headers, and how answers are packed."""

import gzip
import uuid

import pytest

from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
JSON_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


async def test_every_answer_of_graph_can_be_traced() -> None:
    async with rig() as r:
        for path, status in ((f"/users/{r.room}/events", 200), ("/users/nobody/events", 404), ("/nothing", 501)):
            answer = await r.graph.get(path, headers={"client-request-id": "mine", "return-client-request-id": "true"})
            assert (answer.status_code, answer.headers["client-request-id"]) == (status, "mine")
            assert str(uuid.UUID(answer.headers["request-id"])) == answer.headers["request-id"]
            assert answer.headers["date"].startswith("Mon, 23 Nov 2026 08:00:0")
            assert answer.headers["content-type"] == JSON_TYPE
            assert answer.headers["odata-version"] == "4.0"
            assert '"DataCenter"' in answer.headers["x-ms-ags-diagnostic"]
            assert answer.headers["strict-transport-security"]


async def test_error_names_the_ids_of_its_headers() -> None:
    async with rig() as r:
        answer = await r.graph.get("/users/nobody/events", headers={"client-request-id": "mine"})
        inner = answer.json()["error"]["innerError"]
        assert (inner["request-id"], inner["client-request-id"]) == (answer.headers["request-id"], "mine")


async def test_preference_is_echoed_when_applied() -> None:
    async with rig() as r:
        prefer = 'outlook.timezone="Europe/Berlin", IdType="ImmutableId"'
        assert (await r.graph.get(f"/users/{r.room}/events", headers={"prefer": prefer})).headers[
            "preference-applied"
        ] == prefer
        assert "preference-applied" not in (await r.graph.get(f"/users/{r.room}/events")).headers


async def test_login_answers_are_not_to_be_kept() -> None:
    async with rig() as r:
        for answer in (await r.ask_token(), await r.ask_token(client_secret="wrong")):
            assert answer.headers["cache-control"] == "no-store, no-cache"
            assert answer.headers["pragma"] == "no-cache"
            assert answer.headers["x-ms-request-id"]
            assert answer.headers["x-ms-ests-server"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_wrong_method_names_what_is_played(method: str) -> None:
    async with rig() as r:
        error = (await r.graph.request(method, f"/users/{r.room}/events")).json()["error"]
        assert error["code"] == "notImplementedByEmulator"
        assert "it plays GET, POST on this path" in error["message"]


async def test_unknown_path_is_named() -> None:
    async with rig() as r:
        answer = await r.graph.get("/me/messages")
        assert answer.status_code == 501
        assert "GET /me/messages" in answer.json()["error"]["message"]


async def fill(r: Rig) -> None:
    await r.told("PUT", "/control/moods", {"gzip_bytes_min": 1000})
    await r.graph.post(f"/users/{r.room}/events", json=wire_event(body={"contentType": "text", "content": "x" * 2000}))


async def raw(r: Rig, path: str, accepts: str) -> tuple[dict[str, str], bytes]:
    """Read an answer as it is on the wire."""
    async with r.graph.stream("GET", path, headers={"accept-encoding": accepts}) as answer:
        return dict(answer.headers), b"".join([part async for part in answer.aiter_raw()])


@pytest.mark.parametrize("accepts", ["gzip", "deflate, gzip;q=0.5", "*"])
async def test_large_answer_is_compressed_for_whom_accepts_it(accepts: str) -> None:
    async with rig() as r:
        await fill(r)
        headers, body = await raw(r, f"/users/{r.room}/events", accepts)
        assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
        assert int(headers["content-length"]) == len(body)
        plain_headers, plain = await raw(r, f"/users/{r.room}/events", "identity")
        assert gzip.decompress(body) == plain
        assert "content-encoding" not in plain_headers


@pytest.mark.parametrize("accepts", ["", "identity", "br", "gzip;q=0"])
async def test_nothing_is_compressed_for_others(accepts: str) -> None:
    async with rig() as r:
        await fill(r)
        headers, _ = await raw(r, f"/users/{r.room}/events", accepts)
        assert "content-encoding" not in headers


async def test_small_answer_is_not_compressed() -> None:
    async with rig() as r:
        await fill(r)
        headers, _ = await raw(r, f"/users/{r.ada}/events", "gzip")
        assert "content-encoding" not in headers
