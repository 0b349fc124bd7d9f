"""Names and addresses for mailboxes whose maker gives none."""

from sidecar.emulator.control.seeding import PEOPLE
from sidecar.emulator.exchange.directory import Tenant


class Naming:
    """Names the mailboxes that one control call makes, so that thousands of them are not counted again for each."""

    def __init__(self, tenant: Tenant, *, is_room: bool) -> None:
        self._tenant = tenant
        self._is_room = is_room
        self._count = sum(one.is_resource == is_room for one in tenant.mailboxes.values())
        self._used: dict[str, int] = {}

    def next(self, address: str | None) -> tuple[str, str]:
        """Give the display name and the address of the next mailbox; `address` is the one wished for."""
        self._count += 1
        if not self._is_room:
            name = PEOPLE[(self._count - 1) % len(PEOPLE)]
            return name, address or self._free_address(name.lower().replace(" ", "."))
        number = self._count
        while address is None and f"room{number}@{self._tenant.domain}" in self._tenant.addresses:
            number += 1
        return f"Room {number}", address or f"room{number}@{self._tenant.domain}"

    def _free_address(self, base: str) -> str:
        number = self._used.get(base, 0)
        while True:
            number += 1
            address = f"{base}{'' if number == 1 else number}@{self._tenant.domain}"
            if address not in self._tenant.addresses:
                self._used[base] = number
                return address
