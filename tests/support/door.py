"""An ingress controller, or a Gateway, in small: passes on what an Ingress or an HTTPRoute lets through, and nothing else.

It speaks plain HTTP on loopback, where the cluster's would end TLS; the host is not looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.support.chart import KubeObject

_TIMEOUT_S = 10.0
_OWN = {"connection", "content-length", "host", "transfer-encoding"}
"""Headers of one connection, which each side writes for itself."""


@contextmanager
def opened(route: KubeObject, backends: Sequence[str]) -> Iterator[str]:
    """Serve while inside; give the base URL.

    Args:
        route: an Ingress or an HTTPRoute with one rule.
        backends: host:port of what it leads to; the first is asked.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if not is_let_through(route, self.path.partition("?")[0]):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            url = f"http://{backends[0]}{self.path}"
            answer = httpx.post(url, content=body, headers=sent, trust_env=False, timeout=_TIMEOUT_S)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *_: object) -> None:  # as the base class names it
            """Write nothing: the service's own log tells what arrived."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def is_let_through(route: KubeObject, path: str) -> bool:
    """Tell whether an Ingress or an HTTPRoute passes a path on."""
    (rule,) = route["spec"]["rules"]
    if route["kind"] == "Ingress":
        matches = [(match["path"], match["pathType"]) for match in rule["http"]["paths"]]
    else:
        matches = [(match["path"]["value"], match["path"]["type"]) for match in rule["matches"]]
    return any(path == wanted or (how != "Exact" and path.startswith(wanted)) for wanted, how in matches)
