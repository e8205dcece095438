"""How a measurement tells how far it is."""

from collections.abc import Callable

Say = Callable[[str], None]
