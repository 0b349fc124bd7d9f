"""Pending acts: planning them, letting go of them, having them carried out when they are due.

Whether an act still counts is for the tenant's table to say. So a dump of the state has everything, and a restored emulator
goes on waiting (`Agenda.resume`).
"""

from collections.abc import Callable
from datetime import date

from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.pending import ActKind, PendingAct
from sidecar.emulator.exchange.timetable import Timetable
from sidecar.emulator.exchange.world import World

CarryOut = Callable[[Tenant, PendingAct], None]


class Agenda:
    """What the mailboxes of one emulator are going to do."""

    def __init__(self, *, world: World, carry_out: CarryOut) -> None:
        self._world = world
        self._carry_out = carry_out
        self._timetable = Timetable[tuple[Tenant, PendingAct]](world=world, name="act", act=self._act)

    def plan(
        self, tenant: Tenant, mailbox: Mailbox, kind: ActKind, meeting_id: str, *, core: str, day: date | None
    ) -> None:
        """Let a mailbox act after its delay; without a delay it acts within the call."""
        moods, delay_s = self._world.moods_of(tenant), mailbox.settings.processing_delay_s
        if delay_s is None:
            delay_s = self._world.between(moods.room_delay_min_s, moods.room_delay_max_s)
        tenant.acts_count += 1
        act = PendingAct(
            number=tenant.acts_count,
            kind=kind,
            meeting_id=meeting_id,
            mailbox_id=mailbox.object_id,
            core=core,
            day=day,
            due_at=self._world.after(delay_s),
        )
        if delay_s <= 0:
            self._carry_out(tenant, act)
            return
        tenant.pending_acts[act.number] = act
        self._timetable.add(act.due_at, (tenant, act))

    def resume(self) -> None:
        """Wait for the acts of the tenants that have come back from a dump, and for nothing else."""
        self._timetable.clear()
        for tenant in self._world.directory.tenants.values():
            for act in sorted(tenant.pending_acts.values(), key=lambda one: (one.due_at, one.number)):
                self._timetable.add(act.due_at, (tenant, act))

    def hasten(self, tenant: Tenant, act: PendingAct) -> None:
        """Carry an act out now, unless it is void."""
        if tenant.pending_acts.pop(act.number, None) is not None:
            self._carry_out(tenant, act)

    def _act(self, due: tuple[Tenant, PendingAct]) -> None:
        self.hasten(*due)


def acts_on(tenant: Tenant, mailbox: Mailbox, item: Event, kind: ActKind) -> list[PendingAct]:
    """Give what a mailbox has still to do about one item; a series' occurrences are items of their own."""
    return [
        act
        for act in tenant.pending_acts.values()
        if act.core == item.core and act.day == item.day and act.mailbox_id == mailbox.object_id and act.kind is kind
    ]


def drop_acts(tenant: Tenant, mailbox: Mailbox, item: Event, *, with_occurrences: bool = False) -> None:
    """Make void what a mailbox would have done about an item, and if asked about its occurrences."""
    for act in list(tenant.pending_acts.values()):
        same = act.core == item.core and act.mailbox_id == mailbox.object_id
        if same and (with_occurrences or act.day == item.day):
            del tenant.pending_acts[act.number]


def drop_invitations(tenant: Tenant, meeting_id: str, mailbox_ids: frozenset[str] | None = None) -> None:
    """Make void the invitations to a meeting that nobody has seen yet: all, or those to some mailboxes."""
    for act in list(tenant.pending_acts.values()):
        mine = act.kind is ActKind.INVITE and act.meeting_id == meeting_id
        if mine and (mailbox_ids is None or act.mailbox_id in mailbox_ids):
            del tenant.pending_acts[act.number]
