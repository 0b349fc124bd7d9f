"""Entry point of `exchange-sidecar` and of `python -m sidecar`."""

import sys


def main() -> None:
    """Run the command line; a probe without all the rest, because it is run every few seconds and has to be quick."""
    if sys.argv[1:2] == ["probe"]:
        from sidecar.cli.probe import main as probe

        sys.exit(probe(sys.argv[2:]))
    from sidecar.cli.main import main as all_commands

    all_commands()


if __name__ == "__main__":
    main()
