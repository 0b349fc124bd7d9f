"""What time Microsoft says it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from sidecar.graph.clouds import endpoints_of
from sidecar.graph.logins import build_tls
from sidecar.model.tenant import Cloud
from sidecar.settings import GraphSettings

_PATIENCE_S = 5.0
_PATH = "/common/v2.0/.well-known/openid-configuration"
"""Public, small, and there in every cloud; any answer has a Date, an error too."""


async def fetch_time(settings: GraphSettings, cloud: Cloud = Cloud.GLOBAL) -> datetime | None:
    """Return the Date of an answer of Microsoft's login service; None when there is none."""
    url = endpoints_of(cloud, settings).login_url + _PATH
    try:
        async with (
            asyncio.timeout(_PATIENCE_S),
            httpx.AsyncClient(verify=build_tls(settings), trust_env=False, follow_redirects=False) as http,
        ):
            told = parsedate_to_datetime((await http.get(url)).headers.get("date", ""))
    except (httpx.HTTPError, TimeoutError, ValueError):
        return None
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)
