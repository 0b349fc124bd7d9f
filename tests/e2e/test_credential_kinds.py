"""Every kind of credential at a real service, with MSAL between it and the emulator; and no secret in anything that is kept."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from exchange_client import ExchangeClient, ExchangeError, names, requests
from exchange_client.messages import Credential, CredentialInfo, RotateTenantCredentialResponse, Tenant

from sidecar.emulator.fixture import EmulatedTenant, RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.processes import Service, eventually, run_cli, service_started
from tests.support.scene import Scene, directory_made, prove_copy, scene_set, tomorrow
from tests.unit.api.credentials import make_certificate, make_key

pytestmark = pytest.mark.e2e

Outcome = RotateTenantCredentialResponse
PASSPHRASE = "CANARY-passphrase-5f2b9e"
SECRET = "CANARY-kinds~secret-5f2b9e"
WRONG = "CANARY-wrong~secret-5f2b9e"
ISSUER, SUBJECT = "https://kubernetes.example", "system:serviceaccount:rooms:sidecar"
AUDIENCE = "api://AzureADTokenExchange"


class TokenFile:
    """A token file as Kubernetes mounts it: links into a folder that is replaced whenever the token is."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "token"
        self._key: rsa.RSAPrivateKey = rsa.generate_private_key(65_537, 2048)
        self._number = 0
        self.written: list[str] = []

    @property
    def public_pem(self) -> str:
        """The issuer's public key."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def rotate(self, *, expires_at: datetime | None = None) -> None:
        """Put another token there."""
        now = datetime.now(UTC)
        self._number += 1
        claims = {
            "iss": ISSUER,
            "sub": SUBJECT,
            "aud": [AUDIENCE],
            "jti": str(self._number),
            "nbf": now - timedelta(days=2),
            "exp": expires_at or now + timedelta(hours=1),
        }
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "k1"})
        self.written.append(token)
        fresh = self.folder / f"..{self._number}"
        fresh.mkdir()
        (fresh / "token").write_text(f"{token}\n")
        (self.folder / "..new").symlink_to(fresh.name)
        os.replace(self.folder / "..new", self.folder / "..data")
        if not self.path.is_symlink():
            self.path.symlink_to("..data/token")


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    """A token file in the folder that the service allows."""
    return TokenFile(tmp_path_factory.mktemp("k") / "tokens")


@pytest.fixture(scope="module")
def logging_service(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, token_file: TokenFile
) -> Iterator[Service]:
    """A service that logs all it has to say."""
    settings = {
        **QUICK,
        "LOG__LEVEL": "debug",
        "CREDENTIALS__TOKEN_FILES_FOLDER": str(token_file.folder),
        "CREDENTIALS__PROVE_PATIENCE_S": "0.5",
        "CREDENTIALS__ROTATE_WAIT_S": "10",
    }
    with service_started(tmp_path_factory.mktemp("s"), emulator, **settings) as running:
        yield running


async def change_app(directory: EmulatedTenant, **body: Any) -> None:  # Any: JSON
    """Have the administrator change the app registration; it is known everywhere at once."""
    await directory.call("PATCH", "app", {"propagation_s": 0, **body})


def make_pfx(key: rsa.RSAPrivateKey, expires_at: datetime) -> bytes:
    """Export a certificate with its key, as Windows does."""
    certificate = make_certificate(key, expires_at=expires_at)
    return pkcs12.serialize_key_and_certificates(
        b"sidecar", key, certificate, None, BestAvailableEncryption(PASSPHRASE.encode())
    )


async def rotate(scene: Scene, credential: Credential) -> RotateTenantCredentialResponse:
    """Rotate the scene's tenant."""
    return await scene.client.rotate_tenant_credential(scene.tenant, credential)


async def trust(directory: EmulatedTenant, token_file: TokenFile) -> None:
    """Have the app registration trust the issuer of a token file."""
    registered = {"issuer": ISSUER, "subject": SUBJECT, "public_key_pem": token_file.public_pem}
    await change_app(directory, federated_credentials=[registered])


