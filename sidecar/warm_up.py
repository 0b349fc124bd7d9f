"""Imports everything that the service can import, so that Python keeps it compiled; for the build of the image.

The image's root is read-only when it runs, so what is not compiled then is compiled again at each start. Compiling all
that is installed would be simpler and 17 MB larger, since nearly half of it is never imported.

Usage in the build, by whoever may write where the modules lie: python -I -m sidecar.warm_up
"""

from __future__ import annotations

import importlib
import pkgutil

import sidecar

FOR_DEVELOPMENT = {"pytest"}
"""What a module may need that is not in the image; such modules are not used there."""
_SCRIPTS = ".migrations."
"""Run by Alembic and no modules: `exchange-sidecar migrate` warms these."""


def warm_up() -> None:
    """Import every module of the package.

    Raises:
        ImportError: a module needs something that is not installed and should be.
    """
    for module in pkgutil.walk_packages(sidecar.__path__, "sidecar."):
        if _SCRIPTS in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in FOR_DEVELOPMENT:
                raise


if __name__ == "__main__":
    warm_up()
