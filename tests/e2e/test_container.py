"""The Dockerfile and the wheels it installs: what may be in the image, and what must not.

The image itself is built and run in test_image.py, where that is possible.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
OWN_SOURCES = {"LICENSE", "README.md", "pyproject.toml", "clients/python", "sidecar"}
LOCKS = {"requirements.lock", "requirements-dev.lock"}

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction of a Dockerfile, its continuation lines joined, with the number of its stage."""

    stage: int
    word: str
    rest: str


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """The Dockerfile, comments left out; stage 0 is what stands before the first FROM."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    found: list[Instruction] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            stage = (found[-1].stage if found else 0) + (word == "FROM")
            found.append(Instruction(stage=stage, word=word, rest=rest.strip()))
    return found


def final(instructions: list[Instruction], word: str) -> list[str]:
    """Return what the instructions of one kind in the last stage say."""
    return [i.rest for i in instructions if i.stage == instructions[-1].stage and i.word == word]


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it says."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120
    )


def test_hadolint_finds_nothing() -> None:
    result = run(Path(sys.executable).with_name("hadolint"), "--no-color", DOCKERFILE)
    assert result.returncode == 0, result.stdout + result.stderr


def test_bases_have_a_tag_and_take_a_digest(instructions: list[Instruction]) -> None:
    bases = {i.rest.split(" AS ")[0] for i in instructions if i.word == "FROM"}
    assert bases == {"python:3.13-slim-trixie${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"}
    assert [i.rest for i in instructions if i.stage == 0] == ['PYTHON_DIGEST=""']


def test_only_named_sources_enter_the_build(instructions: list[Instruction]) -> None:
    copied = {
        source
        for i in instructions
        if i.word == "COPY" and not i.rest.startswith("--from=")
        for source in i.rest.split()[:-1]
    }
    assert copied == OWN_SOURCES | LOCKS
    assert all((ROOT / source).exists() for source in copied)
    assert not [i for i in instructions if i.word == "ADD"]


def test_result_holds_only_the_environment(instructions: list[Instruction]) -> None:
    assert final(instructions, "COPY") == ["--from=build /opt/exchange /opt/exchange"]
    commands = [part.strip() for run in final(instructions, "RUN") for part in run.split("&&")]
    assert [command for command in commands if re.search(r"\b(pip|apt|apt-get|curl|gcc)\b", command)] == [
        "python -B -m pip uninstall --quiet --yes --root-user-action=ignore pip"
    ]


def test_no_secret_is_asked_for(instructions: list[Instruction]) -> None:
    for instruction in instructions:
        assert not re.search("SECRET|PASSWORD|TOKEN|KEY|type=secret", instruction.rest), instruction


def test_everything_foreign_is_checked_against_a_lock(instructions: list[Instruction]) -> None:
    pips = [
        part for i in instructions if i.word == "RUN" for part in i.rest.split("&&") if re.search(r"-m pip\b", part)
    ]
    assert len(pips) == 6
    for pip in pips:
        assert (
            ("--require-hashes" in pip and "--only-binary :all:" in pip)
            or "--no-index --no-deps" in pip
            or "--no-deps --no-index" in pip
            or "pip uninstall" in pip
            or pip.rstrip().endswith(" check")
        )


def test_tools_of_the_build_are_locked_with_all_they_need(instructions: list[Instruction]) -> None:
    (program,) = [m[1] for i in instructions if (m := re.search(r"(awk .*?requirements-dev\.lock)", i.rest))]
    chosen = run("sh", "-c", program).stdout
    names = set(re.findall(r"^([a-z0-9-]+)==", chosen, flags=re.MULTILINE))
    assert names == needed_by("hatchling") | needed_by("cyclonedx-bom")
    assert chosen.count("--hash=sha256:") >= len(names)


def test_process_is_nobody_in_particular(instructions: list[Instruction]) -> None:
    assert final(instructions, "USER") == ["65532:65532"]
    assert final(instructions, "ENTRYPOINT") == ['["exchange-sidecar"]']
    assert final(instructions, "CMD") == ['["serve"]']


def test_volumes_and_ports_are_those_of_the_chart(instructions: list[Instruction]) -> None:
    chart = ROOT / "helm" / "exchange-sidecar"
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    golden = (chart / "ci" / "default-golden.yaml").read_text(encoding="utf-8")
    pod = next(o for o in yaml.safe_load_all(golden) if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    written = {m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if not m.get("readOnly")}
    assert set(json.loads(final(instructions, "VOLUME")[0])) == written
    ports = {str(values[group]["port"]) for group in ("grpc", "webhook", "probes")}
    assert set(final(instructions, "EXPOSE")[0].split()) == ports


def test_labels_come_from_arguments(instructions: list[Instruction]) -> None:
    (labels,) = final(instructions, "LABEL")
    for argument in ("VERSION", "REVISION", "CREATED", "SOURCE"):
        assert f'org.opencontainers.image.{argument.lower()}="${{{argument}}}"' in labels


def test_version_of_the_image_is_that_of_the_package(instructions: list[Instruction]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    told = [i.rest for i in instructions if i.word == "ARG" and i.rest.startswith("VERSION=")]
    assert told == [f'VERSION="{version}"'] * 2  # each stage has its own arguments


def test_health_check_is_our_own_probe(instructions: list[Instruction]) -> None:
    command = json.loads(final(instructions, "HEALTHCHECK")[0].partition(" CMD ")[2])
    assert command == ["exchange-sidecar", "probe", "ready"]


def test_docker_context_is_a_list_of_what_may_enter() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    client = {f"clients/python/{name}" for name in ("README.md", "pyproject.toml", "exchange_client")}
    assert admitted == (OWN_SOURCES | LOCKS | client) - {"clients/python"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, zipfile.ZipFile]]:
    """Both wheels, built from the working tree as the Dockerfile builds them."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "clients" / "python"):
        result = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
        assert result.returncode == 0, result.stderr
    opened = {path.name.partition("-")[0]: zipfile.ZipFile(path) for path in folder.iterdir()}
    yield opened
    for wheel in opened.values():
        wheel.close()


