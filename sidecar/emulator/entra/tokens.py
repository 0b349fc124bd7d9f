"""Access tokens: minting them for the login server, and reading them for Graph.

Source: Entra "Access token claims reference" page (v1.0 tokens for Graph) and "Certificate credentials" page.
"""

import base64
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_der_x509_certificate
from jwt.types import Options

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import Caller
from sidecar.emulator.exchange.directory import App, Directory, Tenant
from sidecar.emulator.exchange.world import World

GRAPH_AUDIENCE = "https://graph.microsoft.com"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
_KEY_BITS = 2048
_LIFETIME_S = (3599, 5399)
_KNOWN_TOKENS_MAX = 10_000
# The library would look at the machine's clock; times are checked against the emulator's.
_UNTIMED: Options = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


class Tokens:
    """The signing key, and every token it has been asked about."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._known: dict[str, Caller] = {}

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        return _signing_key()

    @cached_property
    def key_id(self) -> str:
        """Give the `kid` of the signing key."""
        return base64.urlsafe_b64encode(self._world.rng.randbytes(20)).decode().rstrip("=")

    def key_set(self) -> dict[str, Any]:  # Any: JSON for the wire
        """Give the public key as a JSON Web Key Set."""
        key: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)  # Any: JSON
        key.pop("key_ops", None)
        return {"keys": [{**key, "use": "sig", "kid": self.key_id, "x5t": self.key_id, "alg": "RS256"}]}

    def mint(self, tenant: Tenant, app: App, *, by_certificate: bool, audience: str) -> tuple[str, int]:
        """Sign a token for an app; the roles are those granted at this moment.

        Returns:
            The token and its lifetime in seconds.
        """
        now_s = int(self._world.now().timestamp())
        lifetime_s = self._world.rng.randint(*_LIFETIME_S)
        claims: dict[str, Any] = {  # Any: claim values of several types
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant.tenant_id}/",
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + lifetime_s,
            "app_displayname": app.display_name,
            "appid": app.client_id,
            "appidacr": "2" if by_certificate else "1",
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
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self.key_id, "x5t": self.key_id})
        return token, lifetime_s

    def read(self, header: str, directory: Directory) -> Caller:
        """Find who an Authorization header speaks for.

        Raises:
            GraphError: 401 with Graph's text for what is wrong with the token.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("Access token is empty.")
        caller = self._known.get(token)
        if caller is None:
            caller = self._decode(token, directory)
            if len(self._known) >= _KNOWN_TOKENS_MAX:
                self._known.clear()
            self._known[token] = caller
        if caller.expires_at <= self._world.now():
            raise _refused("Lifetime validation failed, the token is expired.")
        if caller.app.client_id not in caller.tenant.apps:
            raise _refused("The identity of the calling application could not be established.")
        return caller

    def _decode(self, token: str, directory: Directory) -> Caller:
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], options=_UNTIMED)
        except jwt.InvalidSignatureError:
            raise _refused("Access token validation failure. Invalid signature.") from None
        except jwt.PyJWTError:
            raise _refused("CompactToken parsing failed with error code: 80049217") from None
        if claims.get("aud") not in (GRAPH_AUDIENCE, f"{GRAPH_AUDIENCE}/", GRAPH_APP_ID):
            raise _refused("Access token validation failure. Invalid audience.")
        tenant = directory.find(str(claims.get("tid")))
        app = tenant.apps.get(str(claims.get("appid"))) if tenant else None
        if tenant is None or app is None:
            raise _refused("The identity of the calling application could not be established.")
        return Caller(
            tenant=tenant,
            app=app,
            roles=frozenset(claims.get("roles", ())),
            expires_at=datetime.fromtimestamp(claims["exp"], tz=self._world.now().tzinfo),
        )


@lru_cache(maxsize=1)
def _signing_key() -> rsa.RSAPrivateKey:
    """Make the key on first use, one for all emulators of a process: making it takes longer than most tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _refused(message: str) -> GraphError:
    challenge = 'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
    return GraphError(401, "InvalidAuthenticationToken", message, headers={"www-authenticate": challenge})


class AssertionRefused(Exception):
    """A client assertion is not good; the number is the AADSTS code."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


def check_assertion(assertion: str, app: App, *, endpoint: str, now: datetime) -> None:
    """Check a certificate's client assertion against the app's registered certificates.

    Args:
        endpoint: the token endpoint, which the assertion must name as its audience.
        now: the emulator's present, which decides whether the assertion has expired.
    Raises:
        AssertionRefused: 700027 for the key or signature, 700024 for the time, 7000219 for other claims.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        der = app.certificates.get(header.get("x5t#S256") or header.get("x5t") or "")
        if der is None:
            raise AssertionRefused(700027, "The certificate used to sign the client assertion is not registered.")
        key = load_der_x509_certificate(der).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise AssertionRefused(700027, "The registered certificate does not hold an RSA key.")
        claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options=_UNTIMED)
    except jwt.PyJWTError:
        raise AssertionRefused(700027, "Client assertion failed signature validation.") from None
    skew_s, now_s = 300, now.timestamp()
    if not float(claims.get("nbf", 0)) - skew_s <= now_s <= float(claims.get("exp", 0)) + skew_s:
        raise AssertionRefused(700024, "Client assertion is not within its valid time range.")
    audience = claims.get("aud")
    if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id or audience != endpoint:
        raise AssertionRefused(7000219, "Client assertion audience, issuer or subject is not what was expected.")
