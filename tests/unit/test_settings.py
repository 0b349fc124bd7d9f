"""Settings: read once, checked as a whole, every mistake told at once, and documented where people look."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from sidecar.cli.reference import updated
from sidecar.errors import SettingsInvalid
from sidecar.settings import Settings, load_settings, split_address


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of this machine must not decide these tests."""
    import os

    for name in [name for name in os.environ if name.startswith("EXCHANGE_")]:
        monkeypatch.delenv(name)


def mistakes() -> dict[str, str]:
    """Load and return what is wrong."""
    with pytest.raises(SettingsInvalid) as refused:
        load_settings()
    return refused.value.details


def test_defaults_are_in_order() -> None:
    """Without any setting the service listens on loopback and a socket only."""
    settings = load_settings()
    assert settings.grpc.addresses == ("127.0.0.1:50551",)
    assert settings.webhook.public_url is None


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds the same tree; one variable changes one setting of it."""
    file = tmp_path / "settings.yaml"
    file.write_text("sync: {past_days: 3, future_days: 30}\nlog: {level: debug}\n")
    monkeypatch.setenv("EXCHANGE_CONFIG_FILE", str(file))
    monkeypatch.setenv("EXCHANGE_SYNC__PAST_DAYS", "5")
    settings = load_settings()
    assert (settings.sync.past_days, settings.sync.future_days, settings.log.level) == (5, 30, "debug")


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends a configuration one restart at a time."""
    monkeypatch.setenv("EXCHANGE_SYNC__PAST_DAYS", "-1")
    monkeypatch.setenv("EXCHANGE_WATCH__HEARTBEAT_S", "1")
    monkeypatch.setenv("EXCHANGE_WEBHOOK__PUBLIC_URL", "http://hooks.example.com")
    assert set(mistakes()) == {"sync.past_days", "watch.heartbeat_s", "webhook.public_url"}


def test_unknown_setting_in_a_file_is_refused(tmp_path: Path) -> None:
    """A misspelled setting is a mistake, not a wish that is never heard."""
    file = tmp_path / "settings.yaml"
    file.write_text("sync: {past_day: 3}\n")
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(file)
    assert refused.value.details == {"sync.past_day": "there is no such setting; did you mean sync.past_days?"}


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("EXCHANGE_SYNC_PAST_DAYS", "there is no such setting; did you mean EXCHANGE_SYNC__PAST_DAYS?"),
        ("EXCHANGE_ROLE", "there is no such setting; did you mean EXCHANGE_ROLES?"),
        ("EXCHANGE_SINK__DEPTH", "there is no such setting"),
    ],
)
def test_misspelled_variable_is_refused_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, variable: str, sentence: str
) -> None:
    """A variable that nobody reads is a wish that is never heard, too."""
    monkeypatch.setenv(variable, "5")
    assert mistakes() == {variable: sentence}


