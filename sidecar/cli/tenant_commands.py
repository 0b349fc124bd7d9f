"""The commands about tenants, from several modules, in one group and in the order in which they are listed."""

from __future__ import annotations

from sidecar.cli import credentials, tenant_settings, tenant_watch, tenants

app = tenants.app
app.command()(tenant_settings.show)
app.command()(tenant_settings.update)
app.command()(tenant_watch.watch)
app.command(context_settings=credentials.NO_ECHO)(credentials.rotate)
app.command()(credentials.credentials)
app.command("set-expiry")(credentials.set_expiry)
