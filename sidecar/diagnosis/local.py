"""Checks of the machine that the service runs on: configuration, key ring, database, clock. Nothing is changed."""

from __future__ import annotations

from datetime import datetime

from sidecar.aio.clock import Clock
from sidecar.diagnosis.clock_check import judge_clock
from sidecar.diagnosis.results import judged, passed, skipped, warned
from sidecar.errors import SettingsInvalid, SidecarError
from sidecar.graph.time_told import fetch_time
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor
from sidecar.settings import Settings
from sidecar.store.migrate import SCHEMA_VERSION, find_version
from sidecar.store.vault import load_vault

CONFIG_SETTINGS = "config.settings"
CONFIG_KEY_RING = "config.key_ring"
CONFIG_WEBHOOK = "config.webhook_url"
DATABASE = "database"

_SETTINGS_MAX = 10
"""Mistakes that are named; `config check` names all."""


def judge_mistakes(error: SettingsInvalid, *, now: datetime) -> CheckResult:
    """Tell what is wrong with the settings."""
    named = "; ".join(f"{name}: {sentence}" for name, sentence in list(error.details.items())[:_SETTINGS_MAX])
    return judged(
        CONFIG_SETTINGS,
        CheckOutcome.FAILED,
        f"The configuration breaks rules: {named or error.message}",
        reason=error.reason,
        action="Correct the settings; the table in README.md says what each of them means.",
        actor=Actor.OPERATOR,
        now=now,
    )


async def check_machine(settings: Settings, *, clock: Clock) -> list[CheckResult]:
    """Check everything that can be checked without the service."""
    return [
        passed(CONFIG_SETTINGS, "All settings can be read and fit together."),
        check_key_ring(settings, now=clock.now()),
        check_webhook_url(settings, now=clock.now()),
        await check_database(settings, now=clock.now()),
        judge_clock(await fetch_time(settings.graph), now=clock.now()),
    ]


def check_key_ring(settings: Settings, *, now: datetime) -> CheckResult:
    """Check that the key ring that seals credentials can be read."""
    try:
        load_vault(settings.vault.key_ring_file)
    except SidecarError as error:
        why = next(iter(error.details.values()), error.message)
        return judged(
            CONFIG_KEY_RING,
            CheckOutcome.FAILED,
            f"The key ring {settings.vault.key_ring_file} cannot be used: {why}",
            reason="SECRET_UNREADABLE",
            action="Mount the key ring that sealed the credentials; only a new service makes one (vault init).",
            actor=Actor.OPERATOR,
            now=now,
        )
    return passed(CONFIG_KEY_RING, "The key ring can be read.")


def check_webhook_url(settings: Settings, *, now: datetime) -> CheckResult:
    """Check that Microsoft has an address to call."""
    url = settings.webhook.public_url
    if not url:
        return warned(
            CONFIG_WEBHOOK,
            "No webhook address is set: every room is read at intervals, half a minute to some minutes late.",
            reason="WEBHOOK_UNSET",
            action="Set webhook.public_url to an address under which Microsoft reaches this service.",
            actor=Actor.OPERATOR,
            now=now,
        )
    return passed(CONFIG_WEBHOOK, f"Microsoft is told to call {url}.", facts={"url": url})


async def check_database(settings: Settings, *, now: datetime) -> CheckResult:
    """Check that the database answers and has the schema of this version."""
    try:
        version = await find_version(settings.store)
    except SidecarError as error:
        return judged(
            DATABASE,
            CheckOutcome.FAILED,
            f"The database cannot be used: {next(iter(error.details.values()), error.message)}",
            reason=error.reason,
            action="Look at the database, the way to it, and store.path or store.dsn_file.",
            actor=Actor.OPERATOR,
            now=now,
        )
    if version is None:
        return skipped(DATABASE, message="there is no database yet; serve makes one")
    if version > SCHEMA_VERSION:
        return judged(
            DATABASE,
            CheckOutcome.FAILED,
            f"The database has schema {version}, newer than {SCHEMA_VERSION} of this version.",
            reason="STORE_UNAVAILABLE",
            action="Run the newer version: an older one does not start on this database.",
            actor=Actor.OPERATOR,
            now=now,
        )
    if version < SCHEMA_VERSION:
        return warned(
            DATABASE,
            f"The database has schema {version}; this version's is {SCHEMA_VERSION}.",
            reason="SCHEMA_BEHIND",
            action="Start the service of this version, or run migrate; both bring it up to date.",
            actor=Actor.OPERATOR,
            now=now,
        )
    return passed(DATABASE, f"The database answers, and its schema is up to date ({version}).")
