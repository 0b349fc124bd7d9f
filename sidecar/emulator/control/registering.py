"""Changing an app registration: credentials, grants, policies, and how its tenant lets it sign in."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from sidecar.emulator.bounds import check_year
from sidecar.emulator.control.app import ControlError
from sidecar.emulator.control.tenant_types import AppBody, FederatedBody, GrantBody, PolicyBody, SignInBody
from sidecar.emulator.exchange.app import (
    EXCHANGE_ROLES,
    FEDERATED_CREDENTIALS_MAX,
    ROLES,
    AccessPolicy,
    App,
    ExchangeGrant,
    FederatedCredential,
    PendingAccess,
    Secret,
)
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")  # what a Location header can carry


def change_app(world: World, tenant: Tenant, app: App, body: AppBody) -> str | None:
    """Change an app registration; either everything is changed or nothing.

    Returns:
        The secret that was added, if one was.
    Raises:
        ControlError: part of the body cannot be carried out.
    """
    if body.remove_client_secret is not None and body.remove_client_secret not in app.secrets:
        raise ControlError("The app has no such secret to remove.", status=404)
    roles = app.roles if body.roles is None else parse_roles(body.roles)
    requested = app.requested_roles if body.requested_roles is None else parse_roles(body.requested_roles)
    for uri in body.redirect_uris or ():
        if not _URI.fullmatch(uri):
            raise ControlError(f"{uri!r} is not a redirect URI.")
    if body.secret_expires_at is not None:
        try:
            check_year(body.secret_expires_at)
        except ValueError as error:
            raise ControlError(f"`secret_expires_at` cannot be: {error}.") from None
    certificates = {} if body.certificate_pem is None else _thumbprints(body.certificate_pem)
    federated = app.federated_credentials
    if body.federated_credentials is not None:
        federated = _federated(body.federated_credentials)
    access = _access(body, world.after(body.propagation_s or 0.0))

    added = _change_secrets(world, tenant, app, body)
    app.roles, app.requested_roles, app.federated_credentials = roles, requested, federated
    app.certificates.update(certificates)
    if access is not None:
        app.change_access(access, world.now())
    _change_traits(app, body)
    if body.sign_in is not None:
        _change_sign_in(tenant, body.sign_in)
    return added


def parse_roles(names: list[str]) -> frozenset[str]:
    """Read application permissions.

    Raises:
        ControlError: one of them is not played.
    """
    return _known(names, ROLES)


def _change_secrets(world: World, tenant: Tenant, app: App, body: AppBody) -> str | None:
    added = body.client_secret or (world.ids.secret() if body.generate_secret else None)
    if added is not None:
        delay_s = body.propagation_s
        if delay_s is None:
            delay_s = world.moods_of(tenant).secret_propagation_s
        app.secrets[added] = Secret(known_at=world.after(delay_s) if delay_s > 0 else None)
    if body.secret_expires_at is not None:
        expires_at = body.secret_expires_at
        expires_at = expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)
        for value in [added] if added is not None else list(app.secrets):
            app.secrets[value] = replace(app.secrets[value], expires_at=expires_at)
    if body.remove_client_secret is not None:
        del app.secrets[body.remove_client_secret]
    return added


def _change_traits(app: App, body: AppBody) -> None:
    if body.redirect_uris is not None:
        app.redirect_uris = tuple(body.redirect_uris)
    if body.certificate_subject is not msgspec.UNSET:
        app.certificate_subject = body.certificate_subject
    if body.disabled is not None:
        app.disabled = body.disabled
    if body.is_public is not None:
        app.is_public = body.is_public
    if body.cae is not None:
        app.cae = body.cae
    if body.tells_refresh is not None:
        app.tells_refresh = body.tells_refresh
    if body.rbac_opens_subscriptions is not None:
        app.may_subscribe_by_grant = body.rbac_opens_subscriptions
    if body.revoke_tokens:
        app.revocations_count += 1


def _change_sign_in(tenant: Tenant, body: SignInBody) -> None:
    sign_in = tenant.sign_in
    sign_in.block = body.block or sign_in.block
    sign_in.graph_principal = body.graph_principal or sign_in.graph_principal
    sign_in.cloud = body.cloud or sign_in.cloud
    if body.refuses_consent is not None:
        sign_in.refuses_consent = body.refuses_consent


def _access(body: AppBody, due_at: datetime) -> PendingAccess | None:
    """Read what changes about policies and grants; None if nothing does."""
    policies, grants = body.access_policies, body.rbac_grants
    if body.access_policy is not msgspec.UNSET:
        if policies is not None:
            raise ControlError("`access_policy` and `access_policies` cannot be given together.")
        policies = [] if body.access_policy is None else [PolicyBody(members=body.access_policy)]
    if body.rbac_scope is not msgspec.UNSET:
        if grants is not None:
            raise ControlError("`rbac_scope` and `rbac_grants` cannot be given together.")
        grants = [] if body.rbac_scope is None else [GrantBody(scope=body.rbac_scope)]
    if policies is None and grants is None:
        return None
    return PendingAccess(
        due_at=due_at,
        policies=None if policies is None else tuple(_policy(one) for one in policies),
        grants=None if grants is None else tuple(_grant(one) for one in grants),
    )


def _policy(body: PolicyBody) -> AccessPolicy:
    return AccessPolicy(denies=body.right == "DenyAccess", members=_addresses(body.members))


def _grant(body: GrantBody) -> ExchangeGrant:
    (role,) = _known([body.role], EXCHANGE_ROLES)
    return ExchangeGrant(role=role, scope=_addresses(body.scope))


def _known(names: Sequence[str], known: frozenset[str]) -> frozenset[str]:
    unknown = set(names) - known
    if unknown:
        listed = ", ".join(sorted(known))
        raise ControlError(f"The emulator does not play {', '.join(sorted(unknown))}; it knows {listed}.")
    return frozenset(names)


def _addresses(listed: list[str]) -> frozenset[str]:
    return frozenset(one.lower() for one in listed)


def _thumbprints(pem: str) -> dict[str, bytes]:
    try:
        der = load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except ValueError:
        raise ControlError("`certificate_pem` is not a certificate in PEM form.") from None
    digests = (hashlib.sha1(der).digest(), hashlib.sha256(der).digest())  # noqa: S324  (Entra's own x5t is SHA-1)
    return {base64.urlsafe_b64encode(digest).decode().rstrip("="): der for digest in digests}


def _federated(bodies: list[FederatedBody]) -> tuple[FederatedCredential, ...]:
    if len(bodies) > FEDERATED_CREDENTIALS_MAX:
        raise ControlError(f"An app has at most {FEDERATED_CREDENTIALS_MAX} federated credentials.")
    return tuple(
        FederatedCredential(issuer=body.issuer, subject=body.subject, audiences=body.audiences, keys=_public_keys(body))
        for body in bodies
    )


def _public_keys(body: FederatedBody) -> tuple[dict[str, Any], ...]:  # Any: JSON Web Keys
    if (body.public_key_pem is None) == (body.jwks is None):
        raise ControlError("A federated credential has either `public_key_pem` or `jwks`.")
    if body.public_key_pem is not None:
        return (_public_key(body.public_key_pem),)
    try:
        keys = jwt.PyJWKSet.from_dict(body.jwks or {}).keys
    except jwt.PyJWTError:
        raise ControlError("`jwks` is not a JSON Web Key Set with usable keys.") from None
    listed = (body.jwks or {})["keys"]
    if any(isinstance(key.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) for key in keys):
        raise ControlError("`jwks` holds a private key; the emulator takes public ones only.")
    return tuple(listed)


def _public_key(pem: str) -> dict[str, Any]:  # Any: a JSON Web Key
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ControlError("`public_key_pem` is not a public key in PEM form.") from None
    if isinstance(key, rsa.RSAPublicKey):
        return dict(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, ec.EllipticCurvePublicKey):
        return dict(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True))
    raise ControlError("`public_key_pem` must be an RSA or an elliptic-curve key.")
