"""The command line: starts the service, and talks to a running one as any other client would."""
