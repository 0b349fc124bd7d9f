"""What can be wrong with a customer's organisation or one of its mailboxes, and what people are then to be told.

One row for each fault: how Microsoft's side is brought into it and out of it again, and the states, the reason and who must
act that follow. A fault begins when Microsoft refuses us: a token that was given out before may hide a cause for an hour,
during which everything works as it should, so the rows about sign-in revoke it as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.model.problem import Actor, Problem
from sidecar.model.room import Room, RoomState, SyncState
from sidecar.model.tenant import Tenant, TenantState
from tests.simulation.world import World

Deed = Callable[[World], Awaitable[None]]
LONG_S = 1e6
"""An outage that is ended by whoever began it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row.

    Attributes:
        tenant, room, copy: the states that follow, the latter two of the rooms that are hit; of a copy whose age nobody
            can tell nothing is wanted.
        reason: of the problem at the tenant if `is_tenants`, else, or if it is about subscriptions, at each room that is hit.
        says: how the problem's message begins.
        first: what is different at a tenant that has it from the beginning.
        is_tenants: it hits the tenant as a whole; else its first room, and the others go on.
        is_told_at_subscriptions: it is a problem of each room's subscription, and the rooms can be read.
        is_silent: Microsoft announces nothing meanwhile and takes no bookings, so none is made.
        is_told_at_work: a tenant that works already is told of it in time; else only one that has it from the beginning.
        heals_s: how long after its end everything is as before.
    """

    name: str
    begin: Deed
    end: Deed
    tenant: TenantState = TenantState.ACTIVE
    room: RoomState = RoomState.CREDENTIAL_EXPIRED
    copy: SyncState | None = SyncState.BLOCKED
    reason: str
    says: str
    is_told_at_subscriptions: bool = False
    actor: Actor = Actor.CUSTOMER
    first: Mapping[str, Any] = field(default_factory=dict)  # Any: values of several types
    is_tenants: bool = True
    is_silent: bool = False
    is_told_at_work: bool = True
    heals_s: float = 1_200.0

    def __str__(self) -> str:
        return self.name

    def told_at(self, tenant: Tenant, room: Room) -> Problem | None:
        """Return the problem that is to tell of it."""
        if self.is_told_at_subscriptions:
            return room.subscription_problem
        return tenant.problem if self.is_tenants else room.problem

    def from_beginning(self) -> Fault:
        """Return the row of a tenant that was never read: what Exchange does not answer for is not imported yet."""
        if self.copy is not SyncState.STALE:
            return replace(self, **self.first)
        return replace(self, room=RoomState.IMPORTING, copy=SyncState.INITIALIZING, **self.first)


def _app(**change: Any) -> Deed:  # Any: JSON
    async def deed(world: World) -> None:
        await world.directory.call("PATCH", "app", change)

    return deed


def _refused_login(number: int) -> Deed:
    async def deed(world: World) -> None:
        await world.directory.fault({"aadsts": number}, count=0)
        await _app(revoke_tokens=True)(world)

    return deed


async def _no_faults(world: World) -> None:
    await world.directory.call("DELETE", "/control/faults")


async def _other_secret(world: World) -> None:
    await _app(client_secret="another", remove_client_secret=world.directory.secret, revoke_tokens=True)(world)


async def _first_secret(world: World) -> None:
    await _app(client_secret=world.directory.secret)(world)


def _mailbox(kind: str) -> Deed:
    async def deed(world: World) -> None:
        await world.directory.call("PATCH", f"mailboxes/{world.directory.rooms[0]}", {"kind": kind})

    return deed


async def _policy(world: World) -> None:
    await _app(access_policy=world.directory.rooms[1:])(world)


async def _throttle_mailbox(world: World) -> None:
    address = world.directory.rooms[0]
    await world.directory.fault(
        {"status": 429, "code": "ApplicationThrottled", "retry_after_s": 30}, count=0, path=address
    )


def _outage(status: int | None, service: str = "all") -> Deed:
    async def deed(world: World) -> None:
        await world.directory.begin_outage(LONG_S, status=status, service=service)

    return deed


async def _login_away(world: World) -> None:
    await _outage(503, "login")(world)
    await _app(revoke_tokens=True)(world)


def _clock(shift_s: float) -> Deed:
    async def deed(world: World) -> None:
        world.clock.shift(shift_s)

    return deed


async def _webhook_away(world: World) -> None:
    world.way.weather.lost_share = 1.0


async def _webhook_back(world: World) -> None:
    world.way.weather.lost_share = 0.0


async def _over(world: World) -> None:
    await world.directory.begin_outage(0.0)


_REFUSED = TenantState.CREDENTIAL_REJECTED
_AWAY: dict[str, Any] = {  # Any: values of several types
    "tenant": TenantState.DEGRADED,
    "room": RoomState.DEGRADED,
    "copy": SyncState.STALE,
    "end": _over,
}
_ONE: dict[str, Any] = {"is_tenants": False}  # Any: as above

FAULTS = (
    Fault(
        name="wrong secret",
        begin=_other_secret,
        end=_first_secret,
        tenant=_REFUSED,
        reason="CREDENTIAL_REJECTED",
        says="The client secret is not one of the application's.",
    ),
    Fault(
        name="expired secret",
        begin=_app(secret_expires_at="2020-01-01T00:00:00Z", revoke_tokens=True),
        end=_app(secret_expires_at="2090-01-01T00:00:00Z"),
        tenant=_REFUSED,
        reason="CREDENTIAL_EXPIRED",
        says="The client secret has expired.",
    ),
    Fault(
        name="application disabled",
        begin=_app(disabled=True, revoke_tokens=True),
        end=_app(disabled=False),
        tenant=TenantState.CONSENT_MISSING,
        reason="APPLICATION_DISABLED",
        says="The application is disabled in the customer's directory.",
    ),
    Fault(
        name="application deleted",
        begin=_refused_login(700016),
        end=_no_faults,
        tenant=_REFUSED,
        reason="APPLICATION_NOT_FOUND",
        says="The customer's directory has no application with this id.",
    ),
    Fault(
        name="unknown directory",
        begin=_refused_login(90002),
        end=_no_faults,
        tenant=_REFUSED,
        reason="DIRECTORY_NOT_FOUND",
        says="Microsoft knows no directory with this id in this cloud.",
    ),
    Fault(
        name="another cloud",
        begin=_app(sign_in={"cloud": "usGov"}, revoke_tokens=True),
        end=_app(sign_in={"cloud": "global"}),
        tenant=_REFUSED,
        reason="CLOUD_MISMATCH",
        says="The directory is in another of Microsoft's clouds.",
        actor=Actor.OPERATOR,
    ),
    Fault(
        name="conditional access",
        begin=_app(sign_in={"block": "conditionalAccess"}, revoke_tokens=True),
        end=_app(sign_in={"block": "none"}),
        tenant=_REFUSED,
        reason="SIGN_IN_BLOCKED",
        says="A Conditional Access policy of the customer keeps the application from signing in.",
    ),
    Fault(
        name="security defaults",
        begin=_app(sign_in={"block": "securityDefaults"}, revoke_tokens=True),
        end=_app(sign_in={"block": "none"}),
        tenant=_REFUSED,
        reason="SIGN_IN_BLOCKED",
        says="The customer's security settings keep the application from signing in.",
    ),
    Fault(
        name="no consent",
        begin=_app(roles=["MailboxSettings.Read"], revoke_tokens=True),
        end=_app(roles=["Calendars.ReadWrite", "MailboxSettings.Read"]),
        tenant=TenantState.CONSENT_MISSING,
        reason="CONSENT_MISSING",
        says="The application has no permission to read calendars",
    ),
    Fault(
        name="no consent, under continuous access evaluation",
        begin=_app(roles=[], cae=True, revoke_tokens=True),
        end=_app(roles=["Calendars.ReadWrite", "MailboxSettings.Read"]),
        tenant=TenantState.CONSENT_MISSING,
        reason="CONSENT_MISSING",
        says="The application has no permission to read calendars",
    ),
    Fault(
        name="everything away",
        begin=_outage(None),
        reason="EXCHANGE_UNAVAILABLE",
        says="Exchange cannot be reached",
        first={"says": "Microsoft's login service cannot be reached"},
        actor=Actor.MICROSOFT,
        **_AWAY,
    ),
    Fault(
        name="Graph away",
        begin=_outage(503, "graph"),
        reason="EXCHANGE_UNAVAILABLE",
        says="Exchange cannot be reached",
        actor=Actor.MICROSOFT,
        **_AWAY,
    ),
    Fault(
        name="login away",
        begin=_login_away,
        reason="EXCHANGE_UNAVAILABLE",
        says="Microsoft's login service cannot be reached",
        actor=Actor.MICROSOFT,
        **_AWAY,
    ),
    Fault(
        name="tenant throttled",
        begin=_outage(429, "graph"),
        reason="EXCHANGE_THROTTLED",
        says="Exchange asks us to slow down.",
        actor=Actor.NOBODY,
        **_AWAY,
    ),
    Fault(
        name="clock ahead",
        begin=_clock(3_000.0),
        end=_clock(-3_000.0),
        tenant=TenantState.DEGRADED,
        room=RoomState.DEGRADED,
        copy=None,
        reason="CLOCK_SKEWED",
        says="The sidecar's clock and Microsoft's differ by more than five minutes.",
        actor=Actor.OPERATOR,
        heals_s=6_000.0,
    ),
    Fault(
        name="clock behind",
        is_told_at_work=False,  # work that was due by the former time is not due by the new one, for as long as it was set back
        begin=_clock(-3_000.0),
        end=_clock(3_000.0),
        tenant=TenantState.DEGRADED,
        room=RoomState.DEGRADED,
        copy=None,
        reason="CLOCK_SKEWED",
        says="The sidecar's clock and Microsoft's differ by more than five minutes.",
        actor=Actor.OPERATOR,
        heals_s=6_000.0,
    ),
    Fault(
        name="webhook away",
        begin=_webhook_away,
        end=_webhook_back,
        room=RoomState.DEGRADED,
        copy=SyncState.POLLING,
        reason="WEBHOOK_UNREACHABLE",
        says="Exchange gets no answer from the sidecar's webhook address within ten seconds",
        actor=Actor.OPERATOR,
        is_told_at_subscriptions=True,
    ),
    Fault(
        name="policy without one room",
        begin=_policy,
        end=_app(access_policy=None),
        room=RoomState.DENIED,
        first={
            "room": RoomState.PENDING_PROPAGATION,
            "reason": "ACCESS_PENDING",
            "actor": Actor.NOBODY,
            "says": "Exchange does not let the application read this mailbox yet",
        },
        reason="MAILBOX_ACCESS_DENIED",
        says="An application access policy of Exchange keeps the application from this mailbox.",
        **_ONE,
    ),
    Fault(
        name="room gone",
        begin=_mailbox("gone"),
        end=_mailbox("cloud"),
        room=RoomState.NOT_FOUND,
        reason="MAILBOX_NOT_FOUND",
        says="Exchange knows no mailbox with this address.",
        is_silent=True,
        **_ONE,
    ),
    Fault(
        name="room on premises",
        begin=_mailbox("onPremises"),
        end=_mailbox("cloud"),
        room=RoomState.NOT_CLOUD_MAILBOX,
        reason="MAILBOX_NOT_IN_CLOUD",
        says="The mailbox is not in Exchange Online, or is inactive.",
        is_silent=True,
        **_ONE,
    ),
    Fault(
        name="room without a licence",
        begin=_mailbox("unlicensed"),
        end=_mailbox("cloud"),
        room=RoomState.NOT_CLOUD_MAILBOX,
        reason="MAILBOX_NOT_IN_CLOUD",
        says="The mailbox is not in Exchange Online, or is inactive.",
        is_silent=True,
        **_ONE,
    ),
    Fault(
        name="room being moved",
        begin=_mailbox("moving"),
        end=_mailbox("cloud"),
        room=RoomState.DEGRADED,
        copy=SyncState.STALE,
        reason="EXCHANGE_UNAVAILABLE",
        says="Exchange is moving the mailbox",
        actor=Actor.NOBODY,
        **_ONE,
    ),
    Fault(
        name="room's database away",
        begin=_mailbox("unavailable"),
        end=_mailbox("cloud"),
        room=RoomState.DEGRADED,
        copy=SyncState.STALE,
        reason="EXCHANGE_UNAVAILABLE",
        says="Exchange cannot open the mailbox for the moment",
        actor=Actor.MICROSOFT,
        **_ONE,
    ),
    Fault(
        name="mailbox throttled",
        begin=_throttle_mailbox,
        end=_no_faults,
        room=RoomState.DEGRADED,
        copy=SyncState.STALE,
        reason="EXCHANGE_THROTTLED",
        says="Exchange asks us to slow down.",
        actor=Actor.NOBODY,
        **_ONE,
    ),
)
