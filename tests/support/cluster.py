"""Several services on one database, behind one webhook address and one gRPC address, as behind load balancers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, free_port

ALL_ROLES = "api,worker,ingress"


class Balancer:
    """One address for several services: each connection goes to the first of `ports` that takes it."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Pass connections on while inside."""
        server = await asyncio.start_server(self._take, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()
            passing = list(self._open.values())
            for writer in list(self._open):
                writer.close()
            await asyncio.gather(*passing)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.create_task(self._pass_on(reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in self.ports:
            with suppress(OSError):
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
                break
        writer.close()
        del self._open[writer]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Cluster:
    """Services that share a database, a key ring and an address. Made by `cluster_made`, which also ends them."""

    def __init__(
        self, make_folder: Callable[[str], Path], dsn_file: Path, emulator: RunningEmulator, settings: dict[str, str]
    ) -> None:
        self._make_folder = make_folder
        self._emulator = emulator
        self._webhook_port, self._grpc_port = free_port(), free_port()
        self._settings = settings | {
            "STORE__DSN_FILE": str(dsn_file),
            "WEBHOOK__PUBLIC_URL": f"http://127.0.0.1:{self._webhook_port}",
        }
        self.webhooks, self.grpc = Balancer(), Balancer()
        self.services: list[Service] = []

    @property
    def target(self) -> str:
        """The gRPC address of whichever serves."""
        return f"127.0.0.1:{self._grpc_port}"

    def add(self, roles: str = ALL_ROLES, **settings: str) -> Service:
        """Prepare one more service, the first that the balancers ask; it is not started yet."""
        service = Service(self._make_folder("s"), self._emulator, **(self._settings | {"ROLES": roles} | settings))
        if self.services:  # secrets that one has sealed are opened by the others
            first = self.services[0].env["EXCHANGE_VAULT__KEY_RING_FILE"]
            service.env["EXCHANGE_VAULT__KEY_RING_FILE"] = first
        self.services.append(service)
        if "ingress" in roles:
            self.webhooks.ports.insert(0, port_of(service.env["EXCHANGE_WEBHOOK__LISTEN"]))
        if "api" in roles:
            self.grpc.ports.insert(0, port_of(service.target))
        return service

    async def start(self, *services: Service) -> None:
        """Start services, all at once."""
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(asyncio.to_thread(service.start))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Pass connections on while inside, and end all services afterwards."""
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.webhooks.listening(self._webhook_port))
                await stack.enter_async_context(self.grpc.listening(self._grpc_port))
                yield
        finally:
            for service in self.services:
                service.close()


@asynccontextmanager
async def cluster_made(
    make_folder: Callable[[str], Path], dsn_file: Path, emulator: RunningEmulator, **settings: str
) -> AsyncIterator[Cluster]:
    """Give a cluster without a service in it; `settings` are those of all its services."""
    cluster = Cluster(make_folder, dsn_file, emulator, settings)
    async with cluster.open():
        yield cluster


def port_of(address: str) -> int:
    """Return the port of host:port."""
    return int(address.rpartition(":")[2])