async def test_pfx_certificate_takes_the_place_of_a_secret(logging_service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(logging_service, emulator) as scene:
        key = make_key("2048")
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
        pem = make_certificate(key, expires_at=expires_at).public_bytes(Encoding.PEM).decode()
        await change_app(scene.directory, certificate_pem=pem)
        pfx = make_pfx(key, expires_at)
        with pytest.raises(ExchangeError) as wrong:
            await rotate(
                scene,
                requests.make_credential(
                    scene.directory.application_id, certificate_pfx=pfx, passphrase=f"{PASSPHRASE}!"
                ),
            )
        assert "passphrase is wrong" in wrong.value.violations[0].description
        credential = requests.make_credential(
            scene.directory.application_id, certificate_pfx=pfx, passphrase=PASSPHRASE
        )
        answer = await rotate(scene, credential)
        assert answer.outcome == Outcome.OUTCOME_DONE, answer
        current = answer.tenant.credentials[0]
        assert current.kind == CredentialInfo.KIND_CERTIFICATE
        assert current.expire_time.ToDatetime(UTC) == expires_at
        (problem,) = answer.tenant.problems
        assert (problem.reason, problem.metadata["step_days"]) == ("CREDENTIAL_EXPIRES_SOON", "30")
        await change_app(scene.directory, remove_client_secret=scene.directory.secret)
        await scene.directory.book(scene.mailbox(), tomorrow())
        async with scene.watching() as watcher:
            await scene.converged(watcher)


async def test_federated_token_is_read_again_for_every_login(
    logging_service: Service, emulator: RunningEmulator, token_file: TokenFile
) -> None:
    async with scene_set(logging_service, emulator) as scene:
        await trust(scene.directory, token_file)
        token_file.rotate()
        credential = requests.make_credential(scene.directory.application_id, token_file="token")
        answer = await rotate(scene, credential)
        assert answer.outcome == Outcome.OUTCOME_DONE, answer
        assert answer.tenant.credentials[0].kind == CredentialInfo.KIND_FEDERATED
        await change_app(scene.directory, remove_client_secret=scene.directory.secret)  # no way back to it
        token_file.rotate(expires_at=datetime.now(UTC) - timedelta(hours=1))
        verified = await scene.client.verify_tenant(scene.tenant)  # with a new login
        assert verified.tenant.problems[0].reason in {"CLOCK_SKEWED", "CREDENTIAL_REJECTED"}, verified
        token_file.rotate()
        await scene.client.verify_tenant(scene.tenant)
        await scene.state(Tenant.STATE_ACTIVE)


async def test_token_file_that_cannot_be_used_is_told_with_its_cause(
    logging_service: Service, emulator: RunningEmulator, token_file: TokenFile
) -> None:
    outside = token_file.folder.parent / "CANARY-outside"
    outside.write_text("a.b.c")
    with suppress(FileExistsError):
        (token_file.folder / "escape").symlink_to(outside)
    async with scene_set(logging_service, emulator) as scene:
        application_id = scene.directory.application_id
        for path in ("../CANARY-outside", str(outside), "/etc/passwd", "a/../../b", "", "a\nb"):
            with pytest.raises(ExchangeError) as refused:
                await rotate(scene, requests.make_credential(application_id, token_file=path))
            assert refused.value.violations[0].field == "credential.federated.token_file"
        for path, cause in (("escape", "leads out of the folder"), ("missing", "No such file")):
            answer = await rotate(scene, requests.make_credential(application_id, token_file=path))
            assert answer.outcome == Outcome.OUTCOME_REFUSED, answer
            assert answer.problem.metadata["cause"] == "TOKEN_FILE_UNUSABLE"
            assert cause in answer.problem.metadata["detail"]
            assert answer.tenant.state == Tenant.STATE_ACTIVE


async def test_refused_rotation_leaves_the_former_in_use_and_is_told(
    logging_service: Service, emulator: RunningEmulator
) -> None:
    service = logging_service
    async with scene_set(service, emulator) as scene, scene.watching() as watcher:
        application_id = scene.directory.application_id
        answer = await rotate(scene, requests.make_credential(application_id, client_secret=WRONG))
        assert answer.outcome == Outcome.OUTCOME_REFUSED, answer
        assert answer.problem.metadata["aadsts"] == "AADSTS7000215"
        tenant = await scene.client.get_tenant(scene.tenant)
        assert [problem.reason for problem in tenant.problems] == ["CREDENTIAL_NEXT_REFUSED"]
        await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        target = ("--target", service.target)
        said = await asyncio.to_thread(
            run_cli, "tenant", "rotate", scene.tenant_id, "--secret-file", "-", *target, stdin=WRONG
        )
        assert said.returncode == 1
        assert "refused: the former credential stays in use" in said.stdout
        withdrawn = await rotate(scene, requests.make_credential(application_id, client_secret=scene.directory.secret))
        assert (withdrawn.outcome, list(withdrawn.tenant.problems)) == (Outcome.OUTCOME_DONE, [])
        await prove_copy(scene)


async def test_proven_credential_that_is_refused_later_gives_way_to_the_former(
    logging_service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(logging_service, emulator) as scene, scene.watching() as watcher:
        await change_app(scene.directory, client_secret=SECRET)
        credential = requests.make_credential(scene.directory.application_id, client_secret=SECRET)
        before = (await scene.client.get_tenant(scene.tenant)).credentials[0].fingerprint
        assert (await rotate(scene, credential)).outcome == Outcome.OUTCOME_DONE
        await change_app(scene.directory, remove_client_secret=SECRET)
        await scene.client.verify_tenant(scene.tenant)

        async def is_back() -> bool:
            current = (await scene.client.get_tenant(scene.tenant)).credentials[0]
            return current.fingerprint == before

        await eventually(is_back, "the former credential is in use", service=logging_service)
        await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        await change_app(scene.directory, client_secret=SECRET)

        async def is_promoted() -> bool:
            current = (await scene.client.get_tenant(scene.tenant)).credentials[0]
            return current.fingerprint != before

        await eventually(is_promoted, "the new one is accepted, and in use again", service=logging_service)


async def test_service_killed_during_a_rotation_goes_on_with_it(tmp_path: Path, emulator: RunningEmulator) -> None:
    (tmp_path / "s").mkdir()
    with service_started(tmp_path / "s", emulator, **QUICK) as service:
        async with scene_set(service, emulator) as scene, scene.watching() as watcher:
            credential = requests.make_credential(scene.directory.application_id, client_secret=SECRET)
            rotating = asyncio.ensure_future(rotate(scene, credential))

            async def is_next() -> bool:
                known = (await scene.client.get_tenant(scene.tenant)).credentials
                return any(one.role == CredentialInfo.ROLE_NEXT for one in known)

            await eventually(is_next, "the new credential is kept", service=service)
            await asyncio.to_thread(service.kill)
            with pytest.raises(ExchangeError):
                await rotating
            await change_app(scene.directory, client_secret=SECRET)
            await scene.directory.book(scene.mailbox(), tomorrow())
            await asyncio.to_thread(service.start)

            async def is_done() -> bool:
                known = (await scene.client.get_tenant(scene.tenant, timeout_s=10.0)).credentials
                return [one.role for one in known] == [CredentialInfo.ROLE_CURRENT, CredentialInfo.ROLE_PREVIOUS]

            await eventually(is_done, "the new credential is in use", service=service)
            repeated = await rotate(scene, credential)
            assert repeated.outcome == Outcome.OUTCOME_DONE
            await scene.converged(watcher)
            await prove_copy(scene)


def kept_texts(service: Service) -> bytes:
    """Return all that a service has written: its files, and what its process shows to others."""
    files = [file.read_bytes() for file in sorted(service.folder.rglob("*")) if file.is_file()]
    shown = Path(f"/proc/{service.process.pid}/cmdline").read_bytes()
    return b"\n".join([*files, shown])


async def test_no_secret_is_in_logs_files_metrics_answers_or_arguments(
    logging_service: Service, emulator: RunningEmulator, token_file: TokenFile
) -> None:
    """After everything above, failures included; runs last in this file, and makes its own of each kind, too."""
    service = logging_service
    key = make_key("2048")
    expires_at = datetime.now(UTC) + timedelta(days=20)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pfx = make_pfx(key, expires_at)
    async with directory_made(emulator, rooms=1) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        pem = make_certificate(key, expires_at=expires_at).public_bytes(Encoding.PEM)
        await trust(directory, token_file)
        token_file.rotate()
        application_id = directory.application_id
        await scene.register(secret=WRONG)
        await scene.state(Tenant.STATE_CREDENTIAL_REJECTED)
        await scene.map_all()
        await change_app(directory, client_secret=SECRET, certificate_pem=pem.decode())
        answers = [
            await rotate(scene, credential)
            for credential in (
                requests.make_credential(application_id, client_secret=SECRET),
                requests.make_credential(application_id, certificate_pem=pem + private.encode()),
                requests.make_credential(application_id, certificate_pfx=pfx, passphrase=PASSPHRASE),
                requests.make_credential(application_id, token_file="token"),
                requests.make_credential(application_id, client_secret=WRONG),
            )
        ]
        assert [answer.outcome for answer in answers][-2:] == [Outcome.OUTCOME_DONE, Outcome.OUTCOME_REFUSED]
        with suppress(ExchangeError):
            await rotate(scene, requests.make_credential(application_id, client_secret=f" {SECRET}"))
        with suppress(ExchangeError):
            await rotate(scene, requests.make_credential(application_id, certificate_pem=b"x" + private.encode()))
        await scene.settled_rooms()
        ring = json.loads((service.folder / "keyring.json").read_text())
        shown = [str(answer) for answer in answers]
        for command in ("tenant get", "tenant credentials", "tenant list", "config show", "vault status"):
            more = [scene.tenant_id] if command in ("tenant get", "tenant credentials") else []
            target = ["--target", service.target] if command.startswith("tenant") else []
            ran = await asyncio.to_thread(run_cli, *command.split(), *more, *target, env=service.env)
            assert ran.returncode == 0, ran.stderr
            shown += [ran.stdout, ran.stderr]
        async with httpx.AsyncClient(trust_env=False) as http:
            shown.append((await http.get(f"{service.probes}/metrics")).text)
    for file in service.folder.glob("keyring*"):
        kept = file.read_bytes()
        file.unlink()
        try:
            everything = kept_texts(service) + "\n".join(shown).encode()
        finally:
            file.write_bytes(kept)
    secrets = {
        "secret": SECRET,
        "refused secret": WRONG,
        "passphrase": PASSPHRASE,
        "private key": private.splitlines()[3],
        "the directory's secret": directory.secret,
        "key ring": ring["keys"]["k1"],
        **{f"assertion {at}": token[-60:] for at, token in enumerate(token_file.written)},
    }
    assert [name for name, secret in secrets.items() if secret.encode() in everything] == []
    # MSAL's tokens begin like every JWT; nothing of that form is anywhere, so neither is a token nor an assertion.
    assert b"eyJ0eXAi" not in everything
    assert b"eyJhbGci" not in everything
    assert names.tenant(scene.tenant_id).encode() in everything, "the search finds what is there"
