"""A watcher as a process of its own, to be killed: keeps its mirror in a file, its token in a token store beside it.

python -m tests.e2e.watcher_process TARGET TENANT FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exchange_client import ExchangeClient, FileTokenStore, RoomMirror
from exchange_client.tokens import replace_file


async def follow(target: str, tenant: str, folder: Path) -> None:
    """Save the mirror before coming back for the next message: only then the token is taken over."""
    saved = folder / "mirror"
    mirror = RoomMirror.load(saved.read_bytes()) if saved.exists() else RoomMirror()
    async with (
        ExchangeClient.connect(target) as client,
        client.watch_rooms(tenant, token_store=FileTokenStore(folder / "tokens"), heartbeat_s=5) as watch,
    ):
        async for message in watch:
            mirror.apply(message)
            replace_file(saved, mirror.save())


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
