"""Commands about a tenant's credentials. Secrets come from files, standard input or a prompt, never from an argument."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from exchange_client import requests
from exchange_client.messages import Credential, CredentialInfo, RotateTenantCredentialResponse

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import EXIT_REFUSED, EXIT_UNAVAILABLE, Output, OutputOption, at, short, show, show_one

_FILE_BYTES_MAX = 64 * 1024
_Outcome = RotateTenantCredentialResponse

TenantArgument = Annotated[str, typer.Argument(help="Id of the tenant, such as acme.")]
SecretFileOption = Annotated[
    Path | None, typer.Option(help="File with the client secret's Value; - reads standard input.", allow_dash=True)
]
CertificateFileOption = Annotated[Path | None, typer.Option(help="PEM file with certificate and private key.")]
PfxFileOption = Annotated[Path | None, typer.Option(help="PFX file (PKCS #12) with certificate and private key.")]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        help="File with the PFX file's passphrase; - reads standard input. Without it: asked for.", allow_dash=True
    ),
]
TokenFileOption = Annotated[
    str | None,
    typer.Option(help="Token file of a federated credential: its path as the service sees it. Not read here."),
]
ExpiresOption = Annotated[
    str | None,
    typer.Option(help="Day, or instant with offset, on which the secret runs out: 2027-01-31. A certificate tells."),
]


NoSecretOption = Annotated[str | None, typer.Option("--secret", "--client-secret", "--passphrase", hidden=True)]
"""Taken so that it can be refused without being shown."""
NO_ECHO = {"allow_extra_args": True}
"""What is too much is refused by us: the library's refusal would show it."""


def refuse_arguments(context: typer.Context, secret: str | None) -> None:
    """Refuse secrets on the command line.

    Raises:
        ValueError: there is one, or something that may be one; it is not shown.
    """
    if secret is not None or context.args:
        raise ValueError(
            "secrets are not taken from the command line, where every process list shows them; treat one that was given as"
            " known to others, and hand the next one over in a file, on standard input, or when asked"
        )


