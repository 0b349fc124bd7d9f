"""What a collector is told, and what of its files is refused; how it is spoken to is tests/e2e/test_traces.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import SettingsInvalid
from sidecar.graph.logins import trusting
from sidecar.settings import TelemetrySettings
from sidecar.telemetry.collector import open_collector, read_headers


def test_headers_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer a:b\n\nx-scope : team\n")
    assert read_headers(file) == {"authorization": "Bearer a:b", "x-scope": "team"}


MANY = "\n".join(f"a{number}: b" for number in range(17))


@pytest.mark.parametrize("text", ["", "no colon", ": canary", "a b: c", "name: va\x01lue", MANY])
def test_file_without_headers_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as refused:
        read_headers(file)
    assert not text.strip() or text not in str(refused.value.details)


def test_file_of_authorities_that_is_none_is_said_when_the_service_starts(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    settings = TelemetrySettings(otlp_endpoint="https://collector.example", otlp_ca_file=file)
    with pytest.raises(SettingsInvalid) as refused:
        open_collector(settings, trusting=trusting)
    assert "telemetry.otlp_ca_file" in refused.value.details
