"""Scripted faults: which requests they meet, what they do to them, and whether they have been used up; and outages.

A script left unconsumed is a test that did not test what it meant to; `GET /control/faults` shows it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated

import msgspec

from sidecar.emulator.asgi import Request
from sidecar.emulator.bounds import Seconds

Count = Annotated[int, msgspec.Meta(ge=0)]
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({"content-length", "transfer-encoding"})


class FaultMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a fault meets; what is left out matches everything."""

    tenant: str | None = None
    """Its id or domain."""
    method: str | None = None
    path: str | None = None
    """A part of the path, percent-encoding as sent, in any case."""
    path_regex: str | None = None
    """A regular expression searched in path and query."""
    skip: Count = 0
    """How many matching requests pass unharmed first."""
    count: Count = 1
    """How many are then met; 0 is every one from then on."""


class FaultEffect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fault does: any of a delay, a refusal, and a broken connection."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    code: str | None = None
    """Graph's error code, by default UnknownError; with `aadsts`, the OAuth error instead of the usual one."""
    message: str = ""
    aadsts: int | None = None
    """A refusal of the login server by its number; such a fault meets nothing but token requests."""
    body: str | None = None
    """Replaces Graph's error JSON, HTML or nothing for instance."""
    headers: dict[str, str] = {}
    retry_after_s: Seconds | None = None
    """Adds Retry-After, rounded up to whole seconds."""
    retry_after_as_date: bool = False
    """Writes it as an HTTP date of the emulated clock."""
    delay_s: Seconds = 0.0
    stall_s: Seconds = 0.0
    """The answer stops for so long in the middle of its body."""
    drop: bool = False
    """The connection is cut before the answer."""
    half_body: bool = False
    """The connection is cut in the middle of the answer's body."""
    after: bool = False
    """The request is carried out first, so that only its answer is lost."""


class Fault(msgspec.Struct, kw_only=True):
    """One scripted fault and how far it has got."""

    id: str
    match: FaultMatch
    effect: FaultEffect
    seen: int = 0
    consumed: int = 0

    @property
    def is_spent(self) -> bool:
        """Tell whether the fault will meet nothing more."""
        return 0 < self.match.count <= self.consumed


class Service(Enum):
    """What an outage takes away, by its control name."""

    ALL = "all"
    GRAPH = "graph"
    LOGIN = "login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which a service answers nothing of use, for everybody or for one tenant."""

    service: Service
    status: int | None
    """None cuts every connection."""
    body: str | None
    """None is Graph's error JSON."""
    ends_at: datetime

    def covers(self, now: datetime, *, is_graph: bool) -> bool:
        """Tell whether a request meets the outage."""
        mine = (Service.ALL, Service.GRAPH if is_graph else Service.LOGIN)
        return now < self.ends_at and self.service in mine


def mistake_in(match: FaultMatch, effect: FaultEffect) -> str | None:
    """Say, in a sentence, why a fault cannot be carried out; None if it can."""
    try:
        re.compile(match.path_regex or "")
    except (re.error, RecursionError, OverflowError) as error:
        return f"`path_regex` is not a regular expression: {error}."
    for name, value in effect.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return f"No answer can carry the header {name!r} with the value {value!r}."
        if name.lower() in _FRAMING:
            return f"The header {name!r} is the server's own; `drop`, `half_body` and `stall_s` break an answer."
    return None


class FaultScript:
    """The faults of one emulator, first come first met, and its outages."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.outages: dict[str | None, Outage] = {}
        """By tenant id; None is everybody's."""

    def outage_at(self, now: datetime, tenant_id: str | None, *, is_graph: bool) -> Outage | None:
        """Give the outage that a request meets, the tenant's own before everybody's; None is a request of no tenant."""
        for key in dict.fromkeys((tenant_id, None)):
            outage = self.outages.get(key)
            if outage is not None and outage.covers(now, is_graph=is_graph):
                return outage
        return None

    def meet(self, request: Request, tenant_id: str | None) -> FaultEffect | None:
        """Give the effect of the first fault that meets a request, and count it as consumed."""
        for fault in self.faults:
            if fault.is_spent or not _matches(fault.match, request, tenant_id):
                continue
            if fault.effect.aadsts is not None and not _asks_token(request):
                continue
            fault.seen += 1
            if fault.seen > fault.match.skip:
                fault.consumed += 1
                return fault.effect
        return None


def _matches(match: FaultMatch, request: Request, tenant_id: str | None) -> bool:
    if match.tenant is not None and match.tenant.lower() != (tenant_id or "").lower():
        return False
    if match.method is not None and match.method.upper() != request.method:
        return False
    if match.path is not None and match.path.lower() not in request.path.lower():
        return False
    return match.path_regex is None or bool(re.search(match.path_regex, f"{request.path}?{request.query_string}"))


def _asks_token(request: Request) -> bool:
    return request.method == "POST" and request.path.lower().endswith("/oauth2/v2.0/token")
