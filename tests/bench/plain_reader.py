"""The ceiling of the import: httpx and msgspec, reading the very pages that the service reads, and nothing else.

The requests are the service's own (`$select`, page size, window, headers), at most one at a time for a mailbox.
"""

from __future__ import annotations

import asyncio
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvloop

from sidecar.graph import wire
from sidecar.graph.logins import build_tls
from sidecar.model.window import horizon_at
from sidecar.settings import GraphSettings, SyncSettings
from tests.bench.lines import Json, announce, answer_lines

_MAILBOXES = 16
"""As many as the service reads at once for one tenant."""


async def _handle(job: Json) -> Json:
    settings, sync = GraphSettings(ca_file=Path(job["ca_file"])), SyncSettings()
    window = horizon_at(datetime.now(UTC), past_days=sync.past_days, future_days=sync.future_days)
    async with httpx.AsyncClient(verify=build_tls(settings), trust_env=False, timeout=60) as http:
        form = {
            "grant_type": "client_credentials",
            "client_id": job["client_id"],
            "client_secret": job["client_secret"],
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = await http.post(f"{job['url']}/{job['directory']}/oauth2/v2.0/token", data=form)
        headers = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}", "prefer": wire.PREFER}
        places = asyncio.Semaphore(_MAILBOXES)
        counts: list[int] = []

        async def read(mailbox: str) -> None:
            async with places:
                call = wire.view_call(mailbox, window, page_size=settings.page_size)
                link: str | None = f"{job['url']}/v1.0{call.path}"
                while link:
                    page = wire.parse_page((await http.get(link, headers=headers)).raise_for_status().content)
                    counts.append(len(page.value))
                    link = page.next_link

        began_s, before_s = time.monotonic(), _cpu_s()
        async with asyncio.TaskGroup() as group:
            for mailbox in job["mailboxes"]:
                group.create_task(read(mailbox))
        return {"cpu_s": _cpu_s() - before_s, "wall_s": time.monotonic() - began_s, "events": sum(counts)}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _main() -> None:
    announce(ready=True)
    await answer_lines(_handle)


if __name__ == "__main__":
    uvloop.run(_main())
