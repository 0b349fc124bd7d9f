"""What every part of one emulator shares: its time, its randomness, its moods and its state."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sidecar.emulator.clock import Background, Clock
from sidecar.emulator.exchange.directory import Directory, Tenant
from sidecar.emulator.exchange.metering import Charge, Limit, Metering
from sidecar.emulator.ids import IdMaker
from sidecar.emulator.moods import Moods, with_moods


@dataclass(slots=True, kw_only=True, eq=False)
class World:
    """One emulator's surroundings; parts take it as a collaborator and keep no time or chance of their own."""

    clock: Clock
    rng: random.Random
    ids: IdMaker
    moods: Moods
    """Of everybody who has none of their own."""
    directory: Directory = field(default_factory=Directory)
    metering: Metering = field(default_factory=Metering)
    background: Background = field(default_factory=Background)
    _merged: dict[str, "_Merged"] = field(default_factory=dict, init=False)
    """By tenant id; worked out anew when either part has been replaced."""

    def now(self) -> datetime:
        """Tell the present."""
        return self.clock.now()

    def moods_of(self, tenant: Tenant | None) -> Moods:
        """Give the moods a tenant meets: the emulator's, and over them its own; None is whoever belongs to no tenant."""
        if tenant is None or not tenant.own_moods:
            return self.moods
        kept = self._merged.get(tenant.tenant_id)
        if kept is None or kept.base is not self.moods or kept.own is not tenant.own_moods:
            moods = with_moods(self.moods, tenant.own_moods)
            kept = self._merged[tenant.tenant_id] = _Merged(self.moods, tenant.own_moods, moods)
        return kept.moods

    def admit(self, tenant: Tenant, charges: Iterable[Charge]) -> tuple[Limit, float] | None:
        """Count a request against its limits; gives the one it reaches, and in how many seconds its window ends."""
        documented = self.moods_of(tenant).documented_limits
        return self.metering.admit(charges, self.now(), documented=documented, own=tenant.own_limits)

    def chance(self, share: float) -> bool:
        """Decide by chance; a share of 0 asks for no random number, so calm runs do not depend on the seed."""
        return share > 0 and self.rng.random() < share

    def between(self, low_s: float, high_s: float) -> float:
        """Pick a number of seconds."""
        return low_s if high_s <= low_s else self.rng.uniform(low_s, high_s)

    def after(self, seconds: float) -> datetime:
        """Give the moment `seconds` from now."""
        return self.now() + timedelta(seconds=seconds)


class _Merged(NamedTuple):
    """A tenant's moods, and what they were made of."""

    base: Moods
    own: Mapping[str, Any]  # Any: as in `with_moods`
    moods: Moods
