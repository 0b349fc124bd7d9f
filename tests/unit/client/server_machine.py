"""What happens to the model service, for state machines that follow it in one way or another."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.unit.client.model_server import HORIZON_DAYS, KEYS, ROOMS, ModelServer


class ServerMachine(RuleBasedStateMachine):
    """Bookings come and move, rooms are imported and read anew, the horizon rolls, the log is cut, the store restored."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.server = ModelServer(random.Random(seed))

    @rule(room=st.sampled_from(ROOMS), key=st.integers(0, KEYS - 1), day=st.integers(0, HORIZON_DAYS - 1))
    def book_or_move(self, room: str, key: int, day: int) -> None:
        self.server.write(room, key, day)

    @rule(what=st.sampled_from(["resync", "resync", "roll", "import"]), room=st.sampled_from(ROOMS))
    def change_rooms(self, what: str, room: str) -> None:
        match what:
            case "resync":
                self.server.resync(room)
            case "roll":
                self.server.roll()
            case "import":
                self.server.imported = set(ROOMS)

    @rule(what=st.sampled_from(["compact", "compact", "restore"]), count=st.integers(0, 6))
    def change_store(self, what: str, count: int) -> None:
        if what == "compact":
            self.server.compact(keep=count)
        else:
            self.server.restore(back=count)
