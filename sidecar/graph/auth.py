"""Tokens for tenants.

MSAL knows the protocol but blocks, does not merge concurrent requests, and lets a failing login service hide a token that
is still good. This module puts it in threads, lets one request per tenant through, and remembers the token itself. No
token, secret or assertion appears in a log line, an error or a `repr`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import httpx
import msal
import structlog
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

from sidecar.aio.clock import Clock
from sidecar.errors import CredentialRejected, DirectoryNotFound, GraphUnavailable, SidecarError, Unavailable
from sidecar.graph.clouds import TenantRef, endpoints_of
from sidecar.graph.logins import LoginHttp, build_login_http, login_error
from sidecar.graph.token_files import read_token_file
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Credential, CredentialKind
from sidecar.settings import GraphSettings
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_THREADS_MAX = 4
_TENANTS_MAX = 5_000
"""Applications kept; beyond that the one not used for longest is built again when it is needed."""
_CREDENTIALS_MAX = 4
"""Accounts of one tenant: that of its current, its next and its former credential, and one that is going."""
_KEYS_MAX = 256
_FRESH_S = 300.0
"""A token with less than this left is renewed; MSAL draws the same line."""
_LASTS_S_MAX = 172_800.0
"""Microsoft's longest tokens are good for 28 hours; an answer that says "for ever" must not be believed for so long."""
_LAST_S = 30.0
"""A token with less than this left is not used, whatever happens."""
_RETRY_S = 30.0
"""After a failed renewal a token that is still good is used this long before the next try."""
_DIRECTORY = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]{0,253})")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class CredentialSource(Protocol):
    """Opens sealed credentials."""

    async def load_credential(self, tenant_uid: TenantUid, identity: str) -> Credential:
        """Return the tenant's credential of an identity in the open; the current one when that is gone, or none is named."""


class _Account:
    """What is kept for a credential of a tenant. Instances compare by identity; there is nothing in here to print."""

    __slots__ = ("app", "http", "lock", "refresh_at_s", "token", "until_s")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.app: Any = None  # MSAL publishes no types
        self.http: LoginHttp | None = None
        self.token = ""
        self.refresh_at_s = 0.0
        self.until_s = 0.0


