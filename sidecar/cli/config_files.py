"""Looks at every file and folder that the settings name, as the service would use them, without changing anything.

What stops the service, or lets it do less than was meant, is a mistake; what will stop it some day, or lets others read or
replace what they should not, is a warning. Nothing of what files hold is ever quoted.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from sidecar.aio.followed import read_bytes
from sidecar.api.callers import read_callers
from sidecar.api.tls import read_tls
from sidecar.errors import SettingsInvalid
from sidecar.intake.path_secrets import read_path_secrets
from sidecar.settings import Settings, StoreSettings, TelemetrySettings
from sidecar.store.key_ring import read_key_ring
from sidecar.store.postgres_link import read_dsn
from sidecar.telemetry.collector import read_headers

SOON = timedelta(days=30)
"""A certificate or token that ends within this long is a warning: time to have another one made."""
_PEM_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """Something wrong with what a setting names."""

    setting: str
    sentence: str
    is_mistake: bool


def look_at_files(settings: Settings, *, now: datetime) -> Sequence[Found]:
    """Return all that is wrong with the files of the settings, in the order of the settings."""
    return [*_of_api(settings, now), *_of_store(settings.store), *_of_the_rest(settings)]


def _of_api(settings: Settings, now: datetime) -> Iterator[Found]:
    if "api" not in settings.roles:
        return
    grpc = settings.grpc
    if grpc.socket is not None:
        yield from _socket(grpc.socket)
    if grpc.tls_cert_file is not None and grpc.tls_key_file is not None:
        cert, key, ca = grpc.tls_cert_file, grpc.tls_key_file, grpc.client_ca_file
        yield from _reading(lambda: read_tls(cert, key, ca))
        yield from _dates("grpc.tls_cert_file", cert, now, first_only=True)
        yield from _open_to_others("grpc.tls_key_file", key, is_secret=True)
        if ca is not None:
            yield from _dates("grpc.client_ca_file", ca, now, first_only=False)
    if grpc.callers_file is not None:
        path = grpc.callers_file
        yield from _reading(lambda: read_callers(path))
        yield from _entries(path, now)
        yield from _open_to_others("grpc.callers_file", path, is_secret=False)


def _entries(path: Path, now: datetime) -> Iterator[Found]:
    """Tell of entries that have ended or will; a caller with another entry that goes on is in the middle of a rotation."""
    try:
        grants = read_callers(path).grants
    except SettingsInvalid:
        return
    lasting = {grant.caller for grant in grants if grant.expire_at is None or grant.expire_at > now + SOON}
    for grant in grants:
        if grant.expire_at is None or grant.expire_at > now + SOON or grant.caller in lasting:
            continue
        verb = "has ended" if grant.expire_at <= now else "ends"
        yield _warning("grpc.callers_file", f"the last entry of {grant.caller} {verb} on {grant.expire_at:%Y-%m-%d}")


def _of_store(store: StoreSettings) -> Iterator[Found]:
    if store.dsn_file is not None:
        dsn_file = store.dsn_file
        yield from _reading(lambda: read_dsn(dsn_file))
        yield from _open_to_others("store.dsn_file", dsn_file, is_secret=True)
        return
    path, folder = store.path, store.path.parent
    if not folder.is_dir():
        yield _mistake("store.path", f"{folder} is no folder that exists")
    elif not _may(folder, os.W_OK | os.X_OK):
        yield _mistake(
            "store.path", f"{folder} cannot be written by user {os.geteuid()}; SQLite makes files beside its own"
        )
    elif path.exists() and not (path.is_file() and _may(path, os.R_OK | os.W_OK)):
        yield _mistake("store.path", f"{path} cannot be read and written by user {os.geteuid()}")


def _of_the_rest(settings: Settings) -> Iterator[Found]:
    ring, words = settings.vault.key_ring_file, settings.webhook.path_secrets_file
    yield from _reading(lambda: read_key_ring(ring))
    yield from _open_to_others("vault.key_ring_file", ring, is_secret=True)
    folder = settings.credentials.token_files_folder
    if folder is not None and not (folder.is_dir() and _may(folder, os.R_OK | os.X_OK)):
        yield _mistake("credentials.token_files_folder", f"{folder} is no folder that user {os.geteuid()} can read")
    if words is not None:
        yield from _reading(lambda: read_path_secrets(words))
        yield from _open_to_others("webhook.path_secrets_file", words, is_secret=True)
    if settings.graph.ca_file is not None:
        yield from _authorities("graph.ca_file", settings.graph.ca_file)
    yield from _of_the_collector(settings.telemetry)


def _of_the_collector(telemetry: TelemetrySettings) -> Iterator[Found]:
    if telemetry.otlp_endpoint is None:
        return
    headers = telemetry.otlp_headers_file
    if headers is not None:
        yield from _reading(lambda: read_headers(headers))
        yield from _open_to_others("telemetry.otlp_headers_file", headers, is_secret=True)
    if telemetry.otlp_ca_file is not None:
        yield from _authorities("telemetry.otlp_ca_file", telemetry.otlp_ca_file)


def _socket(path: Path) -> Iterator[Found]:
    folder = path.parent
    if folder.is_dir():
        if not _may(folder, os.W_OK | os.X_OK):
            yield _mistake("grpc.socket", f"{folder} cannot be written by user {os.geteuid()}")
        elif (mode := folder.stat().st_mode) & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield _warning("grpc.socket", f"in {folder} anybody could put another socket into the place of ours")
    elif not (folder.parent.is_dir() and _may(folder.parent, os.W_OK | os.X_OK)):
        yield _mistake("grpc.socket", f"{folder} does not exist and cannot be made by user {os.geteuid()}")
    if path.exists() and not path.is_socket():
        yield _mistake("grpc.socket", f"{path} exists and is not a socket")


def _authorities(setting: str, path: Path) -> Iterator[Found]:
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        yield _mistake(setting, f"{path} holds no certificates in PEM")
    except OSError as error:
        yield _mistake(setting, f"{path} cannot be read ({error.strerror})")


def _dates(setting: str, path: Path, now: datetime, *, first_only: bool) -> Iterator[Found]:
    """Tell of certificates that are out of date: of a chain the first is ours, of authorities each counts."""
    try:
        found = x509.load_pem_x509_certificates(read_bytes(path, setting, bytes_max=_PEM_BYTES_MAX))
    except (SettingsInvalid, ValueError, x509.InvalidVersion):
        return  # told by whoever reads it for use
    for certificate in found[:1] if first_only else found:
        ends_at = certificate.not_valid_after_utc
        if ends_at <= now:
            yield Found(setting, f"{path}: a certificate has ended on {ends_at:%Y-%m-%d}", first_only)
        elif certificate.not_valid_before_utc > now:
            yield Found(
                setting, f"{path}: a certificate begins on {certificate.not_valid_before_utc:%Y-%m-%d}", first_only
            )
        elif ends_at <= now + SOON:
            yield _warning(setting, f"{path}: a certificate ends on {ends_at:%Y-%m-%d}")


def _open_to_others(setting: str, path: Path, *, is_secret: bool) -> Iterator[Found]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # told by whoever reads it for use
    if mode & stat.S_IWOTH:
        yield _warning(setting, f"{path} can be written by everybody (mode {mode:04o})")
    elif is_secret and mode & stat.S_IROTH:
        yield _warning(setting, f"{path} can be read by everybody (mode {mode:04o}); 0600 or 0440 is enough")


def _reading(read: Callable[[], object]) -> Iterator[Found]:
    try:
        read()
    except SettingsInvalid as error:
        for setting, sentence in error.details.items():
            yield _mistake(setting, sentence)


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=True)


def _mistake(setting: str, sentence: str) -> Found:
    return Found(setting, sentence, is_mistake=True)


def _warning(setting: str, sentence: str) -> Found:
    return Found(setting, sentence, is_mistake=False)
