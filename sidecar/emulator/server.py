"""The emulator as a process: Graph and login on one TLS port, the control API on a loopback port.

The certificate authority is made at each start; its certificate, and nothing secret, is written where the caller says.
"""

import asyncio
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import trustme
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sidecar.emulator.asgi import ABORT_KEY
from sidecar.emulator.clock import LoopClock
from sidecar.emulator.control.app import ControlError
from sidecar.emulator.control.first_tenant import ROOMS_COUNT, make_first_tenant
from sidecar.emulator.core import Emulator
from sidecar.emulator.moods import Moods
from sidecar.emulator.notify.sender import HttpxSender, webhook_client

_GRACE_S = 2
_KEEP_ALIVE_S = (
    180  # longer than client libraries keep an idle connection, or they would meet a closed one now and then
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """How to start; the defaults suit a developer's machine."""

    ca_dir: Path
    """Where `ca.pem` is written; made if missing."""
    host: str = "127.0.0.1"
    port: int = 0
    """Of Graph and login, TLS; 0 takes any free one."""
    control_host: str = "127.0.0.1"
    """The control API trusts everybody who reaches it: leave it on loopback unless a container network is the limit."""
    control_port: int = 0
    """Of the control API, plain HTTP; 0 takes any free one."""
    public_host: str | None = None
    """The host in the addresses told to callers; None is the listening one."""
    names: tuple[str, ...] = ()
    """More host names for the certificate, a container's service name for instance."""
    webhook_ca_file: Path | None = None
    """Authority that webhooks' certificates are checked against; None is the usual public ones."""
    calm: bool = False
    """Start in the calm moods."""
    moods: Moods | None = None
    """Overrules calm and unkind."""
    seed: int = 1
    """Of everything random."""
    start_at: datetime | None = None
    """The first present; None is the machine's."""
    state_file: Path | None = None
    """A dumped state to begin with."""
    rooms_count: int = ROOMS_COUNT
    """Rooms of the tenant that is there from the start; 0 makes no tenant."""


def main(config: EmulatorConfig) -> int:
    """Serve until SIGTERM or SIGINT.

    When both ports listen, prints one line of JSON on standard output, the event `emulator.ready`, with every address and
    the credentials of a tenant to begin with.

    Returns:
        0, the exit code of a clean stop.
    Raises:
        SystemExit: it cannot start; the message says why.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))
    return 0


async def _serve(config: EmulatorConfig) -> None:
    with (
        _listen(config.host, config.port) as graph_socket,
        _listen(config.control_host, config.control_port) as control_socket,
    ):
        await _serve_on(config, graph_socket, control_socket)


async def _serve_on(config: EmulatorConfig, graph_socket: socket.socket, control_socket: socket.socket) -> None:
    with _told(f"make certificates in {config.ca_dir}"):
        tls, ca_file = _make_tls(config.host, config.ca_dir, config.names)
    with _told(f"read the authority in {config.webhook_ca_file}"):
        webhooks = webhook_client(config.webhook_ca_file)
    shown = config.public_host or ("127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host)
    graph_url = f"https://{shown}:{graph_socket.getsockname()[1]}"
    async with webhooks as client:
        emulator = Emulator(
            seed=config.seed,
            calm=config.calm,
            moods=config.moods,
            clock=LoopClock(start_at=config.start_at),
            sender=HttpxSender(client),
            graph_url=graph_url,
        )
        graph, control = _Server(emulator.graph_app, tls), _Server(emulator.control_app, None)
        async with emulator.running(), asyncio.TaskGroup() as group:
            if config.state_file is not None:
                _load_state(emulator, config.state_file)
            _stop_on_signals(graph, control)
            group.create_task(graph.serve(sockets=[graph_socket]), name="graph")
            group.create_task(control.serve(sockets=[control_socket]), name="control")
            await graph.listening.wait()
            await control.listening.wait()
            ready = {
                "event": "emulator.ready",
                "graph_url": graph_url,
                "login_url": graph_url,
                "control_url": f"http://{config.control_host}:{control_socket.getsockname()[1]}",
                "ca_file": str(ca_file),
                "seed": config.seed,
                "calm": config.calm,
                "tenant": make_first_tenant(emulator.tenants, rooms_count=config.rooms_count),
            }
            sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
            sys.stdout.flush()


def _load_state(emulator: Emulator, path: Path) -> None:
    """Begin with a dumped state.

    Raises:
        SystemExit: there is none in the file; the message says why.
    """
    try:
        emulator.load_state(msgspec.json.decode(path.read_bytes(), type=dict))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ControlError) as error:
        raise SystemExit(f"cannot begin with the state in {path}: {error}") from None


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which tells when it listens."""

    def __init__(self, app: Any, tls: ssl.SSLContext | None) -> None:  # Any: uvicorn's own types are wider than ASGI's
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                date_header=False,  # the app tells the emulated time
                timeout_graceful_shutdown=_GRACE_S,
                timeout_keep_alive=_KEEP_ALIVE_S,
                ws="none",  # an offer to speak another protocol is ignored, and the request answered
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets=sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once: a TLS client that idles would otherwise be waited for until it says goodbye."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which stops both servers."""
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, letting the app cut a connection for a scripted fault."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope[ABORT_KEY] = self.transport.abort  # type: ignore[literal-required]  # ours, beside ASGI's

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: what uvicorn advises here, a library to install, would not help."""


def _stop_on_signals(*servers: uvicorn.Server) -> None:
    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _told(f"listen on {host} port {port}"):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except BaseException:
            listener.close()
            raise
    return listener


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Let a start that fails end with a sentence: it is the caller's machine or command line, not a fault of ours."""
    try:
        yield
    except (OSError, OverflowError, ValueError) as error:  # of which OverflowError: a port beyond 65535
        raise SystemExit(f"cannot {what}: {error}") from None


def _make_tls(host: str, ca_dir: Path, names: tuple[str, ...]) -> tuple[ssl.SSLContext, Path]:
    authority = trustme.CA()
    ca_dir.mkdir(parents=True, exist_ok=True)
    ca_file = (ca_dir / "ca.pem").resolve()
    authority.cert_pem.write_to_path(ca_file)
    shown = () if host in ("0.0.0.0", "::") else (host,)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*dict.fromkeys(("127.0.0.1", "localhost", *shown, *names))).configure_cert(context)
    return context, ca_file
