"""What is on its way to webhooks, as plain data: everything that waits can be written down and taken up again from here.

References to tenants and subscriptions are ids. Timers are not here: `Deliveries.resume` sets them from the moments below.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.object_graph import NOT_DUMPED

NOTIFICATION, LIFECYCLE = "notification", "lifecycle"


@dataclass(slots=True, kw_only=True, eq=False)
class Notice:
    """One notification for one subscription."""

    tenant_id: str
    subscription_id: str
    client_id: str
    """The subscribing app."""
    kind: str
    """`NOTIFICATION` or `LIFECYCLE`."""
    url: str
    item: JsonObject
    """As it stands in the body's `value`."""
    noted_at: datetime
    is_rich: bool = False
    """The body needs a validation token for the app and tenant."""
    is_by_hand: bool = False
    """Sent by control, and therefore whatever becomes of the subscription."""
    void_at: datetime | None = None
    """From then on there is no more use in sending it."""
    give_up_at: datetime | None = None
    """For one held while its subscription is not authorized: when it is lost."""


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """Notifications that share a POST."""

    number: int
    notices: list[Notice]
    attempt: int
    """Which attempt is due, or under way."""
    is_probe: bool = False
    """Its answer decides whether the endpoint leaves its drop state."""
    due_at: datetime
    wait_s: float = 0.0
    """The wait before this attempt; the next is twice as long."""
    give_up_at: datetime | None = None
    """Set by the first failure."""


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """What waits for one URL; change and lifecycle notifications never share a POST."""

    kind: str
    url: str
    waiting: list[tuple[datetime, int, Notice]] = field(default_factory=list)
    """A heap by due moment and order of arrival."""
    retries: list[tuple[datetime, int, Batch]] = field(default_factory=list)
    """A heap by due moment and the batch's number."""
    sending: list[Batch] = field(default_factory=list)
    look_at: datetime | None = field(default=None, metadata=NOT_DUMPED)
    """The next moment a timer is set for."""

    @property
    def key(self) -> str:
        """Give the name the lane is kept by."""
        return lane_key(self.kind, self.url)


def lane_key(kind: str, url: str) -> str:
    """Name a lane."""
    return f"{kind} {url}"


class EndpointState(Enum):
    """How Graph treats an endpoint, by its control name."""

    GOOD = "good"
    SLOW = "slow"
    DROP = "drop"


@dataclass(slots=True, kw_only=True, eq=False)
class Endpoint:
    """One host that takes notifications, and how quickly it has answered of late."""

    host: str
    """Host, and port if the URL names one."""
    state: EndpointState = EndpointState.GOOD
    until: datetime | None = None
    """When the penalty of the state is over and the endpoint is judged again."""
    is_probing: bool = False
    """A drop penalty is over; the next answer decides."""
    probes_left_count: int = 0
    look_at: datetime | None = field(default=None, metadata=NOT_DUMPED)
    """The moment a timer is set for."""
    window_started_at: datetime
    responses_count: int = 0
    over_3_s_count: int = 0
    over_10_s_count: int = 0
    in_flight_count: int = 0
    dropped_count: int = 0
    """Notifications dropped ever."""
    bereft: dict[str, str] = field(default_factory=dict)
    """Tenants by the subscriptions whose notifications were dropped and who have not been told."""


class DisturbanceKind(Enum):
    """What control has done to a subscription's next notifications."""

    LOSE = "lose"
    DELAY = "delay"
    DUPLICATE = "duplicate"


@dataclass(slots=True, kw_only=True, eq=False)
class Disturbance:
    """A fault scripted for one subscription."""

    disturbance_id: str
    tenant_id: str
    subscription_id: str
    kind: DisturbanceKind
    count: int
    delay_s: float = 0.0
    consumed: int = 0

    @property
    def is_spent(self) -> bool:
        """Tell whether it will meet nothing more."""
        return self.consumed >= self.count


@dataclass(slots=True, kw_only=True, eq=False)
class DeliveryState:
    """Everything that waits."""

    lanes: dict[str, Lane] = field(default_factory=dict)
    held: list[Notice] = field(default_factory=list)
    """Held because control paused the tenant."""
    unauthorized: dict[str, list[Notice]] = field(default_factory=dict)
    """Held until the subscription, by whose id they are kept, is authorized again; the first to be given up comes first."""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    disturbances: list[Disturbance] = field(default_factory=list)
    count: int = 0
    """Orders what is due at one moment."""
