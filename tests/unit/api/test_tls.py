"""Real TLS: what is let in, and certificates that are replaced while the server runs."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from exchange_client import ExchangeClient, Tls
from exchange_client.errors import AccessDenied

from sidecar.errors import SettingsInvalid
from tests.support.callers import entry, make_token, write
from tests.unit.api.rig import Rig, raw, serving

NAME = "tenants/acme"
TOKEN = make_token()


class Files:
    """The server's certificate in its files, from an authority that can be another one later."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self.issue()

    def issue(self) -> None:
        """Put another certificate into the files."""
        made = self.authority.issue_cert("127.0.0.1")
        self.key.write_bytes(made.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))

    @property
    def ca_pem(self) -> bytes:
        """What callers trust."""
        return self.authority.cert_pem.bytes()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A server's certificate."""
    return Files(tmp_path)


@asynccontextmanager
async def secured(tmp_path: Path, files: Files, *entries: object, ca: trustme.CA | None = None) -> AsyncIterator[Rig]:
    """Serve over TLS, with one tenant."""
    known = write(tmp_path / "callers.json", [entry("ops", TOKEN), *entries])  # type: ignore[list-item]  # as entry gives
    ca_file = None
    if ca is not None:
        ca_file = tmp_path / "ca.crt"
        ca.cert_pem.write_to_path(str(ca_file))
    async with serving(
        tmp_path,
        callers_file=known,
        tls_cert_file=files.cert,
        tls_key_file=files.key,
        client_ca_file=ca_file,
        addresses=("127.0.0.1:0",),
    ) as rig:
        await rig.db.add_tenant()
        yield rig


async def ask(rig: Rig, tls: Tls | None, token: str | None = TOKEN) -> str:
    """Get the tenant over a connection of its own."""
    async with ExchangeClient.connect(rig.addresses[1], tls=tls, token=token, timeout_s=5.0) as client:
        return (await client.get_tenant(NAME)).name


async def refused(rig: Rig, tls: Tls | None) -> None:
    """Get no connection. TLS 1.3 refuses a caller's certificate after the handshake, so a call has to be tried."""
    address = rig.addresses[1]
    channel = grpc.aio.insecure_channel(address) if tls is None else grpc.aio.secure_channel(address, tls.credentials())
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(channel, "/ioffice.exchange.v1.TenantService/GetTenant")(b"", wait_for_ready=False)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_call_over_tls_with_a_token_is_let_in(tmp_path: Path, files: Files) -> None:
    async with secured(tmp_path, files) as rig:
        assert await ask(rig, Tls(ca_pem=files.ca_pem)) == NAME


async def test_tls_without_a_token_is_refused(tmp_path: Path, files: Files) -> None:
    async with secured(tmp_path, files) as rig:
        with pytest.raises(AccessDenied):
            await ask(rig, Tls(ca_pem=files.ca_pem), token=None)


async def test_plaintext_is_refused_where_tls_is_served(tmp_path: Path, files: Files) -> None:
    async with secured(tmp_path, files) as rig:
        await refused(rig, None)


async def test_server_of_another_authority_is_not_believed(tmp_path: Path, files: Files) -> None:
    async with secured(tmp_path, files) as rig:
        await refused(rig, Tls(ca_pem=trustme.CA().cert_pem.bytes()))


async def test_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path, files: Files
) -> None:
    async with secured(tmp_path, files) as rig:
        former = Tls(ca_pem=files.ca_pem)
        async with ExchangeClient.connect(rig.addresses[1], tls=former, token=TOKEN) as old:
            assert (await old.get_tenant(NAME)).name == NAME
            files.authority = trustme.CA()
            files.issue()
            assert await ask(rig, Tls(ca_pem=files.ca_pem)) == NAME
            await refused(rig, former)
            assert (await old.get_tenant(NAME)).name == NAME
        assert rig.server.unusable_files_count == 0


async def test_certificate_that_does_not_fit_its_key_leaves_the_last_good_pair_in_use(
    tmp_path: Path, files: Files
) -> None:
    async with secured(tmp_path, files) as rig:
        good = files.cert.read_bytes()
        files.cert.write_bytes(
            b"".join(part.bytes() for part in files.authority.issue_cert("127.0.0.1").cert_chain_pems)
        )
        assert await ask(rig, Tls(ca_pem=files.ca_pem)) == NAME
        assert rig.server.unusable_files_count == 1
        files.cert.write_bytes(good)
        assert rig.server.unusable_files_count == 0


async def test_caller_with_a_certificate_is_known_by_its_name(tmp_path: Path, files: Files) -> None:
    callers = trustme.CA()
    mine = callers.issue_cert("app.example")
    tls = Tls(ca_pem=files.ca_pem, cert_pem=mine.cert_chain_pems[0].bytes(), key_pem=mine.private_key_pem.bytes())
    known = entry("app", None, certificate="app.example", scopes=["tenants.read", "tenants.admin", "audit.read"])
    async with secured(tmp_path, files, known, ca=callers) as rig:
        assert await ask(rig, tls, token=None) == NAME
        async with ExchangeClient.connect(rig.addresses[1], tls=tls) as client:
            await client.suspend_tenant(NAME)
            (told,) = [item async for item in client.list_audit_entries(NAME)]
        assert told.caller.identity == "certificate:app.example"


async def test_caller_without_a_certificate_of_the_right_authority_gets_no_connection(
    tmp_path: Path, files: Files
) -> None:
    stranger = trustme.CA().issue_cert("app.example")
    wrong = Tls(
        ca_pem=files.ca_pem, cert_pem=stranger.cert_chain_pems[0].bytes(), key_pem=stranger.private_key_pem.bytes()
    )
    async with secured(tmp_path, files, ca=trustme.CA()) as rig:
        for tls in (Tls(ca_pem=files.ca_pem), wrong):
            await refused(rig, tls)


@pytest.mark.parametrize(("version", "is_served"), [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)])
async def test_tls_older_than_1_2_is_refused(
    tmp_path: Path, files: Files, version: ssl.TLSVersion, is_served: bool
) -> None:
    context = ssl.create_default_context(cadata=files.ca_pem.decode())
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old version, which is what this is about
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL itself would refuse to offer it
    async with secured(tmp_path, files) as rig:
        host, _, port = rig.addresses[1].rpartition(":")
        if is_served:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
                await asyncio.open_connection(host, int(port), ssl=context)
            assert "NO_PROTOCOLS_AVAILABLE" not in str(caught.value)


@pytest.mark.parametrize("name", ["cert", "key"])
async def test_file_that_is_no_pem_stops_the_start(tmp_path: Path, files: Files, name: str) -> None:
    getattr(files, name).write_text("nothing")
    with pytest.raises(SettingsInvalid) as caught:
        async with secured(tmp_path, files):
            raise AssertionError("it started")
    assert f"grpc.tls_{name}_file" in caught.value.details
