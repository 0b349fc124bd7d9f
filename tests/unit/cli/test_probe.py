"""The health check: what it asks, what it says, and that it stays quick."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sidecar.cli import probe
from sidecar.settings import ProbesSettings


@contextmanager
def answering(status: int, text: str) -> Iterator[tuple[str, list[str]]]:
    """Give the address of somebody who answers one request, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = 10.0
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"0.0.0.0:{server.server_port}", asked
        thread.join()


@pytest.mark.parametrize(("what", "path"), [("live", "/livez"), ("ready", "/readyz"), ("started", "/startupz")])
def test_good_answer_is_exit_code_0_without_a_word(what: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, "ok\n") as (listen, asked):
        assert probe.main([what, "--listen", listen]) == 0
    assert asked == [path]
    assert capsys.readouterr() == ("", "")


def test_refusal_is_exit_code_1_with_the_services_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, "starting or draining\n") as (listen, _):
        assert probe.main(["ready", "--listen", listen]) == 1
    assert capsys.readouterr().err == "not ready: starting or draining (HTTP 503)\n"


def test_endless_answer_is_read_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, "x" * 100_000) as (listen, _):
        assert probe.main(["ready", "--listen", listen]) == 1
    assert len(capsys.readouterr().err) < 1_100


def test_nobody_there_is_exit_code_1_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert probe.main(["live", "--listen", f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err.startswith(f"not live: nothing answers at 127.0.0.1:{port}: ")


def test_address_comes_from_the_services_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "ok\n") as (listen, asked):
        monkeypatch.setenv("EXCHANGE_PROBES__LISTEN", listen)
        assert probe.main(["ready"]) == 0
    assert asked == ["/readyz"]


@pytest.mark.parametrize(
    ("listen", "called"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("[::]:9464", ("::1", 9464)),
        ("[fd00::1]:1", ("fd00::1", 1)),
        ("pod.example:65535", ("pod.example", 65_535)),
    ],
)
def test_address_to_listen_on_becomes_one_to_call(listen: str, called: tuple[str, int]) -> None:
    assert probe.where(listen) == called


@pytest.mark.parametrize("listen", ["", "9464", "host", "host:", "host:0", "host:65536", "host:-1", "host:²"])
def test_address_that_is_none_is_a_mistake_of_the_command_line(listen: str) -> None:
    with pytest.raises(SystemExit) as ended:
        probe.main(["ready", "--listen", listen])
    assert ended.value.code == 2


def test_default_address_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, int]] = []
    monkeypatch.delenv("EXCHANGE_PROBES__LISTEN", raising=False)
    monkeypatch.setattr(probe, "ask", lambda host, port, _: called.append((host, port)))
    assert probe.main(["ready"]) == 0
    assert called == [probe.where(ProbesSettings().listen)]


def test_probe_is_run_without_the_rest_of_the_command_line() -> None:
    program = (
        "import sys; sys.argv[1:] = ['probe', 'ready', '--listen', '127.0.0.1:1']\n"
        "from sidecar.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('sidecar')))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    code, foreign, own = ran.stdout.splitlines()
    assert code == "1"
    before = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sorted({n.partition('.')[0] for n in sys.modules}))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(foreign.split()) - set(before.stdout.split()) == {"sidecar"}
    assert own.split() == ["sidecar", "sidecar.__main__", "sidecar.cli", "sidecar.cli.probe"]