def test_wheels_hold_their_package_and_nothing_else(wheels: dict[str, zipfile.ZipFile]) -> None:
    tops = {name: {entry.partition("/")[0] for entry in wheel.namelist()} for name, wheel in wheels.items()}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert tops == {
        "exchange_sidecar": {"sidecar", f"exchange_sidecar-{version}.dist-info"},
        "exchange_sidecar_client": {"exchange_client", f"exchange_sidecar_client-{version}.dist-info"},
    }
    for wheel in wheels.values():
        unwanted = r"(^|/)(tests?|conftest\.py|test_[^/]*|__pycache__|\.env[^/]*)(/|$)|\.(pyc|sqlite3.*)$"
        assert not [entry for entry in wheel.namelist() if re.search(unwanted, entry)]


def test_wheels_hold_the_generated_code(wheels: dict[str, zipfile.ZipFile]) -> None:
    protos = [path.relative_to(ROOT / "protos").with_suffix("") for path in (ROOT / "protos").rglob("*.proto")]
    assert protos
    for name, package in (("exchange_sidecar", "sidecar/gen"), ("exchange_sidecar_client", "exchange_client/gen")):
        generated = {f"{package}/{proto.as_posix()}{kind}.py" for proto in protos for kind in ("_pb2", "_pb2_grpc")}
        assert generated <= set(wheels[name].namelist())
        assert f"{package.partition('/')[0]}/py.typed" in wheels[name].namelist()


def test_service_wheel_holds_the_migrations(wheels: dict[str, zipfile.ZipFile]) -> None:
    folder = ROOT / "sidecar" / "store" / "migrations"
    if not folder.exists():
        pytest.skip("there are no migrations yet")
    scripts = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.suffix in {".py", ".mako"}}
    assert scripts <= set(wheels["exchange_sidecar"].namelist())


def needed_by(distribution: str) -> set[str]:
    """Return a distribution and all it needs on this Python, extras left out, under the names that lock files use."""
    names = {re.sub(r"[-_.]+", "-", distribution).lower()}
    for line in requires(distribution) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names |= needed_by(requirement.name)
    return names
