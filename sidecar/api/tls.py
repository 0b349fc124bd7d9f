"""The server's certificate, and whom it lets certificates be from; read anew when the files change.

What does not fit together is never handed to gRPC, which would fail each handshake without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sidecar.aio.followed import FollowedFiles, read_bytes, unusable
from sidecar.settings import GrpcSettings

_FILE_BYTES_MAX = 1024 * 1024

_FORM = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

TlsFiles = FollowedFiles[grpc.ServerCertificateConfiguration]


def follow_tls(settings: GrpcSettings) -> TlsFiles | None:
    """Read the files that the settings name, and go on reading them; None: they name none.

    Raises:
        SettingsInvalid: they cannot be used.
    """
    cert, key, ca = settings.tls_cert_file, settings.tls_key_file, settings.client_ca_file
    if cert is None or key is None:
        return None
    paths = (cert, key) if ca is None else (cert, key, ca)
    return FollowedFiles("tls", paths, partial(read_tls, cert, key, ca))


def read_tls(cert_path: Path, key_path: Path, ca_path: Path | None) -> grpc.ServerCertificateConfiguration:
    """Read a certificate with its chain, its key, and the authorities that callers' certificates must be from.

    Raises:
        SettingsInvalid: they cannot be read, or do not belong together.
    """
    chain = read_bytes(cert_path, "grpc.tls_cert_file", bytes_max=_FILE_BYTES_MAX)
    key = read_bytes(key_path, "grpc.tls_key_file", bytes_max=_FILE_BYTES_MAX)
    certificates = _certificates(chain, "grpc.tls_cert_file", cert_path)
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise unusable("grpc.tls_key_file", key_path, "is no unencrypted private key in PEM") from None
    try:
        certified = certificates[0].public_key().public_bytes(*_FORM)
    except (ValueError, UnsupportedAlgorithm):  # the frame of a certificate, around a key that is none
        raise unusable("grpc.tls_cert_file", cert_path, "begins with a certificate that cannot be used") from None
    if private.public_key().public_bytes(*_FORM) != certified:
        raise unusable("grpc.tls_key_file", key_path, "is not the key of the first certificate in grpc.tls_cert_file")
    roots = None
    if ca_path is not None:
        roots = read_bytes(ca_path, "grpc.client_ca_file", bytes_max=_FILE_BYTES_MAX)
        _certificates(roots, "grpc.client_ca_file", ca_path)
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)


def build_credentials(files: TlsFiles, *, asks_callers: bool) -> grpc.ServerCredentials:
    """Return credentials that follow the files: each new connection gets the certificate of that moment. TLS 1.2 or newer.

    Args:
        asks_callers: callers must have a certificate, too.
    """
    used = [files.current]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return another configuration than the one in use; None while there is none. Called by gRPC's own threads."""
        current = files.current
        if current is used[0]:
            return None
        used[0] = current
        return current

    return grpc.dynamic_ssl_server_credentials(
        used[0],
        fetch,  # type: ignore[arg-type]  # None is allowed, as gRPC's documentation says and its stubs do not
        require_client_authentication=asks_callers,
    )


def _certificates(pem: bytes, setting: str, path: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion):
        raise unusable(setting, path, "holds no certificates in PEM") from None
