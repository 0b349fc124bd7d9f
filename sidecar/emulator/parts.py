"""What one emulator consists of, for those who reach into all of it: the control API and tests."""

from dataclasses import dataclass

from sidecar.emulator.entra.tokens import Tokens
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultScript
from sidecar.emulator.notify.deliveries import Deliveries
from sidecar.emulator.notify.subscribing import Subscribing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The collaborators of one emulator."""

    seed: int
    graph_url: str
    """What callers are told to use for Graph and login."""
    world: World
    script: FaultScript
    tokens: Tokens
    deliveries: Deliveries
    mailroom: Mailroom
    meetings: Meetings
    subscribing: Subscribing
