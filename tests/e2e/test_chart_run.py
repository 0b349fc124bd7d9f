"""What the chart renders, run: its pods start, find each other, let the right callers in, and stop in time.

The steps are those of `helm/README.md`, with processes of this machine in the place of a cluster's pods.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from sidecar.emulator.fixture import RunningEmulator
from sidecar.store.key_ring import create_key_ring
from tests.support import chart, door, kubelet, postgres
from tests.support.callers import entry, make_token
from tests.support.chart import KubeObject
from tests.support.kubelet import Pod, PodFailed
from tests.support.processes import free_port, run_cli
from tests.support.scene import tomorrow, wall

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("chart_run"),  # they share a release of three processes
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]

OPERATOR = ["tenants.read", "tenants.admin", "rooms.read", "rooms.admin", "bookings.read"]
WORD = "a-word-before-the-paths"
_DEADLINE_S = 30.0
_NO_DATABASE: Mapping[str, str] = {}


class Release:
    """An installed release: its objects, its secrets, its pods, and who may call it."""

    def __init__(self, case: str, folder: Path, emulator: RunningEmulator, database: Mapping[str, str]) -> None:
        create_key_ring(folder / "keyring.json")
        self.objects = chart.render_objects(case)
        self.folder = folder
        self.authority = trustme.CA()
        self.secrets: dict[str, Mapping[str, str]] = {
            "exchange-key-ring": {"keyring.json": (folder / "keyring.json").read_text()},
            "exchange-tls": self.certificate("demo-exchange-sidecar-grpc"),
            "exchange-callers": {"callers.yaml": ""},
            "exchange-postgres": database,
            "exchange-path": {"words": f"{WORD}\n"},
        }
        self.let_in(ops=OPERATOR)
        (folder / "ca.crt").write_bytes(self.authority.cert_pem.bytes())
        self.moved = {
            "EXCHANGE_GRAPH__LOGIN_URL": emulator.text("login_url"),
            "EXCHANGE_GRAPH__GRAPH_URL": emulator.text("graph_url"),
            "EXCHANGE_GRAPH__CA_FILE": emulator.text("ca_file"),
            "EXCHANGE_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",  # nobody is there, which harms nothing
            "EXCHANGE_SYNC__SETTLE_S": "0.2",
        }
        self.pods = kubelet.pods_to_run(self.objects, folder, self.secrets, self.moved)
        self.webhooks = kubelet.endpoints(chart.only(self.objects, "Service", "-webhook"), self.pods)
        (self.door,) = [o for o in self.objects if o["kind"] in {"Ingress", "HTTPRoute"}]

    def certificate(self, name: str) -> dict[str, str]:
        """Make a TLS secret as cert-manager does, with the authority beside the certificate."""
        made = self.authority.issue_cert(name)
        return {
            "tls.crt": "".join(part.bytes().decode() for part in made.cert_chain_pems),
            "tls.key": made.private_key_pem.bytes().decode(),
            "ca.crt": self.authority.cert_pem.bytes().decode(),
        }

    def let_in(self, **scopes: list[str]) -> None:
        """Make a token for each caller, and a callers file of all of them and no other."""
        tokens = {caller: make_token() for caller in scopes}
        entries = [entry(caller, tokens[caller], scopes=wanted) for caller, wanted in scopes.items()]
        self.secrets["exchange-callers"] = {"callers.yaml": json.dumps({"callers": entries})}
        for caller, token in tokens.items():
            (self.folder / caller).write_text(token)

    @property
    def target(self) -> str:
        """Where the gRPC Service leads to."""
        (target,) = kubelet.endpoints(chart.only(self.objects, "Service", "-grpc"), self.pods)
        return target

    def run(self, *arguments: str, caller: str = "ops", stdin: str = "") -> CompletedProcess[str]:
        """Run a command as a caller of the Service does."""
        options = ["--ca", str(self.folder / "ca.crt"), "--token-file", str(self.folder / caller)]
        name = ["--server-name", "demo-exchange-sidecar-grpc"]
        return run_cli(*options, *name, *arguments, stdin=stdin, env={"EXCHANGE_TARGET": self.target})

    def until(self, wanted: str, *arguments: str) -> None:
        """Repeat a command until its output holds a text."""
        ends_s = time.monotonic() + _DEADLINE_S
        while wanted not in (said := self.run(*arguments)).stdout:
            assert time.monotonic() < ends_s, f"{wanted} did not come: {said.stdout} {said.stderr} {self.logs()}"

    def test_pod(self) -> CompletedProcess[str]:
        """Run the pod of `helm test`; the name of the Service is put in its place, as the cluster's DNS does it."""
        manifest = chart.only(self.objects, "Pod", "-test")
        moved = {"EXCHANGE_TARGET": self.target}
        pod = Pod("test", manifest, Path(tempfile.mkdtemp(dir=self.folder)), self.secrets, moved)
        pod.mount()
        return pod.run(pod.container)

    def logs(self) -> str:
        """The ends of all pods' logs."""
        return "\n".join(f"{pod.name}:\n{pod.log()}" for pod in self.pods)


