"""What is to be looked at when its moment has come; an errand whose reason has gone does nothing."""

from enum import Enum
from typing import NamedTuple


class ErrandKind(Enum):
    """What an errand's key names."""

    LANE = "lane"
    ENDPOINT = "endpoint"
    SUBSCRIPTION = "subscription"
    UNAUTHORIZED = "unauthorized"
    """A subscription whose notifications are held for want of authorization."""


class Errand(NamedTuple):
    """A look at one thing."""

    kind: ErrandKind
    key: str
