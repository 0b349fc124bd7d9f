"""What a case of the conformance suite is: a rule of Microsoft's side, the section it is from, and how to ask for it.

The sections are those of the reference of Microsoft's behaviour; `README.md` lists their titles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.graph.subject import Subject

Ask = Callable[..., Awaitable[None]]
NEEDS = {
    "room": "a room mailbox with Exchange's default settings (GRAPH_CONTRACT_ROOM)",
    "organizer": "a person's mailbox to book from (GRAPH_CONTRACT_ORGANIZER)",
    "webhook": "a webhook that shakes hands (GRAPH_CONTRACT_WEBHOOK_URL)",
    "deliveries": "a webhook that tells what it was sent",
    "places": "the permission Place.Read.All",
    "users": "the permission User.Read.All",
    "settings": "the permission MailboxSettings.Read",
}
"""What a case may need of a subject, and what to say where it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One rule, asked of a subject."""

    section: str
    rule: str
    name: str
    needs: frozenset[str]
    emulator_only: str | None
    """Why no real tenant can be asked; None if one can."""
    ask: Ask
    given: tuple[Any, ...] = ()  # Any: values of a table's row

    @property
    def case_id(self) -> str:
        """Name the case in a report: `6.4-identical-repeat`."""
        return f"{self.section}-{self.name}"

    def missing(self, subject: str, able: frozenset[str]) -> str | None:
        """Tell why a subject cannot be asked; None if it can."""
        if self.emulator_only is not None and subject != "emulator":
            return f"only the emulator: {self.emulator_only}"
        lacking = sorted(self.needs - able)
        return f"the {subject} has no {', no '.join(NEEDS[one] for one in lacking)}" if lacking else None


class Table:
    """The cases of one area, in the order they are written."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def case(
        self,
        section: str,
        rule: str,
        *,
        needs: frozenset[str] | set[str] = frozenset(),
        emulator_only: str | None = None,
        rows: dict[str, tuple[Any, ...]] | None = None,  # Any: values of a table's row
    ) -> Callable[[Ask], Ask]:
        """Add the decorated function, `async def name(s, *row)`, as a case, or as one for each of the `rows`."""
        unknown = set(needs) - set(NEEDS)
        if unknown:
            raise ValueError(f"nobody knows the needs {sorted(unknown)}")

        def add(ask: Ask) -> Ask:
            base = ask.__name__.strip("_").replace("_", "-")
            for row, given in (rows or {"": ()}).items():
                name = f"{base}-{row}" if row else base
                self.cases.append(
                    Case(
                        section=section,
                        rule=rule,
                        name=name,
                        needs=frozenset(needs),
                        emulator_only=emulator_only,
                        ask=ask,
                        given=given,
                    )
                )
            return ask

        return add


async def run_case(case: Case, subject: Subject) -> None:
    """Ask a subject; whatever fails says which rule it was."""
    try:
        await case.ask(subject, *case.given)
    except AssertionError as error:
        error.add_note(f"Section {case.section}: {case.rule}.")
        raise