@pytest.mark.parametrize(
    "variable", ["EXCHANGE_PORT", "EXCHANGE_SIDECAR_SERVICE_HOST", "EXCHANGE_RATES", "EXCHANGE_TARGET"]
)
def test_variable_of_somebody_else_stops_nothing(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Kubernetes writes some for each service of the namespace, and other programs have theirs."""
    monkeypatch.setenv(variable, "tcp://10.0.0.1:50551")
    assert load_settings().roles


def test_list_that_is_no_json_is_told_with_all_other_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with its name."""
    monkeypatch.setenv("EXCHANGE_GRPC__ADDRESSES", "127.0.0.1:1")
    monkeypatch.setenv("EXCHANGE_SYNC__PAST_DAYS", "-1")
    assert set(mistakes()) == {"grpc.addresses", "sync.past_days"}
    assert "must be a list" in mistakes()["grpc.addresses"]


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words", "1: 2", "\x00", "[" * 5_000, "#" * 1_048_577])
def test_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    """Broken YAML, or YAML of another shape."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid):
        load_settings(file)


def test_procrastinate_without_a_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has one process, and nobody to share work with."""
    monkeypatch.setenv("EXCHANGE_TASKS__RUNNER", "procrastinate")
    assert "needs a PostgreSQL" in mistakes()["settings"]


def test_procrastinate_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sentence names the extra to install."""
    monkeypatch.setenv("EXCHANGE_TASKS__RUNNER", "procrastinate")
    monkeypatch.setenv("EXCHANGE_STORE__DSN_FILE", str(tmp_path / "dsn"))
    assert load_settings().tasks.runner == "procrastinate"
    monkeypatch.setattr("sidecar.settings.find_spec", lambda _: None)
    assert "install exchange-sidecar[procrastinate]" in mistakes()["settings"]


def test_roles_are_words_with_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spaces do not count, nor does saying it twice."""
    monkeypatch.setenv("EXCHANGE_STORE__DSN_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("EXCHANGE_ROLES", "worker, api,worker")
    assert load_settings().roles == ("worker", "api")


@pytest.mark.parametrize("roles", ["", " , ", "api;worker", "drain"])
def test_roles_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, roles: str) -> None:
    """A process without a role, or with one nobody knows, would do nothing without a word."""
    monkeypatch.setenv("EXCHANGE_ROLES", roles)
    assert any(name.startswith("roles") for name in mistakes())


def test_sqlite_demands_all_roles_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else could do the rest."""
    monkeypatch.setenv("EXCHANGE_ROLES", "api,ingress")
    assert "SQLite has one" in mistakes()["settings"]
    monkeypatch.setenv("EXCHANGE_ROLES", "ingress,worker,api")
    assert set(load_settings().roles) == {"api", "worker", "ingress"}


def test_ingress_without_an_address_is_refused_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that is there for webhooks has to have some; one that does everything may poll."""
    monkeypatch.setenv("EXCHANGE_STORE__DSN_FILE", str(tmp_path / "dsn"))
    assert load_settings().webhook.public_url is None
    monkeypatch.setenv("EXCHANGE_ROLES", "ingress")
    assert "without webhook.public_url" in mistakes()["settings"]


def test_listeners_of_the_api_are_checked_only_where_it_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All processes may have the same variables, whatever their roles."""
    monkeypatch.setenv("EXCHANGE_STORE__DSN_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("EXCHANGE_GRPC__ADDRESSES", "[]")
    monkeypatch.setenv("EXCHANGE_GRPC__SOCKET", "")
    assert "neither a socket nor an address" in mistakes()["settings"]
    monkeypatch.setenv("EXCHANGE_ROLES", "worker")
    assert load_settings().roles == ("worker",)


def test_plaintext_on_the_network_must_be_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least privilege by default: other machines get in only when somebody says so."""
    monkeypatch.setenv("EXCHANGE_GRPC__ADDRESSES", '["0.0.0.0:50551"]')
    assert "0.0.0.0:50551 is for other machines and lacks TLS" in mistakes()["settings"]
    monkeypatch.setenv("EXCHANGE_GRPC__INSECURE_ACKNOWLEDGED", "true")
    assert load_settings().grpc.addresses == ("0.0.0.0:50551",)


@pytest.mark.parametrize("address", ["0.0.0.0:50551", "127.0.0.1:50551"])
def test_service_for_several_needs_tls_and_tokens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Each alone is not enough, and one sentence says what is lacking."""
    monkeypatch.setenv("EXCHANGE_PROFILE", "service")
    monkeypatch.setenv("EXCHANGE_GRPC__ADDRESSES", f'["{address}"]')
    assert "lacks TLS (tls_cert_file, tls_key_file) and tokens (callers_file);" in mistakes()["settings"]
    monkeypatch.setenv("EXCHANGE_GRPC__CALLERS_FILE", "/etc/exchange/callers.json")
    assert "lacks TLS (tls_cert_file, tls_key_file);" in mistakes()["settings"]
    monkeypatch.setenv("EXCHANGE_GRPC__TLS_CERT_FILE", "/etc/exchange/tls.crt")
    monkeypatch.setenv("EXCHANGE_GRPC__TLS_KEY_FILE", "/etc/exchange/tls.key")
    assert load_settings().grpc.addresses == (address,)
    monkeypatch.delenv("EXCHANGE_GRPC__CALLERS_FILE")
    assert "lacks tokens (callers_file);" in mistakes()["settings"]


def test_service_for_several_on_a_socket_alone_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its permissions say who may."""
    monkeypatch.setenv("EXCHANGE_PROFILE", "service")
    monkeypatch.setenv("EXCHANGE_GRPC__ADDRESSES", "[]")
    assert load_settings().profile == "service"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRPC__ADDRESSES", '["50551"]'),
        ("GRPC__SOCKET_MODE", "438"),
        ("GRPC__TLS_CERT_FILE", "/etc/exchange/tls.crt"),
        ("GRPC__CLIENT_CA_FILE", "/etc/exchange/ca.crt"),
        ("PROBES__LISTEN", "127.0.0.1"),
        ("SYNC__POLL_MAX_S", "290"),
        ("SYNC__POLL_MIN_S", "250"),
        ("SYNC__FRESHNESS_BUDGET_S", "264"),
        ("GRAPH__LOGIN_URL", "http://login.example.com"),
        ("WEBHOOK__PUBLIC_URL", "https://hooks.example.com/?a=b"),
    ],
)
def test_impossible_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What cannot work is told at the start."""
    monkeypatch.setenv(f"EXCHANGE_{name}", value)
    assert len(mistakes()) == 1


@pytest.mark.parametrize("name", ["GRPC__SOCKET", "WEBHOOK__PUBLIC_URL", "GRAPH__LOGIN_URL", "GRAPH__CA_FILE"])
def test_empty_variable_means_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Charts and shells set empty variables where they mean none."""
    monkeypatch.setenv(f"EXCHANGE_{name}", "")
    group, field = name.lower().split("__")
    assert getattr(getattr(load_settings(), group), field) is None


