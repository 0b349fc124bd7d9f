"""From the log to the watchers: cursors over the tenants' logs."""
