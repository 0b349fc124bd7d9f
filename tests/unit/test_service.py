"""What is promised of the service as a whole, whatever its parts do."""

from __future__ import annotations

from sidecar import service
from sidecar.api import server
from sidecar.settings import GrpcSettings

_PROMISED_S = 25.0
"""As the README says; Kubernetes gives a pod 30 unless told otherwise."""


def test_longest_end_fits_into_what_is_promised() -> None:
    """Each stage of stopping has its seconds, and a frozen caller, a hanging Exchange and a slow disk may come together."""
    stages = (
        GrpcSettings().drain_s,
        server._LAST_WORDS_S,
        service._WEBHOOKS_GRACE_S,
        service._WRITES_GRACE_S,
        service._WORK_GRACE_S,
        service._PROBES_GRACE_S,
    )
    assert sum(stages) <= _PROMISED_S
