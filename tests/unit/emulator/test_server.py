"""The emulator as a process: real ports, real TLS, Microsoft's own client library.

These few tests use sockets, because what they prove is that the process works; all rules are tested without.
"""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msal
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from sidecar.emulator.__main__ import run

SCOPES = ["https://graph.microsoft.com/.default"]


@pytest_asyncio.fixture
async def started(tmp_path: Path) -> AsyncIterator[tuple[dict[str, Any], asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar.emulator", "--calm", "--seed", "3", "--ca-dir", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        yield json.loads(line), process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")


async def test_msal_and_graph_work_unchanged_over_tls(
    started: tuple[dict[str, Any], asyncio.subprocess.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, _ = started
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # they would overrule `verify`
    assert ready["event"] == "emulator.ready"
    assert (ready["seed"], ready["calm"], ready["login_url"]) == (3, True, ready["graph_url"])
    async with httpx.AsyncClient(base_url=ready["control_url"]) as control:
        tenant = (await control.post("/control/tenants", json={})).json()
        path = f"/control/tenants/{tenant['tenant_id']}"
        room = (await control.post(f"{path}/rooms", json={"count": 1})).json()["rooms"][0]["address"]
        token = await asyncio.to_thread(_acquire, tenant, ready["ca_file"])
        trusted = ssl.create_default_context(cafile=ready["ca_file"])
        url, headers = f"{ready['graph_url']}/v1.0/users/{room}/events", {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(verify=trusted, headers=headers) as graph:
            assert (await graph.get(url)).json()["value"] == []
            for effect in ({"drop": True}, {"half_body": True}):
                await control.post("/control/faults", json={"effect": effect})
                with pytest.raises(httpx.RemoteProtocolError):
                    await graph.get(url)
            assert (await graph.get(url)).status_code == 200


def _acquire(tenant: dict[str, str], ca_file: str) -> str:
    app = msal.ConfidentialClientApplication(
        tenant["client_id"],
        client_credential=tenant["client_secret"],
        authority=tenant["authority"],
        instance_discovery=False,
        verify=ca_file,
    )
    answer = app.acquire_token_for_client(scopes=SCOPES)
    assert "access_token" in answer, answer
    wrong = msal.ConfidentialClientApplication(
        tenant["client_id"],
        client_credential="wrong",
        authority=tenant["authority"],
        instance_discovery=False,
        verify=ca_file,
    )
    assert wrong.acquire_token_for_client(scopes=SCOPES)["error_codes"] == [7000215]
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        msal.ConfidentialClientApplication(
            tenant["client_id"],
            client_credential="x",
            authority=tenant["authority"].replace(tenant["tenant_id"], "nosuch.example"),
            instance_discovery=False,
            verify=ca_file,
        )
    return str(answer["access_token"])


@pytest.mark.parametrize("names_thumbprint", [True, False])
async def test_msal_signs_in_with_a_certificate(
    started: tuple[dict[str, Any], asyncio.subprocess.Process],
    monkeypatch: pytest.MonkeyPatch,
    names_thumbprint: bool,
) -> None:
    ready, _ = started
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    build = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    build = build.serial_number(1).not_valid_before(datetime(2026, 1, 1)).not_valid_after(datetime(2036, 1, 1))
    certificate = build.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    kind, unlocked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    credential = {"private_key": key.private_bytes(serialization.Encoding.PEM, kind, unlocked).decode()}
    if names_thumbprint:  # RS256 and x5t, the older form
        credential["thumbprint"] = certificate.fingerprint(hashes.SHA1()).hex()
    else:  # PS256 and x5t#S256
        credential["public_certificate"] = pem
    async with httpx.AsyncClient(base_url=ready["control_url"]) as control:
        tenant = (await control.post("/control/tenants", json={})).json()
        path = f"/control/tenants/{tenant['tenant_id']}/app"
        assert (await control.patch(path, json={"certificate_pem": pem})).status_code == 200

    def acquire() -> dict[str, Any]:
        app = msal.ConfidentialClientApplication(
            tenant["client_id"],
            client_credential=credential,
            authority=tenant["authority"],
            instance_discovery=False,
            verify=ready["ca_file"],
        )
        answer: dict[str, Any] = app.acquire_token_for_client(scopes=SCOPES)
        return answer

    assert "access_token" in await asyncio.to_thread(acquire)


async def test_interrupt_ends_the_process_cleanly(
    started: tuple[dict[str, Any], asyncio.subprocess.Process],
) -> None:
    _, process = started
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        assert await process.wait() == 0


async def test_help_tells_the_options() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar.emulator", "--help", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"--calm" in out


@pytest.mark.parametrize("option", ["--port", "--control-port"])
def test_port_in_use_is_told_in_a_sentence(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1 port {port}: .*in use"):
            run([option, port, "--ca-dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "cannot listen"),
        (["--host", "nosuch.invalid"], "cannot listen"),
        (["--ca-dir", "/dev/null/x"], "cannot make certificates in /dev/null/x"),
        (["--webhook-ca-file", "/dev/null/x"], "cannot read the authority in /dev/null/x"),
        (["--webhook-ca-file", "/dev/null"], "cannot read the authority in /dev/null"),
    ],
)
def test_start_that_cannot_be_is_told_in_a_sentence(options: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=words):
        run(["--ca-dir", str(tmp_path), *options])


async def test_offer_of_another_protocol_is_ignored(started: tuple[dict[str, Any], asyncio.subprocess.Process]) -> None:
    ready, _ = started
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    async with httpx.AsyncClient(base_url=ready["control_url"]) as control:
        assert (await control.get("/control/health", headers=headers)).status_code == 200
