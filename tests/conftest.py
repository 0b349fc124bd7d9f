"""What holds for all tests."""

from __future__ import annotations

import asyncio

# pytest-asyncio asks for the current event loop before it makes its own; unless told that there is none, Python 3.11 makes
# one on the spot, which nobody closes.
asyncio.set_event_loop(None)
