"""The ceiling of an import under Graph's limits: the requests of one, all rooms side by side, the answers dropped.

Within a room one request follows the other, as the pages' links demand; nothing else holds it back but Graph.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvloop

from sidecar.graph import wire, wire_directory
from sidecar.graph.logins import build_tls
from sidecar.graph.wire import Call
from sidecar.model.window import Window, horizon_at
from sidecar.settings import GraphSettings, SyncSettings
from tests.bench.lines import Json, announce, answer_lines


async def _handle(job: Json) -> Json:
    settings, sync = GraphSettings(ca_file=Path(job["ca_file"])), SyncSettings()
    window = horizon_at(datetime.now(UTC), past_days=sync.past_days, future_days=sync.future_days)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(verify=build_tls(settings), trust_env=False, timeout=120, limits=limits) as http:
        form = {
            "grant_type": "client_credentials",
            "client_id": job["client_id"],
            "client_secret": job["client_secret"],
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = await http.post(f"{job['url']}/{job['directory']}/oauth2/v2.0/token", data=form)
        token = answer.raise_for_status().json()["access_token"]
        counts: list[int] = []

        async def ask(call: Call) -> bytes:
            url = f"{job['url']}/v1.0{call.path}" if call.path.startswith("/") else call.path
            answer = await http.get(url, headers={"authorization": f"Bearer {token}", "prefer": call.prefer})
            counts.append(answer.status_code)
            return answer.content

        async def read(mailbox: str) -> None:
            await ask(wire_directory.identity_call(mailbox))
            await ask(wire_directory.zone_call(mailbox))
            call: Call | None
            for call in _rounds(mailbox, window, settings.page_size):
                while call is not None:
                    link = wire.parse_page(await ask(call)).next_link
                    call = wire.delta_link_call(link) if link else None

        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for mailbox in job["mailboxes"]:
                group.create_task(read(mailbox))
        return {"wall_s": time.monotonic() - began_s, "requests": len(counts), "refused": counts.count(429)}


def _rounds(mailbox: str, window: Window, page_size: int) -> tuple[Call, ...]:
    return wire.view_call(mailbox, window, page_size=page_size), wire.delta_call(mailbox, window)


async def _main() -> None:
    announce(ready=True)
    await answer_lines(_handle)


if __name__ == "__main__":
    uvloop.run(_main())
