"""What every answer of Graph has around its content: error JSON, ids, headers, compression.

Source: Graph "Microsoft Graph error responses and resource types" page; headers as clients have recorded them.
"""

import gzip
from email.utils import format_datetime

import msgspec

from sidecar.emulator.asgi import Reply, Request
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import CONTENT_TYPE

_SERVER = '"DataCenter":"West Europe","Slice":"E","Ring":"5","ScaleUnit":"002","RoleInstance":"AM2PEPF00000000"'
_DIAGNOSTIC = f'{{"ServerInfo":{{{_SERVER}}}}}'
_GZIP_LEVEL = 1


class Envelope:
    """Puts answers into what they travel in."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._date = (0, "")

    def error(self, request: Request, error: GraphError) -> Reply:
        """Write a refusal."""
        request_id = self._world.ids.guid()
        inner = {
            "date": self._world.now().strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": request.header("client-request-id") or request_id,
        }
        body = {"error": {"code": error.code, "message": error.message, **error.extra, "innerError": inner}}
        headers = {"content-type": CONTENT_TYPE, "request-id": request_id, **error.headers}
        return Reply(status=error.status, body=msgspec.json.encode(body), headers=headers)

    def finish(self, request: Request, reply: Reply, *, is_graph: bool) -> None:
        """Add the headers that every answer has."""
        headers = reply.headers
        headers["date"] = self._http_date()
        if is_graph:
            request_id = headers.setdefault("request-id", self._world.ids.guid())
            headers["client-request-id"] = request.header("client-request-id") or request_id
            headers.setdefault("strict-transport-security", "max-age=31536000")
            headers.setdefault("x-ms-ags-diagnostic", _DIAGNOSTIC)
            headers.setdefault("odata-version", "4.0")

    def compress(self, request: Request, reply: Reply, tenant: Tenant | None) -> None:
        """Compress a body that is long enough, for a client that takes it so."""
        bytes_min = self._world.moods_of(tenant).gzip_bytes_min
        if not 0 < bytes_min <= len(reply.body):
            return
        reply.headers["vary"] = "Accept-Encoding"
        if _accepts_gzip(request.header("accept-encoding")):
            reply.body = gzip.compress(reply.body, compresslevel=_GZIP_LEVEL, mtime=0)
            reply.headers["content-encoding"] = "gzip"

    def _http_date(self) -> str:
        now = self._world.now()
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = (second, format_datetime(now.replace(microsecond=0), usegmt=True))
        return self._date[1]


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
