"""Access tokens: minting them for the login server, and reading them for Graph.

Source: Entra "Access token claims reference" page (v1.0 tokens for Graph) and "Continuous access evaluation for workload
identities" page (long-lived tokens, claims challenge).
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from sidecar.emulator.entra.assertions import UNTIMED
from sidecar.emulator.entra.clouds import audience_of
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import Caller
from sidecar.emulator.exchange.app import App
from sidecar.emulator.exchange.directory import Directory, Tenant
from sidecar.emulator.exchange.world import World

GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
_KEY_BITS = 2048
_CAE_LIFETIME_S = (24 * 3600, 28 * 3600)
_SKEW_S = 300  # how far two clocks may differ
_KNOWN_TOKENS_MAX = 10_000
_CHALLENGE = 'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
_GENERATION = "E2"  # what the opaque claim `aio` starts with; its rest counts the app's revocations


class Tokens:
    """The signing key, and every token it has been asked about."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._known: dict[tuple[str, str], Caller] = {}
        self._own_key: rsa.RSAPrivateKey | None = None
        self._key_id = ""

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        return self._own_key or _signing_key()

    @property
    def key_id(self) -> str:
        """Give the `kid` of the signing key."""
        if not self._key_id:
            self._key_id = base64.urlsafe_b64encode(self._world.rng.randbytes(20)).decode().rstrip("=")
        return self._key_id

    @property
    def key_state(self) -> dict[str, str]:
        """Give the signing key for a dump of the state: its PEM, and its `kid`, empty while nobody has asked for it."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {"pem": pem.decode(), "kid": self._key_id}

    @key_state.setter
    def key_state(self, state: dict[str, str]) -> None:
        key = load_pem_private_key(state["pem"].encode(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the signing key is no RSA key")
        self._own_key, self._key_id = key, state["kid"]
        self._known.clear()

    def key_set(self) -> dict[str, Any]:  # Any: JSON for the wire
        """Give the public key as a JSON Web Key Set."""
        key: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)  # Any: JSON
        key.pop("key_ops", None)
        return {"keys": [{**key, "use": "sig", "kid": self.key_id, "x5t": self.key_id, "alg": "RS256"}]}

    def mint(
        self, tenant: Tenant, app: App, *, by_assertion: bool, audience: str, capable: bool = False
    ) -> tuple[str, int]:
        """Sign a token for an app; the roles are those granted at this moment.

        Args:
            capable: the client can handle claims challenges; with an app under continuous access evaluation the token then
                lives for a day.
        Returns:
            The token and its lifetime in seconds.
        """
        now_s = int(self._world.now().timestamp())
        lifetime_s = self._lifetime_s(tenant, evaluated=capable and app.cae)
        claims: dict[str, Any] = {  # Any: claim values of several types
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant.tenant_id}/",
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + lifetime_s,
            "app_displayname": app.display_name,
            "appid": app.client_id,
            "aio": f"{_GENERATION}{app.revocations_count:06d}",
            "appidacr": "2" if by_assertion else "1",
            "idp": f"https://sts.windows.net/{tenant.tenant_id}/",
            "idtyp": "app",
            "oid": app.principal_id,
            "sub": app.principal_id,
            "tenant_region_scope": "EU",
            "tid": tenant.tenant_id,
            "uti": self._world.ids.guid().replace("-", "")[:22],
            "ver": "1.0",
            "wids": ["0997a1d0-0d1d-4acb-b408-d5ca73121e90"],
            "xms_tcdt": 1600000000,
        }
        if app.roles:
            claims["roles"] = sorted(app.roles)
        if capable and app.cae:
            claims["xms_cc"] = ["CP1"]
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self.key_id, "x5t": self.key_id})
        return token, lifetime_s

    def read(self, header: str, directory: Directory, *, cloud: str) -> Caller:
        """Find who an Authorization header speaks for at the Graph of a cloud.

        Raises:
            GraphError: 401 with Graph's text for what is wrong with the token.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("Access token is empty.")
        caller = self._known.get((cloud, token))
        if caller is None or directory.tenants.get(caller.tenant.tenant_id) is not caller.tenant:
            caller = self._decode(token, directory, cloud)
            if len(self._known) >= _KNOWN_TOKENS_MAX:
                self._known.clear()
            self._known[cloud, token] = caller
        self._check_still_good(caller)
        return caller

    def _check_still_good(self, caller: Caller) -> None:
        now, app = self._world.now(), caller.app
        if caller.expires_at <= now:
            raise _refused("Lifetime validation failed, the token is expired.")
        if caller.starts_at > now + timedelta(seconds=_SKEW_S):
            raise _refused("Lifetime validation failed, the token is not yet valid.")
        if caller.tenant.apps.get(app.client_id) is not app:
            raise _refused("The identity of the calling application could not be established.")
        if caller.generation < app.revocations_count or (app.cae and app.disabled):
            raise _challenged(now) if app.cae else _refused("Access token has been revoked.")
        app.settle(now)

    def _lifetime_s(self, tenant: Tenant, *, evaluated: bool) -> int:
        if evaluated:
            return self._world.rng.randint(*_CAE_LIFETIME_S)
        moods = self._world.moods_of(tenant)
        return int(self._world.between(moods.token_lifetime_min_s, moods.token_lifetime_max_s))

    def _decode(self, token: str, directory: Directory, cloud: str) -> Caller:
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], options=UNTIMED)
        except jwt.InvalidSignatureError:
            raise _refused("Access token validation failure. Invalid signature.") from None
        except jwt.PyJWTError:
            raise _refused("CompactToken parsing failed with error code: 80049217") from None
        audience = audience_of(cloud)
        if claims.get("aud") not in (audience, f"{audience}/", GRAPH_APP_ID):
            raise _refused("Access token validation failure. Invalid audience.")
        tenant = directory.find(str(claims.get("tid")))
        app = tenant.apps.get(str(claims.get("appid"))) if tenant else None
        if tenant is None or app is None:
            raise _refused("The identity of the calling application could not be established.")
        return Caller(
            tenant=tenant,
            app=app,
            roles=frozenset(claims.get("roles", ())),
            expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC),
            starts_at=datetime.fromtimestamp(claims["nbf"], tz=UTC),
            generation=int(claims["aio"].removeprefix(_GENERATION)),
        )


@lru_cache(maxsize=1)
def _signing_key() -> rsa.RSAPrivateKey:
    """Make the key on first use, one for all emulators of a process: making it takes longer than most tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def unauthorized(code: str, message: str, *, more: str = "") -> GraphError:
    """Build a 401 with its challenge."""
    return GraphError(401, code, message, headers={"www-authenticate": _CHALLENGE + more})


def _refused(message: str) -> GraphError:
    return unauthorized("InvalidAuthenticationToken", message)


def _challenged(now: datetime) -> GraphError:
    """Ask for a token newer than the revocation."""
    wanted = {"access_token": {"nbf": {"essential": True, "value": str(int(now.timestamp()))}}}
    claims = base64.b64encode(json.dumps(wanted, separators=(",", ":")).encode()).decode()
    return unauthorized(
        "InvalidAuthenticationToken",
        "Continuous access evaluation asks for a newer token: this one was issued before a revocation.",
        more=f', error="insufficient_claims", claims="{claims}"',
    )
