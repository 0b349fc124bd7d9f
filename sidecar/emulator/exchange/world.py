"""What every part of one emulator shares: its time, its randomness, its moods and its state."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sidecar.emulator.clock import Background, Clock
from sidecar.emulator.exchange.directory import Directory
from sidecar.emulator.exchange.metering import Charge, Limit, Metering
from sidecar.emulator.ids import IdMaker
from sidecar.emulator.moods import Moods


@dataclass(slots=True, kw_only=True, eq=False)
class World:
    """One emulator's surroundings; parts take it as a collaborator and keep no time or chance of their own."""

    clock: Clock
    rng: random.Random
    ids: IdMaker
    moods: Moods
    directory: Directory = field(default_factory=Directory)
    metering: Metering = field(default_factory=Metering)
    background: Background = field(default_factory=Background)

    def now(self) -> datetime:
        """Tell the present."""
        return self.clock.now()

    def admit(self, charges: Iterable[Charge]) -> tuple[Limit, float] | None:
        """Count a request against its limits; gives the one it reaches, and in how many seconds its window ends."""
        return self.metering.admit(charges, self.now(), documented=self.moods.documented_limits)

    def chance(self, share: float) -> bool:
        """Decide by chance; a share of 0 asks for no random number, so calm runs do not depend on the seed."""
        return share > 0 and self.rng.random() < share

    def between(self, low_s: float, high_s: float) -> float:
        """Pick a number of seconds."""
        return low_s if high_s <= low_s else self.rng.uniform(low_s, high_s)

    def after(self, seconds: float) -> datetime:
        """Give the moment `seconds` from now."""
        return self.now() + timedelta(seconds=seconds)
