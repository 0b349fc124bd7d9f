"""Entry point of `exchange-sidecar` and of `python -m sidecar`."""

from sidecar.cli.main import main

if __name__ == "__main__":
    main()