@contextmanager
def released(case: str, emulator: RunningEmulator, database: Mapping[str, str] = _NO_DATABASE) -> Iterator[Release]:
    """Install a case and run it; a short folder, for the sake of the Unix socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="pods-"))
    pods: list[Pod] = []
    try:
        release = Release(case, folder, emulator, database)
        pods = release.pods
        with door.opened(release.door, release.webhooks) as public_url:
            release.moved["EXCHANGE_WEBHOOK__PUBLIC_URL"] = public_url
            kubelet.start_all(pods)
            yield release
            assert {pod.stop() for pod in pods} == {0}, "a pod did not end in good order within its grace"
    finally:
        for pod in pods:
            pod.stop()
        shutil.rmtree(folder)


class Company:
    """A directory of the emulator, registered and mapped at a release with commands alone."""

    def __init__(self, release: Release, http: httpx.Client) -> None:
        self._http = http
        self.made = self.post("/control/tenants", {})
        self.id = self.made["tenant_id"]
        self.tenant = f"t-{self.id[:8]}"
        (room,) = self.post(f"/control/tenants/{self.id}/rooms", {"count": 1})["rooms"]
        self.room = room["address"]
        (person,) = self.post(f"/control/tenants/{self.id}/users", {"count": 1})["users"]
        self.person = person["address"]
        ids = ["--directory-id", self.id, "--application-id", self.made["client_id"]]
        secret = self.made["client_secret"]
        done = release.run("tenant", "register", self.tenant, *ids, "--secret-file", "-", stdin=f"{secret}\n")
        assert done.returncode == 0, done.stderr
        mapped = release.run("room", "map", f"{self.tenant}/r1", self.room)
        assert mapped.returncode == 0, mapped.stderr

    def post(self, path: str, body: dict[str, object]) -> Any:  # Any: JSON
        """Call the emulator's control API."""
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def book(self, start_at: datetime) -> None:
        """Book the room in Outlook for an hour."""
        times = {"start": wall(start_at), "end": wall(start_at + timedelta(hours=1))}
        booking = {"organizer": self.person, "rooms": [self.room], "subject": "Plans", **times}
        self.post(f"/control/tenants/{self.id}/outlook/book", booking)

    def told_urls(self) -> set[str]:
        """The addresses at which Microsoft was told to call."""
        found = self._http.get(f"/control/tenants/{self.id}/subscriptions").json()["subscriptions"]
        return {one[kind] for one in found for kind in ("notificationUrl", "lifecycleNotificationUrl")}

    def deliveries(self) -> list[dict[str, Any]]:  # Any: JSON
        """What was sent there."""
        return list(self._http.get(f"/control/tenants/{self.id}/deliveries").json()["deliveries"])


@pytest.fixture(scope="module")
def split(emulator: RunningEmulator) -> Iterator[Release]:
    """A release with pods of their own for each role, on a PostgreSQL."""
    with database_over_tls() as database, released("split", emulator, database) as release:
        yield release


@contextmanager
def database_over_tls() -> Iterator[dict[str, str]]:
    """Run a PostgreSQL with a certificate of a private authority; give the secret that an operator makes for it."""
    authority, port = trustme.CA(), free_port()
    server = postgres.Server(ssl="on", listen_addresses="127.0.0.1", port=str(port))
    try:
        made, owner = authority.issue_cert("127.0.0.1"), server.folder.stat()
        for name, pem in (("server.crt", made.cert_chain_pems[0]), ("server.key", made.private_key_pem)):
            file = server.folder / "data" / name
            file.write_bytes(pem.bytes())
            file.chmod(0o600)
            os.chown(file, owner.st_uid, owner.st_gid)
        server.start()
        yield {
            "dsn": f"postgresql://exchange@127.0.0.1:{port}/postgres?sslmode=verify-full",
            "postgres-ca.crt": authority.cert_pem.bytes().decode(),
        }
    finally:
        server.close()


