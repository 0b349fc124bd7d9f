"""Microsoft's login and Graph calendar, played by a server that runs on one's own machine.

The emulator exists so that the service and its users can be tested without a tenant. It shares no code with the service:
one misunderstanding of Microsoft's rules would otherwise pass its own test. `core.Emulator` is the whole of it as plain
objects; `server.main` puts it behind TLS. What it plays, and where it differs, is in README.md beside this file.
"""
