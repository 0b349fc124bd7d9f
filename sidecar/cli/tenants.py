"""Commands about tenants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from exchange_client.messages import Cloud, Tenant

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.credentials import (
    NO_ECHO,
    CertificateFileOption,
    ExpiresOption,
    NoSecretOption,
    PassphraseFileOption,
    PfxFileOption,
    SecretFileOption,
    TokenFileOption,
    read_credential,
    refuse_arguments,
)
from sidecar.cli.output import Output, OutputOption, at, short, show, show_checked
from sidecar.cli.tenant_output import show_tenant

app = typer.Typer(help="The customers' Microsoft 365 organisations.", no_args_is_help=True)

CLOUDS = "global, us_government, us_government_dod or china"

TenantArgument = Annotated[str, typer.Argument(help="Id of the tenant, such as acme.")]


def cloud_of(name: str) -> Cloud.ValueType:
    """Return the cloud of a name as it is typed."""
    if f"CLOUD_{name.upper()}" not in Cloud.keys():  # noqa: SIM118  (an enum's wrapper, no mapping)
        raise ValueError(f"{name!r} is no cloud: write {CLOUDS}")
    return Cloud.Value(f"CLOUD_{name.upper()}")


@app.command(context_settings=NO_ECHO)
def register(
    context: typer.Context,
    tenant_id: TenantArgument,
    directory_id: Annotated[str, typer.Option(help="Directory (tenant) id: a GUID.")],
    application_id: Annotated[str, typer.Option(help="Application (client) id: a GUID.")],
    secret_file: SecretFileOption = None,
    certificate_file: CertificateFileOption = None,
    pfx_file: PfxFileOption = None,
    passphrase_file: PassphraseFileOption = None,
    token_file: TokenFileOption = None,
    expires: ExpiresOption = None,
    secret: NoSecretOption = None,
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    cloud: Annotated[str, typer.Option(help=f"{CLOUDS}.")] = "global",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a tenant, or give it another credential. Secrets come from files, so that no process list shows them."""
    with connected(target) as client:
        refuse_arguments(context, secret)
        credential = read_credential(
            application_id,
            secret_file=secret_file,
            certificate_file=certificate_file,
            pfx_file=pfx_file,
            passphrase_file=passphrase_file,
            token_file=token_file,
            expires=expires,
        )
        tenant = client.register_tenant(
            tenant_id,
            directory_id=directory_id,
            application_id=application_id,
            credential=credential,
            display_name=display_name,
            cloud=cloud_of(cloud),
        )
        show_tenant(tenant, output)


@app.command()
def get(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Show one tenant, and what stands in its way."""
    with connected(target) as client:
        show_tenant(client.get_tenant(tenant_of(tenant)), output)


@app.command()
def verify(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Have Microsoft asked now whether a tenant works, and say what each check found. Exit code 1: one of them failed."""
    with connected(target) as client:
        answer = client.verify_tenant(tenant_of(tenant))
        show_checked(answer, _standing(answer.tenant), answer.checks, output)


@app.command()
def diagnose(
    tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE
) -> None:
    """Show all that is known of a tenant and what Microsoft says to it now. Exit code 1: a check failed."""
    with connected(target) as client:
        answer = client.diagnose_tenant(tenant_of(tenant))
        show_checked(answer, _standing(answer.tenant), answer.checks, output)


@app.command("list")
def list_all(
    show_deleted: Annotated[bool, typer.Option("--show-deleted", help="Also those that can be undeleted.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tenants."""
    with connected(target) as client:
        tenants = list(client.list_tenants(show_deleted=show_deleted))
        columns = ("tenant", "state", "directory", "problem", *(("purged at",) if show_deleted else ()))
        show(tenants, columns, (_row(tenant)[: len(columns)] for tenant in tenants), output)


@app.command()
def delete(
    tenant: TenantArgument,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="No error when there is none.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Erase everything now; nothing brings it back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """End the service for a tenant. It is kept for a while, as `undelete` needs it, and then erased."""
    if not yes:
        typer.confirm(f"{'Erase everything kept for' if purge else 'End the service for'} {tenant}?", abort=True)
    with connected(target) as client:
        deleted = client.delete_tenant(tenant_of(tenant), allow_missing=allow_missing, purge=purge)
        if deleted is not None:
            show_tenant(deleted, output)


@app.command()
def undelete(
    tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE
) -> None:
    """Bring a deleted tenant back as it was; each room is read in full."""
    with connected(target) as client:
        show_tenant(client.undelete_tenant(tenant_of(tenant)), output)


@app.command()
def suspend(
    tenant: TenantArgument,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have nothing asked of Exchange for a tenant; its copy is kept and gets older."""
    with connected(target) as client:
        show_tenant(client.suspend_tenant(tenant_of(tenant), reason=reason), output)


@app.command()
def resume(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """End a suspension; each room is read in full."""
    with connected(target) as client:
        show_tenant(client.resume_tenant(tenant_of(tenant)), output)


def _row(tenant: Tenant) -> Sequence[str]:
    problem = tenant.problems[0].reason if tenant.problems else ""
    state = short(Tenant.State.Name(tenant.state), "STATE_")
    return tenant.name.removeprefix("tenants/"), state, tenant.directory_id, problem, at(tenant.purge_time)


def _standing(tenant: Tenant) -> str:
    return f"{tenant.name} is {short(Tenant.State.Name(tenant.state), 'STATE_')}"