@pytest.fixture
def control(emulator: RunningEmulator) -> Iterator[httpx.Client]:
    """The emulator's control API."""
    with httpx.Client(base_url=emulator.text("control_url"), trust_env=False, timeout=30.0) as http:
        yield http


def test_split_pods_bring_a_booking_from_outlook_to_a_caller(split: Release, control: httpx.Client) -> None:
    """Through every part of the release: Service, lock, worker, door, the word before the path, and the database."""
    company = Company(split, control)
    split.until("live", "room", "list", company.tenant)
    company.book(tomorrow())
    split.until("confirmed", "booking", "list", f"{company.tenant}/r1")
    urls = company.told_urls()
    assert {urlsplit(url).path for url in urls} == {f"/{WORD}/graph/notifications", f"/{WORD}/graph/lifecycle"}
    assert company.deliveries(), "the booking came by a notification"
    bare = f"http://{split.webhooks[0]}/graph/notifications"
    assert httpx.post(bare, trust_env=False).status_code == 404, "without the word"


def test_helm_test_passes_on_a_release_that_serves(split: Release) -> None:
    done = split.test_pod()
    assert (done.returncode, "serves" in done.stdout) == (0, True), done.stderr


def test_replaced_callers_secret_is_followed_without_a_restart(split: Release) -> None:
    """Why no checksum of a secret is on the pods: it would restart them, and end every watch, for nothing."""
    (api,) = [pod for pod in split.pods if pod.name.endswith("-api")]
    assert api.process is not None
    split.let_in(ops=OPERATOR, late=["tenants.read"])
    refused = split.run("tenant", "list", caller="late")
    assert (refused.returncode, "CALLER_REJECTED" in refused.stderr) == (1, True)
    api.mount(split.secrets)
    assert split.run("tenant", "list", caller="late").returncode == 0
    assert api.process.poll() is None


def test_operator_inside_the_api_pod_needs_no_token(split: Release) -> None:
    (api,) = [pod for pod in split.pods if pod.name.endswith("-api")]
    done = run_cli("doctor", env=api.env(api.container))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout, done.stdout


@pytest.mark.parametrize("pod", ["api", "worker", "ingress"])
def test_split_pods_answer_their_probes(split: Release, pod: str) -> None:
    (found,) = [one for one in split.pods if one.name.endswith(pod)]
    assert [found.probe(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe")] == [True] * 3


def test_single_pod_serves_and_ends_within_its_grace(emulator: RunningEmulator, control: httpx.Client) -> None:
    """With SQLite; what it keeps is in the volume that a claim would be."""
    with released("default", emulator) as release:
        (pod,) = release.pods
        company = Company(release, control)
        release.until("live", "room", "list", company.tenant)
        paths = {urlsplit(url).path for url in company.told_urls()}
        assert paths == {"/graph/notifications", "/graph/lifecycle"}
        assert release.test_pod().returncode == 0
        assert pod.stop() == 0
        assert release.run("ping").returncode == 3, "nobody is there any more"
        assert (pod.folder / "v" / "store" / "exchange.sqlite3").exists()


@pytest.mark.parametrize(("secret", "key"), [("exchange-path", "words"), ("exchange-tls", "tls.key")])
def test_missing_key_of_a_secret_keeps_the_pod_from_starting(tmp_path: Path, secret: str, key: str) -> None:
    """Kubernetes waits for it; so does everything that is run here, or the tests above would prove little."""
    objects = chart.render_objects("split")
    volumes: Sequence[KubeObject] = [v for o in chart.pods_of(objects) for v in o["volumes"] if "secret" in v]
    every = {v["secret"]["secretName"]: {i["key"]: "x" for i in v["secret"]["items"]} for v in volumes}
    del every[secret][key]
    (pod, *_) = kubelet.pods_to_run(objects, tmp_path, every, {})
    with pytest.raises(PodFailed, match=f"no key {key} in secret {secret}"):
        pod.mount()