class TokenSource:
    """Tokens for Graph, one at a time for each credential, remembered while they are good.

    What is kept goes by the credential, not by the tenant alone: a rotation in another process is obeyed from the first call
    that is made for the tenant as it is now, without anybody being told.
    """

    def __init__(
        self,
        *,
        credentials: CredentialSource,
        settings: GraphSettings,
        clock: Clock,
        telemetry: Telemetry,
        http: httpx.Client | None = None,
        token_files_folder: Path | None = None,
    ) -> None:
        self._credentials = credentials
        self._settings = settings
        self._token_files_folder = token_files_folder
        self._clock = clock
        self._telemetry = telemetry
        self._http = http if http is not None else build_login_http(settings)
        self._executor = ThreadPoolExecutor(max_workers=_THREADS_MAX, thread_name_prefix="login")
        self._accounts: OrderedDict[TenantUid, OrderedDict[str, _Account]] = OrderedDict()
        self._keys: OrderedDict[bytes, object] = OrderedDict()

    async def fetch_token(self, tenant: TenantRef, *, claims: str | None = None) -> str:
        """Return a token that is good for half a minute at least.

        Args:
            claims: what Graph demanded of the next token, in a 401; it is then always a new one.
        Raises:
            CredentialRejected, ConsentMissing, DirectoryNotFound, TokenFileUnusable: a person must act.
            Throttled, GraphUnavailable: the login service cannot give one now, and none is remembered.
        """
        account = self._account(tenant)
        if claims is None and self._clock.monotonic() < account.refresh_at_s:
            return account.token
        async with account.lock:
            # Somebody else may have fetched one while this task stood in line.
            if claims is None and self._clock.monotonic() < account.refresh_at_s:
                return account.token
            try:
                await self._renew(account, tenant, claims)
                self._telemetry.count("token_requests", 1, "granted")
            except Unavailable as error:
                if claims is not None or self._clock.monotonic() >= account.until_s:
                    self._telemetry.count("token_requests", 1, "unavailable")
                    raise
                self._telemetry.count("token_requests", 1, "kept")
                account.refresh_at_s = min(self._clock.monotonic() + _RETRY_S, account.until_s)
                log.warning("token.kept", tenant_uid=tenant.tenant_uid, reason=error.reason, **error.details)
            except SidecarError:
                self._telemetry.count("token_requests", 1, "refused")
                raise
            return account.token

    def forget(self, tenant_uid: TenantUid, *, token: str | None = None, credential: str | None = None) -> None:
        """Drop what is kept for a tenant, MSAL's memory of tokens and refusals included.

        Args:
            token: drop only what has this token, so that many calls refused together cost one new token.
            credential: drop only what is kept for the credential of this identity.
        """
        accounts = self._accounts.get(tenant_uid)
        if accounts is None:
            return
        for identity, account in list(accounts.items()):
            if token in (None, account.token) and credential in (None, identity):
                del accounts[identity]

    def close(self) -> None:
        """Let go of threads and connections."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def _account(self, tenant: TenantRef) -> _Account:
        accounts = self._accounts.setdefault(tenant.tenant_uid, OrderedDict())
        self._accounts.move_to_end(tenant.tenant_uid)
        if len(self._accounts) > _TENANTS_MAX:
            self._accounts.popitem(last=False)
        account = accounts.get(tenant.credential)
        if account is None:
            account = accounts[tenant.credential] = _Account()
        accounts.move_to_end(tenant.credential)
        if len(accounts) > _CREDENTIALS_MAX:
            accounts.popitem(last=False)
        return account

    async def _renew(self, account: _Account, tenant: TenantRef, claims: str | None) -> None:
        if account.app is None:
            credential = await self._credentials.load_credential(tenant.tenant_uid, tenant.credential)
            account.http = LoginHttp(self._http)
            account.app = await self._in_thread(account.http, lambda: self._build_app(account, tenant, credential))
        http = account.http
        assert http is not None, "an application has its client"
        scope = endpoints_of(tenant.cloud, self._settings).scope
        asked_at_s = self._clock.monotonic()
        answer = await self._in_thread(
            http, lambda: account.app.acquire_token_for_client([scope], claims_challenge=claims)
        )
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            if http.last_status is not None and http.last_status < 400 and "error" not in answer:
                raise GraphUnavailable("the login service answered without a token")
            raise login_error(answer, status=_failed(http), retry_after_s=http.last_retry_after_s)
        lasts_s = _seconds(answer.get("expires_in"))
        account.token = token
        account.until_s = asked_at_s + lasts_s - _LAST_S
        fresh_s = min(lasts_s - _FRESH_S, _seconds(answer.get("refresh_in")) or lasts_s)
        account.refresh_at_s = asked_at_s + max(fresh_s, 0.0)

    async def _in_thread(self, http: LoginHttp, action: Callable[[], Any]) -> Any:  # MSAL publishes no types
        """Run something of MSAL's, and name what it raises. The errors raised here drop their causes' texts."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, action)
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # its discovery document names where to go on
            raise GraphUnavailable(
                "the login service cannot be reached", details={"subject": "login", "cause": type(error).__name__}
            ) from error
        except msal.exceptions.MsalError as error:
            raise GraphUnavailable(
                "the login service failed to answer",
                retry_after_s=http.last_retry_after_s,
                details={"subject": "login", "status": str(http.last_status or "")},
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
            # MSAL raises ValueError for an unknown directory, and trips over documents that lack what it looks for, or hold
            # something else there.
            raise _construction_error(http) from error

    def _build_app(self, account: _Account, tenant: TenantRef, credential: Credential) -> Any:  # see _in_thread
        if not _DIRECTORY.fullmatch(tenant.directory_id):
            raise DirectoryNotFound("a directory id is a GUID or a domain")
        return msal.ConfidentialClientApplication(
            credential.application_id,
            client_credential=self._proof(credential),
            authority=f"{endpoints_of(tenant.cloud, self._settings).login_url}/{tenant.directory_id}",
            # Otherwise MSAL asks login.microsoftonline.com about hosts it does not know, and about every error.
            instance_discovery=False,
            http_client=account.http,
        )

    def _proof(self, credential: Credential) -> str | dict[str, object]:
        if credential.kind is CredentialKind.CLIENT_SECRET:
            return _decode(credential.proof)
        if credential.kind is CredentialKind.FEDERATED:
            folder, path = self._token_files_folder, _decode(credential.proof)
            # A function: MSAL calls it for each request, so that a file that rotates is never used when it is old.
            return {"client_assertion": lambda: read_token_file(folder, path)}
        certificates = _CERTIFICATE.findall(credential.proof)
        private_key = _PRIVATE_KEY.search(credential.proof)
        if not certificates or private_key is None:
            raise CredentialRejected("the certificate credential lacks its certificate or its private key")
        try:
            load_pem_x509_certificate(certificates[0])
        except (ValueError, InvalidVersion) as error:
            raise CredentialRejected("the certificate cannot be read") from error
        chain = _decode(b"\n".join(certificates))
        # With the certificate, and no thumbprint, MSAL signs with PS256 and names the key by x5t#S256.
        return {"private_key": self._load_key(private_key[0]), "public_certificate": chain}

    def _load_key(self, pem: bytes) -> object:
        """Load a key once: it holds the interpreter for tens of milliseconds, and MSAL would do it for every assertion."""
        fingerprint = hashlib.sha256(pem).digest()
        key = self._keys.get(fingerprint)
        if key is None:
            try:
                key = self._keys[fingerprint] = load_pem_private_key(pem, password=None)
            except (ValueError, TypeError) as error:
                raise CredentialRejected("the private key cannot be read, or asks for a passphrase") from error
            if len(self._keys) > _KEYS_MAX:
                self._keys.popitem(last=False)
        return key


def _construction_error(http: LoginHttp) -> SidecarError:
    status = http.last_status
    if status is None:
        return CredentialRejected("the credential cannot be used", details={"subject": "login"})
    details = {"subject": "login", "status": str(status)}
    if status in {400, 404}:
        return DirectoryNotFound("the directory does not exist in this cloud", details=details)
    if status == 429:
        return login_error({}, status=status, retry_after_s=http.last_retry_after_s)
    return GraphUnavailable("the login service's answer cannot be read", details=details)


def _failed(http: LoginHttp) -> int | None:
    return http.last_status if http.last_status is not None and http.last_status >= 400 else None


def _seconds(value: object) -> float:
    try:
        return min(max(0.0, float(value)), _LASTS_S_MAX) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return 0.0


def _decode(proof: bytes) -> str:
    try:
        return proof.decode()
    except UnicodeDecodeError:
        # The cause would show the bytes.
        raise CredentialRejected("the credential is not text") from None
