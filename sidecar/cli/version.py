"""`--version`: which build this is, and which schema and API belong to it."""

from __future__ import annotations

import platform

import typer


def show_version(is_wanted: bool) -> None:
    """Print the facts of this build and end, if the option was given."""
    if not is_wanted:
        return
    # Imported here: every command comes by this function, and only one needs it.
    from exchange_client.messages import Tenant

    from sidecar.build_facts import read_build_facts
    from sidecar.store.migrate import SCHEMA_VERSION

    facts = read_build_facts()
    untold = "not told when the image was built" if facts.is_image else "not an image: a checkout or a plain install"
    lines = {
        "revision": facts.revision or untold,
        "built": facts.created or untold,
        "python": platform.python_version(),
        "schema": SCHEMA_VERSION,
        "api": Tenant.DESCRIPTOR.file.package,
    }
    print(f"exchange-sidecar {facts.version}")
    for name, text in lines.items():
        print(f"{name:<9} {text}")
    raise typer.Exit