def test_every_setting_is_documented() -> None:
    """The table of the README has a meaning for each."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for inner, inner_field in field.annotation.model_fields.items():
                assert inner_field.description, f"{name}.{inner}"
        else:
            assert field.description, name


def test_readme_holds_the_settings_of_the_code() -> None:
    """The table is made from the code; run `make docs` when this fails."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert updated(readme) == readme


@pytest.mark.parametrize("address", ["", ":80", "host", "host:", "host:x", "host:65536"])
def test_address_needs_host_and_port(address: str) -> None:
    """An address is host:port, nothing less."""
    with pytest.raises(ValueError, match="host:port"):
        split_address(address)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTLP_ENDPOINT", "collector:4318"),
        ("OTLP_ENDPOINT", "grpc://collector:4317"),
        ("OTLP_ENDPOINT", "https://user:word@collector"),
        ("OTLP_ENDPOINT", "https://collector?token=word"),
        ("TRACE_RATIO", "1.1"),
        ("OTLP_HEADERS_FILE", "/run/headers"),
        ("OTLP_METRICS_S", "60"),
    ],
)
def test_collector_that_cannot_be_meant_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"EXCHANGE_TELEMETRY__{name}", value)
    assert any(place.startswith("telemetry") for place in mistakes())


def test_headers_for_a_collector_are_not_sent_in_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there to let us in, so whoever reads them on their way is let in, too."""
    monkeypatch.setenv("EXCHANGE_TELEMETRY__OTLP_HEADERS_FILE", "/run/headers")
    monkeypatch.setenv("EXCHANGE_TELEMETRY__OTLP_ENDPOINT", "http://collector:4318")
    assert "https" in mistakes()["telemetry"]
    for url in ("https://collector:4318/base/", "http://127.0.0.1:4318"):
        monkeypatch.setenv("EXCHANGE_TELEMETRY__OTLP_ENDPOINT", url)
        assert load_settings().telemetry.otlp_endpoint == url.rstrip("/")
