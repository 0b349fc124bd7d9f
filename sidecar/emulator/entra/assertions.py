"""Client assertions: JWTs that stand in for a secret, signed with a registered certificate or by another identity provider.

Source: Entra "Certificate credentials" page and "OAuth 2.0 client credentials flow" page (third case, federated credential).
"""

import base64
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import Certificate, load_der_x509_certificate
from cryptography.x509.oid import NameOID
from jwt.types import Options

from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.exchange.app import App, FederatedCredential

_SKEW_S = 300  # how far the caller's clock may be wrong
_CERTIFICATE_ALGORITHMS = ["RS256", "PS256"]
_FEDERATED_ALGORITHMS = ["RS256", "PS256", "ES256"]
_OWN_ISSUERS = ("https://sts.windows.net/", "https://login.microsoftonline.com/")
# The library would look at the machine's clock; times are checked against the emulator's.
UNTIMED: Options = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
Claims = Mapping[str, Any]  # Any: whatever the caller has signed


def check_assertion(assertion: str, app: App, *, endpoints: Collection[str], now: datetime) -> None:
    """Check a client assertion against what the app has registered.

    An assertion issued by the app itself, or signed with a registered certificate, is a certificate's; every other one is
    held against the federated credentials.

    Args:
        endpoints: the token endpoint's URLs, one of which a certificate's assertion must name as its audience.
        now: the emulator's present, which decides whether the assertion has expired.
    Raises:
        LoginError: 700027, 700024, 7000219, 700030; 700211, 700212, 700213, 700229 for a federated one.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise _unverified("It is not a JWT", "") from None
    thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "").rstrip("=")  # MSAL pads it
    if claims.get("iss") == app.client_id or thumbprint in app.certificates or not app.federated_credentials:
        _check_certificate(assertion, header, thumbprint, app, endpoints=endpoints, now=now)
    else:
        _check_federated(assertion, header, claims, app, now=now)


def _check_certificate(
    assertion: str, header: Claims, thumbprint: str, app: App, *, endpoints: Collection[str], now: datetime
) -> None:
    der = app.certificates.get(thumbprint)
    certificate = load_der_x509_certificate(der) if der is not None else _by_subject(header, app)
    if certificate is None:
        raise _unverified("The key is not registered.", thumbprint)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise _unverified("The registered certificate does not hold an RSA key.", thumbprint)
    claims = _verified(assertion, key, _CERTIFICATE_ALGORITHMS, thumbprint)
    _check_times(claims, now)
    if der is None and _common_name(certificate) != app.certificate_subject:
        raise LoginError(700030, subject=_common_name(certificate))
    if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id or claims.get("aud") not in endpoints:
        raise LoginError(7000219)


def _by_subject(header: Claims, app: App) -> Certificate | None:
    """Take the certificate that came along, if the app trusts certificates by their subject name."""
    chain = header.get("x5c")
    if app.certificate_subject is None or not isinstance(chain, list) or not chain:
        return None
    try:
        certificate = load_der_x509_certificate(base64.b64decode(str(chain[0])))
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return certificate


def _common_name(certificate: Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _check_federated(assertion: str, header: Claims, claims: Claims, app: App, *, now: datetime) -> None:
    issuer, subject, audience = str(claims.get("iss")), str(claims.get("sub")), claims.get("aud")
    audiences = {str(one) for one in (audience if isinstance(audience, list) else [audience])}
    trusted = [one for one in app.federated_credentials if one.issuer == issuer]
    if not trusted:
        raise LoginError(700211, value=issuer)
    key_id = str(header.get("kid") or "")
    for key in (key for one in trusted for key in _keys(one, key_id)):
        try:
            jwt.decode(assertion, key, algorithms=_FEDERATED_ALGORITHMS, options=UNTIMED)
            break
        except (jwt.PyJWTError, TypeError):  # TypeError: the key is of another kind than the algorithm
            continue
    else:
        raise _unverified("No key of the issuer fits.", key_id)
    _check_times(claims, now)
    if issuer.startswith(_OWN_ISSUERS) and claims.get("idtyp") != "app":
        raise LoginError(700229)
    trusted = [one for one in trusted if one.subject == subject]
    if not trusted:
        raise LoginError(700213, value=subject)
    if not any(audiences & set(one.audiences) for one in trusted):
        raise LoginError(700212, value=", ".join(sorted(audiences)))


def _keys(credential: FederatedCredential, key_id: str) -> list[jwt.PyJWK]:
    """Give the issuer's keys that may have signed; a key without an id, or a token without one, fits everything."""
    found = jwt.PyJWKSet.from_dict({"keys": list(credential.keys)}).keys
    return [key for key in found if not key_id or key.key_id in (None, key_id)]


def _verified(assertion: str, key: rsa.RSAPublicKey, algorithms: list[str], thumbprint: str) -> Claims:
    try:
        return jwt.decode(assertion, key, algorithms=algorithms, options=UNTIMED)
    except jwt.PyJWTError:
        raise _unverified("The signature is not the key's.", thumbprint) from None


def _check_times(claims: Claims, now: datetime) -> None:
    now_s = now.timestamp()
    try:
        starts_s, ends_s = float(claims.get("nbf", 0)), float(claims.get("exp", 0))
    except (TypeError, ValueError, OverflowError):
        raise LoginError(700024) from None
    if not starts_s - _SKEW_S <= now_s <= ends_s + _SKEW_S:
        raise LoginError(700024)


def _unverified(detail: str, thumbprint: str) -> LoginError:
    return LoginError(700027, detail=detail, thumbprint=thumbprint)
