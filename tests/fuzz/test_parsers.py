"""Whatever is sent to us, a parser answers, or refuses in the one way that is written down: soon, and telling no secrets."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutating import mutate
from tests.fuzz.target import INPUT_BYTES_MAX, Target
from tests.fuzz.targets import TARGETS

_MEMORY_BYTES_MAX = 64 * 1024 * 1024
"""A thousand times the largest input."""
by_name = pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target.name))


@by_name
def test_everything_that_was_ever_found_is_answered_or_refused(target: Target) -> None:
    """And seeds are in good order: at least one of them is taken."""
    for data in target.corpus():
        target.try_input(data)


@by_name
def test_inputs_like_good_ones_are_answered_or_refused(target: Target) -> None:
    """Hypothesis prints the input that was not."""
    corpus = target.corpus()
    made = st.builds(lambda at, seed: mutate(corpus[at], Random(seed)), st.integers(0, len(corpus) - 1), st.integers(0))

    @settings(max_examples=target.examples_count, suppress_health_check=list(HealthCheck))
    @given(made | st.binary(max_size=100))
    def run(data: bytes) -> None:
        target.try_input(data)

    run()


@pytest.mark.parametrize("target", [one for one in TARGETS if one.is_measured], ids=lambda target: str(target.name))
def test_large_input_takes_no_more_time_and_memory_than_it_may(target: Target) -> None:
    """A seed's largest piece, over and over, and brackets without an end."""
    for seed in (*target.seeds, b"[", b'{"a":', b"- - ", b"\x30\x80", b"\x91"):
        tracemalloc.start()
        try:
            target.try_input((seed * (INPUT_BYTES_MAX // max(1, len(seed)) + 1))[:INPUT_BYTES_MAX])
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < _MEMORY_BYTES_MAX, (target.name, seed[:20])
