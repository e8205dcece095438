"""Every module of every package can be imported by itself, without a server, a file or a setting."""

import importlib
import pkgutil

import pytest

PACKAGES = [
    *("sluice", "gateway", "stockd", "journal", "orders", "relay", "consumers"),
    *("audit", "capacity", "commands", "deploy"),
]


def _modules(package: str) -> list[str]:
    found = importlib.import_module(package)
    return [package, *(module.name for module in pkgutil.walk_packages(found.__path__, f"{package}."))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported(package: str) -> None:
    for name in _modules(package):
        assert importlib.import_module(name).__name__ == name
