"""What may be changed while the service runs: the level of its log, in its file; and what SIGHUP says of the rest."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually

pytestmark = pytest.mark.e2e


async def test_level_of_the_log_follows_its_file_and_the_rest_waits_for_a_restart(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    """No restart, no signal for the level; a signal ends nothing, and a broken file changes nothing."""
    folder = tmp_path_factory.mktemp("s")
    file = folder / "settings.yaml"
    file.write_text("log: {level: warning}\n")
    service = Service(folder, emulator, CONFIG_FILE=str(file))

    def told(event: str) -> list[dict[str, object]]:
        return [line for line in service.log_lines() if line["event"] == event]

    async def said(event: str, count: int) -> dict[str, object]:
        async def is_said() -> bool:
            return len(await asyncio.to_thread(told, event)) >= count

        await eventually(is_said, f"{event} {count} times", service=service)
        return (await asyncio.to_thread(told, event))[count - 1]

    try:
        await asyncio.to_thread(service.start)
        assert told("service.ready") == []
        file.write_text("log: {level: info}\n")
        first = await said("settings.reloaded", 1)
        assert (first["least_level"], first["waiting_for_restart"]) == ("info", [])
        file.write_text("log: {level: info}\nsync: {past_day: 3}\n")
        os.kill(service.process.pid, signal.SIGHUP)
        assert "did you mean sync.past_days?" in str((await said("settings.unusable", 1))["sync_past_day"])
        file.write_text("log: {level: info}\nsync: {past_days: 3}\n")
        os.kill(service.process.pid, signal.SIGHUP)
        assert (await said("settings.reloaded", 2))["waiting_for_restart"] == ["sync.past_days"]
        assert await asyncio.to_thread(service.stop) == 0
        assert told("service.stopped") != []
    finally:
        await asyncio.to_thread(service.close)
