"""TigerBeetle: a SKU is an account that must not be overdrawn, a reservation a pending transfer with the order's id.

Its client has one request in flight at a time and sends what it is given; so orders are gathered here while a request
is on its way, as its users do it by hand.
"""

import asyncio
import logging
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import tigerbeetle as tb

from sluice.coalescer import Coalescer

LARGEST_BATCH = 8_189
QUEUED_AT_MOST = 100_000

CLUSTER = 0
LEDGER = 1
CODE = 1
SHELF = 1
"""Where all units come from."""
BUYERS = 2
"""Where all units go."""

_STANDS = (tb.CreateTransferStatus.CREATED, tb.CreateTransferStatus.EXISTS)
# The second is the answer to a repeat of what was refused once: an id that failed stays failed.
_REFUSED = (tb.CreateTransferStatus.EXCEEDS_CREDITS, tb.CreateTransferStatus.ID_ALREADY_FAILED)
_KNOWN = (tb.CreateAccountStatus.CREATED, tb.CreateAccountStatus.EXISTS)

# Its library reports every reconnect at WARNING and colours stderr with it.
logging.getLogger("tigerbeetle").setLevel(logging.ERROR)


class _Wanted(NamedTuple):
    transfer: tb.Transfer
    answer: "asyncio.Future[bool]"


class TigerBeetlePeer:
    """See `bench.peers.protocol.Peer`."""

    def __init__(self, client: tb.ClientAsync) -> None:
        self._client = client
        self._coalescer: Coalescer[_Wanted] = Coalescer(
            self._send,
            weigh=lambda _: 1,
            max_batch_weight=LARGEST_BATCH,
            max_in_flight=1,
            max_queued_weight=QUEUED_AT_MOST,
        )

    async def add_stock(self, sku: str, units: int) -> None:
        account = tb.Account(
            id=account_of(sku), ledger=LEDGER, code=CODE, flags=tb.AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
        )
        await make_accounts(self._client, [account])
        stock = tb.Transfer(
            id=uuid4().int,
            debit_account_id=SHELF,
            credit_account_id=account.id,
            amount=units,
            ledger=LEDGER,
            code=CODE,
        )
        (result,) = await self._client.create_transfers([stock])
        assert result.status == tb.CreateTransferStatus.CREATED, result

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        answer = asyncio.get_running_loop().create_future()
        self._coalescer.submit(_Wanted(pending(order_id.int, sku, quantity), answer))
        granted: bool = await answer
        return granted

    async def close(self) -> None:
        await self._coalescer.idle()
        await self._client.close()

    async def _send(self, batch: list[_Wanted]) -> None:
        try:
            results = await self._client.create_transfers([wanted.transfer for wanted in batch])
        except Exception as error:  # noqa: BLE001 - every order of the batch hears it
            for wanted in batch:
                wanted.answer.set_exception(error)
            return
        for wanted, result in zip(batch, results, strict=True):
            if not wanted.answer.done():
                wanted.answer.set_result(stands(result.status))


def account_of(sku: str) -> int:
    return uuid5(NAMESPACE_URL, sku).int


def pending(transfer_id: int, sku: str, quantity: int) -> tb.Transfer:
    return tb.Transfer(
        id=transfer_id,
        debit_account_id=account_of(sku),
        credit_account_id=BUYERS,
        amount=quantity,
        ledger=LEDGER,
        code=CODE,
        flags=tb.TransferFlags.PENDING,
    )


def stands(status: tb.CreateTransferStatus) -> bool:
    """Raises AssertionError for what is neither yes nor no."""
    assert status in (*_STANDS, *_REFUSED), status
    return status in _STANDS


async def make_accounts(client: tb.ClientAsync, accounts: list[tb.Account]) -> None:
    results = await client.create_accounts(accounts)
    assert all(result.status in _KNOWN for result in results), results


async def open_peer(address: str) -> TigerBeetlePeer:
    client = tb.ClientAsync(CLUSTER, address)
    await make_accounts(client, [tb.Account(id=number, ledger=LEDGER, code=CODE) for number in (SHELF, BUYERS)])
    return TigerBeetlePeer(client)
