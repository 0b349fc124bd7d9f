"""Who is let in, to what, and how much of it: decided from the call and the callers file alone, before a handler runs.

The store is never asked here. Whether a tenant outside a caller's grant exists can therefore be told neither by an answer nor
by the time that it takes. Which calls need what is said in `access`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from google.protobuf.message import Message

from sidecar.aio.clock import Clock
from sidecar.api.access import CREATING, SCOPES, UNNAMED, Path, tenants_named
from sidecar.api.caller import caller_of, certificate_names
from sidecar.api.callers import Callers, Proof, digest_of
from sidecar.errors import (
    CallerRejected,
    FieldViolation,
    InvalidArgument,
    ScopeMissing,
    SidecarError,
    TenantNotFound,
    TenantNotGranted,
)
from sidecar.model.access import TRUSTED, Grant
from sidecar.model.audit import Caller, CallerKind
from sidecar.model.ids import TenantId

_SCHEME = "bearer "
_HEADER = "authorization"
_TOKEN_CHARS_MAX = 512
"""Longer ones are not hashed: ours have 47 characters."""

_NOTHING = Proof(token_digest=None)

_TENANTS: contextvars.ContextVar[frozenset[TenantId] | None] = contextvars.ContextVar("tenants", default=None)


class CallersSource(Protocol):
    """Where the callers are known from; `FollowedFiles` is one."""

    @property
    def current(self) -> Callers:
        """Those who are known now."""


class Peer(Protocol):
    """What a call tells about who makes it; a gRPC context does."""

    def peer(self) -> str:
        """Where it comes from."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What the transport has proved."""

    def invocation_metadata(self) -> Iterable[Any] | None:  # of keys and values; the stubs call it a mapping
        """What was sent with it."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a call.

    Attributes:
        caller: tells for the audit how it came in; asked only where that is written down, since gRPC makes it up each time.
        proof, grant: what it brought, and what that was good for when it came in.
    """

    caller: Callable[[], Caller]
    proof: Proof
    grant: Grant


def visible_tenants() -> frozenset[TenantId] | None:
    """Return the tenants that exist for the caller of the call under way; None: all there are."""
    return _TENANTS.get()


@contextmanager
def seeing(grant: Grant) -> Iterator[None]:
    """Let `visible_tenants` tell what a grant lets its caller see."""
    token = _TENANTS.set(grant.tenants)
    try:
        yield
    finally:
        _TENANTS.reset(token)


class Door:
    """Lets calls in."""

    def __init__(self, *, callers: CallersSource | None, clock: Clock) -> None:
        """Make it.

        Args:
            callers: who may call; None: everybody who reaches a listener, which the settings allow for trusted ones only.
        """
        self._callers = callers
        self._clock = clock

    def identify(self, context: Peer) -> Visitor:
        """Find out who calls.

        Raises:
            CallerRejected: somebody who is not known.
        """
        if self._callers is None:
            return Visitor(lambda: _caller(context), _NOTHING, TRUSTED)
        caller = _caller(context)
        proof = Proof(
            token_digest=_token_digest(context.invocation_metadata() or ()),
            certificate_names=certificate_names(_proved(context)),
        )
        if caller.kind is CallerKind.UNIX_SOCKET and proof.token_digest is None:
            return Visitor(lambda: caller, proof, TRUSTED)  # the permissions of the socket have let it in
        grant = self._callers.current.find(proof, now=self._clock.now())
        return Visitor(lambda: replace(caller, identity=grant.identity), proof, grant)

    def recheck(self, visitor: Visitor, method: str, named: Callable[[], frozenset[TenantId]]) -> Callable[[], None]:
        """Return what checks that a caller whose call goes on may still make it: tokens are taken back, and expire.

        It is cheap while nothing has changed: it is asked before each message of each stream.

        Args:
            named: tells all tenants that the request names, also for a caller that could name any when it came.
        Returns:
            A function that raises CallerRejected, ScopeMissing or TenantNotFound.
        """
        callers, grant = self._callers, visitor.grant
        if grant is TRUSTED or callers is None:
            return lambda: None
        seen: Callers | None = None

        def check() -> None:
            nonlocal seen
            current, now = callers.current, self._clock.now()
            if current is seen and (grant.expire_at is None or now < grant.expire_at):
                return
            found = current.find(visitor.proof, now=now)
            refusal = None if found == grant else _refusal(found, method, named())
            if refusal is None and method in UNNAMED and not _sees_all_of(found, grant):
                # What it was shown when it came may be about what was taken from it since.
                refusal = TenantNotFound("there is no such tenant")
            if refusal is not None:
                raise refusal
            seen = current if found == grant else None

        return check


def tenants_of(grant: Grant, request: Message, paths: tuple[Path, ...]) -> frozenset[TenantId]:
    """Return the tenants that a request names; nothing for a caller that may name all of them, to save the looking."""
    return frozenset() if grant.tenants is None else tenants_named(request, paths)


def refusal_of(grant: Grant, method: str, tenants: frozenset[TenantId]) -> SidecarError | None:
    """Return why a call is refused that names these tenants; None: it is not."""
    refusal = _refusal(grant, method, tenants)
    if refusal is None and grant.tenants is not None and not tenants and method not in UNNAMED:
        return InvalidArgument([FieldViolation("", "must name something of a tenant, as tenants/{tenant}")])
    return refusal


def _refusal(grant: Grant, method: str, tenants: frozenset[TenantId]) -> SidecarError | None:
    scope = SCOPES[method]
    if scope not in grant.scopes:
        return ScopeMissing(f"the caller is not allowed {scope}", details={"scope": scope.value})
    if grant.tenants is None or tenants <= grant.tenants:
        return None
    if method in CREATING:
        return TenantNotGranted("the caller may not register a tenant with this id")
    return TenantNotFound("there is no such tenant")


def _sees_all_of(found: Grant, earlier: Grant) -> bool:
    return found.tenants is None or (earlier.tenants is not None and earlier.tenants <= found.tenants)


def _caller(context: Peer) -> Caller:
    return caller_of(context.peer(), _proved(context))


def _proved(context: Peer) -> dict[str, list[bytes]]:
    return {key: list(values) for key, values in context.auth_context().items()}


def _token_digest(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    """Return the hash of the bearer token of a call; None: it has none.

    Raises:
        CallerRejected: what it has instead is no bearer token, or there are several.
    """
    found = [value for key, value in metadata if key == _HEADER]
    if not found:
        return None
    value = found[0]
    if len(found) > 1 or not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
        raise CallerRejected("the call brings something else than one bearer token", details={"cause": "MALFORMED"})
    token = value[len(_SCHEME) :].strip()
    if not token or len(token) > _TOKEN_CHARS_MAX:
        raise CallerRejected("the call brings something else than one bearer token", details={"cause": "MALFORMED"})
    return digest_of(token)
