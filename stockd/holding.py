"""The SKUs of which a stock server holds free units, some of them looked at in each turn."""

from collections import deque
from collections.abc import Iterator

from stockd.escrow import Escrow


class Holding:
    """Every SKU with free units is in it, and some that had some. Of SKUs that are counted nothing is held.

    That a SKU is in it is written on its escrow: a set of a million would need fifty megabytes.
    """

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: deque[Escrow] = deque()

    def add(self, escrow: Escrow) -> None:
        if not escrow.in_turns:
            escrow.in_turns = True
            self._turns.append(escrow)

    def next(self, limit: int) -> Iterator[Escrow]:
        """The next `limit`, those first that were not looked at for longest. Forgets those that hold nothing."""
        for _ in range(min(limit, len(self._turns))):
            escrow = self._turns.popleft()
            if escrow.free and escrow.tally is None:
                self._turns.append(escrow)
                yield escrow
            else:
                escrow.in_turns = False

    def units(self) -> int:
        # A copy: another thread may ask.
        return sum(escrow.free for escrow in list(self._turns) if escrow.tally is None)

    def __len__(self) -> int:
        return len(self._turns)
