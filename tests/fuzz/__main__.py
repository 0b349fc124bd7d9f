"""Fuzz for as long as one likes: `python -m tests.fuzz --minutes 10`, `--target events`, or as `make fuzz MINUTES=10`.

With atheris, which is fetched on demand (`.ci/fuzz`), inputs are led by what they reach in the code; without it, and with
`--plain`, seeds are changed at random. What misbehaves is written into the corpus, where each test run tries it again.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz.mutating import mutate
from tests.fuzz.target import CORPUS, INPUT_BYTES_MAX, Misbehaved, Target

_FOUND_MAX = 5
"""Of one target in one run; more are mostly the same."""


def main() -> None:
    """Run all targets, or one; the exit code is 1 when something misbehaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="together, shared equally")
    parser.add_argument("--target", default="", help="only this one")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="chooses again alike")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:  # atheris ends its process, so each target has one of its own
        _follow_coverage(options.target, seed=options.seed, duration_s=options.minutes * 60)
        return
    from tests.fuzz.targets import TARGETS

    chosen = [target for target in TARGETS if options.target in ("", target.name)]
    if not chosen:
        parser.error(f"no such target; there are {', '.join(target.name for target in TARGETS)}")
    print(f"seed {options.seed}")
    duration_s = options.minutes * 60 / len(chosen)
    is_led = not options.plain and _has_atheris()
    found_count = 0
    for target in chosen:
        run = _run_alone if is_led else _run_plainly
        found_count += run(target, seed=options.seed, duration_s=duration_s)
    sys.exit(1 if found_count else 0)


def _has_atheris() -> bool:
    return subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode == 0


def _run_plainly(target: Target, *, seed: int, duration_s: float) -> int:
    """Change seeds at random until the time is over; return how many inputs misbehaved."""
    rng, corpus, found_count, inputs_count = Random(seed), target.corpus(), 0, 0
    ends_s = time.monotonic() + duration_s
    while time.monotonic() < ends_s and found_count < _FOUND_MAX:
        data = mutate(rng.choice(corpus), rng)
        inputs_count += 1
        try:
            target.try_input(data)
        except Misbehaved as error:
            found_count += 1
            _keep(target, data, error)
    print(f"{target.name}: {inputs_count} inputs, {found_count} misbehaved", flush=True)
    return found_count


def _run_alone(target: Target, *, seed: int, duration_s: float) -> int:
    arguments = ["--alone", "--target", target.name, "--seed", str(seed), "--minutes", str(duration_s / 60)]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *arguments], check=False)
    return int(done.returncode != 0)


def _follow_coverage(name: str, *, seed: int, duration_s: float) -> None:
    """Let atheris look for inputs that reach new code, until the time is over or one misbehaves."""
    import atheris

    with atheris.instrument_imports(include=["sidecar"]):
        from tests.fuzz.targets import TARGETS
    (target,) = [one for one in TARGETS if one.name == name]
    rng = Random(seed)

    def change(data: bytes, bytes_max: int, change_seed: int) -> bytes:
        if rng.random() < 0.5:
            return mutate(data, Random(change_seed))[:bytes_max]
        return bytes(atheris.Mutate(data, bytes_max))

    def try_one(data: bytes) -> None:
        try:
            target.try_input(data)
        except Misbehaved as error:
            _keep(target, data, error)
            raise

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(target.corpus()):
            Path(folder, str(number)).write_bytes(data)
        limits = [f"-max_len={INPUT_BYTES_MAX}", f"-max_total_time={max(1, round(duration_s))}", "-timeout=20"]
        quiet = [f"-seed={seed % 2**31 or 1}", "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *limits, *quiet, folder], try_one, custom_mutator=change)
        print(f"{target.name}: led by coverage for {duration_s:.0f} s", flush=True)
        atheris.Fuzz()


def _keep(target: Target, data: bytes, error: Misbehaved) -> None:
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    print(f"{error} (because of {error.__cause__!r}): kept as {path.relative_to(CORPUS.parent)}", flush=True)


if __name__ == "__main__":
    main()
