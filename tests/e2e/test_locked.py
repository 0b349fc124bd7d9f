"""The service for several, locked: processes that reach each other over TLS with tokens, while both are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from exchange_client import ExchangeClient, Tls, TokenFile, Watch
from exchange_client.errors import AccessDenied, NotFound
from exchange_client.messages import Tenant, WatchTenantResponse

from sidecar.cli.processes import ProcessFailed
from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.callers import entry, make_token, write
from tests.support.processes import Service, run_cli, service_started

pytestmark = pytest.mark.e2e

OPERATOR, FORMER, LATTER = make_token(), make_token(), make_token()
DIRECTORY, APPLICATION = "8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80", "0d1f6a5b-3c2e-4f7a-8b9c-1a2b3c4d5e6f"


class Lock:
    """The files of a locked service, and what its callers hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.callers = folder / "callers.json"
        self.token, self.operator = folder / "token", folder / "operator"
        self.ca = folder / "ca.crt"
        self.operator.write_text(OPERATOR)
        self.token.write_text(FORMER)
        self.let_in(FORMER)
        self.issue()

    def let_in(self, *tokens: str) -> None:
        """Write the callers file: the operator, and one application with these tokens."""
        apps = [entry("app", token, scopes=["tenants.read"], tenants=["acme"]) for token in tokens]
        write(self.callers, [entry("ops", OPERATOR), *apps])

    def issue(self) -> None:
        """Give the service a certificate of a new authority."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        made = authority.issue_cert("127.0.0.1")
        made.private_key_pem.write_to_path(str(self.folder / "tls.key"))
        made.cert_chain_pems[0].write_to_path(str(self.folder / "tls.crt"))

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the service."""
        return {
            "PROFILE": "service",
            "GRPC__TLS_CERT_FILE": str(self.folder / "tls.crt"),
            "GRPC__TLS_KEY_FILE": str(self.folder / "tls.key"),
            "GRPC__CALLERS_FILE": str(self.callers),
        }

    def client(self, service: Service) -> ExchangeClient:
        """Return the application's client."""
        tls = Tls.from_files(ca=self.ca)
        return ExchangeClient.connect(service.target, tls=tls, token=TokenFile(self.token), timeout_s=20.0)


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """The files of a locked service."""
    return Lock(tmp_path)


@pytest.fixture
def locked(lock: Lock, tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Service]:
    """A locked service with two tenants; the operator's commands have made them."""
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **lock.settings) as service:
        for tenant_id in ("acme", "other"):
            registered = ops(lock, service, *REGISTER, tenant_id, stdin="a-secret\n")
            assert registered == 0
        yield service


REGISTER = ("tenant", "register", "--directory-id", DIRECTORY, "--application-id", APPLICATION, "--secret-file", "-")


def ops(lock: Lock, service: Service, *arguments: str, stdin: str = "") -> int:
    """Run an operator's command; return its exit code."""
    options = ("--ca", str(lock.ca), "--token-file", str(lock.operator))
    done = run_cli(*options, *arguments, stdin=stdin, env={"EXCHANGE_TARGET": service.target})
    print(done.stdout, done.stderr)
    return done.returncode


async def standing(watch: Watch[WatchTenantResponse]) -> Tenant.State.ValueType:
    """Return the tenant's state from the watch's next message that has one."""
    while True:
        message = await anext(watch)
        if isinstance(message, WatchTenantResponse) and message.HasField("tenant"):
            return message.tenant.state


async def test_watch_goes_on_while_token_and_certificate_are_replaced(lock: Lock, locked: Service) -> None:
    """The order of a rotation: let both in, hand the new one over, take the old one out. Nobody restarts anything."""
    async with lock.client(locked) as client:
        watch = client.watch_tenant("tenants/acme", heartbeat_s=5.0)
        await standing(watch)
        lock.let_in(FORMER, LATTER)
        await asyncio.to_thread(lock.token.write_text, LATTER)
        assert (await client.get_tenant("tenants/acme")).name == "tenants/acme"
        await asyncio.to_thread(lock.issue)
        lock.let_in(LATTER)
        assert await asyncio.to_thread(ops, lock, locked, "tenant", "suspend", "acme") == 0, "over the new certificate"
        async with asyncio.timeout(30.0):
            while await standing(watch) != Tenant.STATE_SUSPENDED:
                pass
        await watch.aclose()
        await asyncio.to_thread(lock.token.write_text, FORMER)
        with pytest.raises(AccessDenied):
            await client.get_tenant("tenants/acme")
    assert await locked.metric("rpc_rejected_total") >= 2  # the watch's former token, and the last call's
    log = await asyncio.to_thread(locked.log_file.read_text)
    assert not any(token in log for token in (OPERATOR, FORMER, LATTER))


async def test_application_sees_its_own_tenant_and_no_other(lock: Lock, locked: Service) -> None:
    async with lock.client(locked) as client:
        assert [tenant.name async for tenant in client.list_tenants()] == ["tenants/acme"]
        refusals = []
        for name in ("tenants/other", "tenants/ghost"):
            with pytest.raises(NotFound) as caught:
                await client.get_tenant(name)
            refusals.append(caught.value.args)
        assert refusals[0] == refusals[1]
        with pytest.raises(AccessDenied):
            await client.suspend_tenant("tenants/acme")


def test_service_for_several_without_a_lock_does_not_start(tmp_path: Path, emulator: RunningEmulator) -> None:
    service = Service(tmp_path, emulator, PROFILE="service")
    with pytest.raises(ProcessFailed) as caught:
        service.start()
    assert "lacks TLS (tls_cert_file, tls_key_file) and tokens (callers_file)" in caught.value.message
