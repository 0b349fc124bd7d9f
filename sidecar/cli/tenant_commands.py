"""The commands about tenants, from several modules, in one group."""

from __future__ import annotations

from sidecar.cli import tenant_settings, tenant_watch, tenants

app = tenants.app
app.command()(tenant_settings.show)
app.command()(tenant_settings.update)
app.command()(tenant_watch.watch)
