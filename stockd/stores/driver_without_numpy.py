"""Loads the Cassandra driver without numpy, which it loads where there is one, to give rows in numpy's arrays.

Nobody asks it for those. Measured: 12 MB for each process, and 0.1 s of its start.
"""

import importlib
import sys


def load() -> None:
    """Before anything else loads the driver. Who has loaded numpy already, or does so later, has it."""
    if "numpy" in sys.modules:
        return
    sys.modules["numpy"] = None  # type: ignore[assignment]  # so that an import of it fails
    try:
        importlib.import_module("cassandra.cython_deps")
    finally:
        del sys.modules["numpy"]
