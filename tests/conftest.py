"""What holds for all tests."""

from __future__ import annotations

import asyncio

from hypothesis import settings

# pytest-asyncio asks for the current event loop before it makes its own; unless told that there is none, Python 3.11 makes
# one on the spot, which nobody closes.
asyncio.set_event_loop(None)

# The machine is shared: how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, print_blob=True)
settings.load_profile("shared")