def rotate(
    context: typer.Context,
    tenant: TenantArgument,
    application_id: Annotated[
        str | None, typer.Option(help="Application (client) id; without it: that of the credential in use.")
    ] = None,
    secret_file: SecretFileOption = None,
    certificate_file: CertificateFileOption = None,
    pfx_file: PfxFileOption = None,
    passphrase_file: PassphraseFileOption = None,
    token_file: TokenFileOption = None,
    expires: ExpiresOption = None,
    secret: NoSecretOption = None,
    request_id: Annotated[str, typer.Option(help="Your name for this rotation; it may then be repeated safely.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace a tenant's credential without a gap: the new one is proven first, and comes into use only then.

    Without a file the client secret is asked for. Exit code 0: in use. 1: Microsoft refuses it, the former stays in use.
    3: not proven yet; the service goes on trying, and the same command waits again.
    """
    with connected(target) as client:
        refuse_arguments(context, secret)
        name = tenant_of(tenant)
        if application_id is None:
            application_id = client.get_tenant(name).credentials[0].application_id
        credential = read_credential(
            application_id,
            secret_file=secret_file,
            certificate_file=certificate_file,
            pfx_file=pfx_file,
            passphrase_file=passphrase_file,
            token_file=token_file,
            expires=expires,
            may_ask=True,
        )
        answer = client.rotate_tenant_credential(name, credential, request_id=request_id)
        _show_rotation(answer, output)
    if answer.outcome == _Outcome.OUTCOME_PENDING:
        raise typer.Exit(EXIT_UNAVAILABLE)
    if answer.outcome != _Outcome.OUTCOME_DONE:
        raise typer.Exit(EXIT_REFUSED)


def credentials(
    tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE
) -> None:
    """Show a tenant's credentials: what each is for, when it runs out, and when Microsoft last accepted it."""
    with connected(target) as client:
        found = list(client.get_tenant(tenant_of(tenant)).credentials)
        columns = ("role", "kind", "application", "fingerprint", "expires", "proven", "erased", "problem")
        show(found, columns, map(_row, found), output)


def set_expiry(
    tenant: TenantArgument,
    expires: Annotated[str, typer.Argument(help="Day, or instant with offset, such as 2027-01-31; or `unknown`.")],
    fingerprint: Annotated[str, typer.Option(help="Of the credential that is meant; without it: the one in use.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say when a tenant's secret runs out, so that warnings come in time."""
    with connected(target) as client:
        expire_at = None if expires == "unknown" else parse_day(expires)
        show_one(client.set_credential_expiry(tenant_of(tenant), expire_at=expire_at, fingerprint=fingerprint), output)


def read_credential(
    application_id: str,
    *,
    secret_file: Path | None,
    certificate_file: Path | None,
    pfx_file: Path | None,
    passphrase_file: Path | None,
    token_file: str | None,
    expires: str | None,
    may_ask: bool = False,
) -> Credential:
    """Read a credential from where the options say.

    Args:
        may_ask: without any option ask for a client secret.
    Raises:
        ValueError: none or several kinds of proof, or a file that cannot be read.
    """
    given = [name for name in (secret_file, certificate_file, pfx_file, token_file) if name is not None]
    if len(given) > 1 or (not given and not may_ask):
        raise ValueError("give either --secret-file or --certificate-file or --pfx-file or --token-file")
    expire_at = None if expires is None else parse_day(expires)
    secret = passphrase = None
    if secret_file is not None:
        secret = _text(secret_file)
    elif not given:
        secret = _ask("Client secret (its Value)")
    if pfx_file is not None:
        passphrase = _ask("Passphrase of the PFX file") if passphrase_file is None else _text(passphrase_file)
    return requests.make_credential(
        application_id,
        client_secret=secret,
        certificate_pem=None if certificate_file is None else _read(certificate_file),
        certificate_pfx=None if pfx_file is None else _read(pfx_file),
        passphrase=passphrase or "",
        token_file=token_file,
        expire_at=expire_at,
    )


def parse_day(text: str) -> datetime:
    """Read a day, which means its first instant in UTC, or an instant with an offset.

    Raises:
        ValueError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a day such as 2027-01-31 nor an instant with an offset") from None
    if moment.tzinfo is None:
        if len(text) > len("2027-01-31"):
            raise ValueError(f"{text!r} lacks its offset from UTC, such as Z or +02:00")
        moment = moment.replace(tzinfo=UTC)
    return moment


def _ask(what: str) -> str:
    """Ask at the terminal, without showing what is typed.

    Raises:
        ValueError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise ValueError(f"{what}: there is no terminal to ask at; give a file, or - for standard input")
    return str(typer.prompt(what, hide_input=True, default="", show_default=False, err=True))


def _text(path: Path) -> str:
    return _read(path).decode(errors="replace").strip()


def _read(path: Path) -> bytes:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(_FILE_BYTES_MAX)
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def _show_rotation(answer: RotateTenantCredentialResponse, output: Output) -> None:
    if output is Output.JSON:
        show_one(answer, output)
        return
    outcome = short(_Outcome.Outcome.Name(answer.outcome), "OUTCOME_")
    proof = f"read {answer.read_room}" if answer.read_room else "a token; there is no room to read"
    match answer.outcome:
        case _Outcome.OUTCOME_DONE:
            print(f"{outcome}: the new credential is in use (proof: {proof})")
        case _:
            print(f"{outcome}: the former credential stays in use")
    if answer.HasField("problem"):
        problem = answer.problem
        code = problem.metadata["aadsts"] if "aadsts" in problem.metadata else problem.metadata.get("cause", "")
        print(f"  {problem.message} {code}\n  to do: {problem.action}  (next try {at(problem.next_check_time)})")


def _row(known: CredentialInfo) -> tuple[str, ...]:
    return (
        short(CredentialInfo.Role.Name(known.role), "ROLE_"),
        short(CredentialInfo.Kind.Name(known.kind), "KIND_"),
        known.application_id,
        known.fingerprint,
        at(known.expire_time) or "unknown",
        at(known.prove_time) or "never",
        at(known.end_time),
        known.problem.message,
    )
