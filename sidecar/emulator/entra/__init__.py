"""Microsoft's login server."""
