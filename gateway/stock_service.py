"""`StockService` over gRPC: the ledger for people who run a sale."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid5

import grpc

from gateway.outcomes import RETRY_WHEN_AWAY_S, RETRY_WHEN_STOPPING_S, STOPPING
from gateway.paging import make_token, page_size, read_token
from gateway.stock_reading import StockReading
from gateway.stock_watching import NoSuchSkuToWatch, StockWatching
from gateway.validation import Violation, name_violations, parse_uuid
from gateway.watches import Stopping
from journal.protocol import Journals
from sluice import counting
from sluice._gen.stock.v1 import stock_pb2
from sluice.errors import JournalUnreachable, Overloaded, StoreUnreachable
from sluice.model import MAX_OWNERS, MAX_RESTOCK_UNITS, StockPolicy
from sluice.rpc import server
from sluice.rpc.failure import RpcFailure, invalid
from sluice.seams.stock_store import (
    Applied,
    Consistency,
    NoSuchSku,
    Refused,
    SkuSummary,
    StockStore,
    WriteOutcome,
)

SERVICE_NAME = "sluice.stock.v1.StockService"

FIRST_UNITS_NAMESPACE = UUID("6f1f1c2e-6f0b-5d0e-9b0c-2f6f5a1b7c11")
"""The restock id of a SKU's first units is derived from its name: creating it again counts them once."""

RESENDS_WHEN_UNKNOWN = 2
"""A restock of unknown outcome is sent again unchanged, which its id makes harmless; then the caller is asked to."""

COUNTS_AT_ONCE = 32
"""Counter SKUs of one page that are read at once: a page of nothing else must not crowd out those who sell."""

MAX_RESUME_TOKEN_CHARS = 64
"""More than any that we give."""

_CONSISTENCIES = {
    stock_pb2.CONSISTENCY_UNSPECIFIED: Consistency.QUORUM,
    stock_pb2.CONSISTENCY_STRONG: Consistency.STRONG,
    stock_pb2.CONSISTENCY_QUORUM: Consistency.QUORUM,
    stock_pb2.CONSISTENCY_LOCAL: Consistency.LOCAL,
}
_POLICIES = {
    stock_pb2.STOCK_POLICY_UNSPECIFIED: StockPolicy.ESCROW,
    stock_pb2.STOCK_POLICY_EXACT: StockPolicy.EXACT,
    stock_pb2.STOCK_POLICY_ESCROW: StockPolicy.ESCROW,
    stock_pb2.STOCK_POLICY_COUNTER: StockPolicy.COUNTER,
}


class StockService:
    def __init__(self, store: StockStore, journals: Journals, reading: StockReading, watching: StockWatching) -> None:
        self._store = store
        self._journals = journals
        self._reading = reading
        self._watching = watching

    def handler(self) -> grpc.GenericRpcHandler:
        return server.service(
            SERVICE_NAME,
            {
                "CreateSku": server.unary(_told(self.create_sku), stock_pb2.CreateSkuRequest),
                "Restock": server.unary(_told(self.restock), stock_pb2.RestockRequest),
                "Withdraw": server.unary(_told(self.withdraw), stock_pb2.WithdrawRequest),
                "SpreadSku": server.unary(_told(self.spread_sku), stock_pb2.SpreadSkuRequest),
                "GetStock": server.unary(_told(self.get_stock), stock_pb2.GetStockRequest),
                "WatchStock": server.server_stream(self.watch_stock, stock_pb2.WatchStockRequest),
                "ListSkus": server.unary(_told(self.list_skus), stock_pb2.ListSkusRequest),
                "SetCustomerLimit": server.unary(_told(self.set_customer_limit), stock_pb2.SetCustomerLimitRequest),
                "GetCustomerLimit": server.unary(_told(self.get_customer_limit), stock_pb2.GetCustomerLimitRequest),
            },
        )

    async def create_sku(self, request: stock_pb2.CreateSkuRequest) -> stock_pb2.CreateSkuResponse:
        violations = name_violations(request.sku, "sku")
        if request.units > MAX_RESTOCK_UNITS:
            violations.append(Violation("units", f"must be at most {MAX_RESTOCK_UNITS}"))
        if request.policy not in _POLICIES:
            violations.append(Violation("policy", "is not a known policy"))
        if request.owners > MAX_OWNERS:
            violations.append(Violation("owners", f"must be at most {MAX_OWNERS}"))
        if violations:
            raise invalid(violations)
        sku = request.sku
        policy = _POLICIES[request.policy]
        standing = await self._store.create_sku(sku, policy)
        replayed = standing is not None
        if standing not in (None, policy):
            raise _sku_exists(sku)
        units, first_id = request.units, uuid5(FIRST_UNITS_NAMESPACE, sku)
        outcome = await _once(lambda: self._store.restock(sku, first_id, units), units)
        if isinstance(outcome, Refused):
            if outcome.row is None or outcome.row.units != units:
                raise _sku_exists(sku)
            replayed = True
        if request.owners > 1:
            await self._store.spread(sku, request.owners)
        return stock_pb2.CreateSkuResponse(
            sku=sku,
            units=units,
            policy=policy,  # type: ignore[arg-type]  # the stub wants its own enum class
            replayed=replayed,
        )

    async def restock(self, request: stock_pb2.RestockRequest) -> stock_pb2.RestockResponse:
        restock_id = _checked_id(request.restock_id, "restock_id", request.sku, request.units)
        sku, units = request.sku, request.units
        outcome = await _once(lambda: self._store.restock(sku, restock_id, units), units)
        if isinstance(outcome, NoSuchSku):
            raise sku_not_found(sku)
        if isinstance(outcome, Refused) and (outcome.row is None or outcome.row.units != units):
            raise RpcFailure(
                grpc.StatusCode.ALREADY_EXISTS,
                "RESTOCK_ID_REUSED",
                f"restock {restock_id} of {sku} was made with other units",
                metadata={"sku": sku, "restock_id": str(restock_id)},
            )
        return stock_pb2.RestockResponse(sku=sku, replayed=isinstance(outcome, Refused))

    async def withdraw(self, request: stock_pb2.WithdrawRequest) -> stock_pb2.WithdrawResponse:
        withdrawal_id = _checked_id(request.withdrawal_id, "withdrawal_id", request.sku, request.units)
        sku, units = request.sku, request.units
        head = await self._store.head(sku)
        if head is None:
            raise sku_not_found(sku)
        if head.policy is StockPolicy.COUNTER:
            raise _counter_sku(sku)
        outcome = await _once(lambda: self._store.withdraw(sku, withdrawal_id, units), -units)
        match outcome:
            case NoSuchSku():
                raise sku_not_found(sku)
            case Refused(available, None):
                raise _fewer_available(sku, available)
            case Refused(_, row) if row is not None and row.units != -units:
                raise RpcFailure(
                    grpc.StatusCode.ALREADY_EXISTS,
                    "WITHDRAWAL_ID_REUSED",
                    f"withdrawal {withdrawal_id} of {sku} was made with other units, or is the id of a restock",
                    metadata={"sku": sku, "withdrawal_id": str(withdrawal_id)},
                )
        return stock_pb2.WithdrawResponse(sku=sku, replayed=isinstance(outcome, Refused))

    async def spread_sku(self, request: stock_pb2.SpreadSkuRequest) -> stock_pb2.SpreadSkuResponse:
        violations = name_violations(request.sku, "sku")
        if not 1 <= request.owners <= MAX_OWNERS:
            violations.append(Violation("owners", f"must be 1 to {MAX_OWNERS}"))
        if violations:
            raise invalid(violations)
        if not await self._store.spread(request.sku, request.owners):
            raise sku_not_found(request.sku)
        return stock_pb2.SpreadSkuResponse(sku=request.sku, owners=request.owners)

    async def get_stock(self, request: stock_pb2.GetStockRequest) -> stock_pb2.GetStockResponse:
        violations = name_violations(request.sku, "sku")
        if request.consistency not in _CONSISTENCIES:
            violations.append(Violation("consistency", "is not a known level"))
        if violations:
            raise invalid(violations)
        stock = (await self._reading.read([request.sku], _CONSISTENCIES[request.consistency])).get(request.sku)
        if stock is None:
            raise sku_not_found(request.sku)
        return stock

    async def watch_stock(
        self, request: stock_pb2.WatchStockRequest, context: Any
    ) -> AsyncGenerator[stock_pb2.WatchStockResponse, None]:
        del context
        violations = name_violations(request.sku, "sku")
        if len(request.resume_token) > MAX_RESUME_TOKEN_CHARS:
            violations.append(Violation("resume_token", "is none that WatchStock has given"))
        if violations:
            raise invalid(violations)
        try:
            async with contextlib.aclosing(self._watching.watch(request.sku, request.resume_token)) as stocks:
                async for stock, resume_token in stocks:
                    yield stock_pb2.WatchStockResponse(stock=stock, resume_token=resume_token)
        except NoSuchSkuToWatch as error:
            raise sku_not_found(request.sku) from error
        except Overloaded as error:
            raise _watch_elsewhere("OVERLOADED", str(error), error.retry_after_s) from error
        except Stopping as error:
            raise _watch_elsewhere(STOPPING, "this gateway stops", RETRY_WHEN_STOPPING_S) from error
        except (StoreUnreachable, JournalUnreachable) as error:
            raise _away(error) from error

    async def _available(self, summary: SkuSummary) -> int:
        if summary.policy is not StockPolicy.COUNTER:
            return summary.available
        counts = await self._store.counts(summary.sku, Consistency.QUORUM)
        return max(0, summary.available - counting.counted(counts))

    async def list_skus(self, request: stock_pb2.ListSkusRequest) -> stock_pb2.ListSkusResponse:
        size, size_violations = page_size(request.page_size)
        after, token_violations = read_token(request.page_token, "")
        if violations := size_violations + token_violations:
            raise invalid(violations)
        page = await self._store.list_skus(after, size)
        available: list[int] = []
        for at in range(0, len(page.skus), COUNTS_AT_ONCE):
            available += await asyncio.gather(*(self._available(each) for each in page.skus[at : at + COUNTS_AT_ONCE]))
        return stock_pb2.ListSkusResponse(
            skus=[
                stock_pb2.SkuSummary(
                    sku=summary.sku,
                    policy=summary.policy,  # type: ignore[arg-type]  # as above
                    available=units,
                )
                for summary, units in zip(page.skus, available, strict=True)
            ],
            next_page_token=make_token("", page.next_after) if page.next_after is not None else "",
        )

    async def set_customer_limit(
        self, request: stock_pb2.SetCustomerLimitRequest
    ) -> stock_pb2.SetCustomerLimitResponse:
        violations = name_violations(request.sku, "sku")
        if request.units > MAX_RESTOCK_UNITS:
            violations.append(Violation("units", f"must be at most {MAX_RESTOCK_UNITS}"))
        if violations:
            raise invalid(violations)
        (journal, *others) = self._journals.shards
        if others:
            raise _limits_need_one_journal(1 + len(others))
        # A misspelt SKU must not look as if it had a limit now.
        if await self._store.read(request.sku, Consistency.QUORUM) is None:
            raise sku_not_found(request.sku)
        await journal.set_limit(request.sku, request.units or None)
        return stock_pb2.SetCustomerLimitResponse(sku=request.sku, units=request.units)

    async def get_customer_limit(
        self, request: stock_pb2.GetCustomerLimitRequest
    ) -> stock_pb2.GetCustomerLimitResponse:
        sku, customer_id = request.sku, request.customer_id
        violations = name_violations(sku, "sku") + (name_violations(customer_id, "customer_id") if customer_id else [])
        if violations:
            raise invalid(violations)
        journal = self._journals.shards[0]  # of several none has a limit
        limits = await journal.limits([sku])
        counted = await journal.counted_units(customer_id, [sku]) if customer_id else {}
        return stock_pb2.GetCustomerLimitResponse(sku=sku, units=limits.get(sku, 0), counted=counted.get(sku, 0))


def _checked_id(text: str, field: str, sku: str, units: int) -> UUID:
    """Of a restock or a withdrawal. Raises RpcFailure, which names all that is wrong with it."""
    movement_id, id_violations = parse_uuid(text, field)
    violations = name_violations(sku, "sku") + id_violations
    if not 0 < units <= MAX_RESTOCK_UNITS:
        violations.append(Violation("units", f"must be 1 to {MAX_RESTOCK_UNITS}"))
    if violations:
        raise invalid(violations)
    return UUID(movement_id)


async def _once(write: Callable[[], Awaitable[WriteOutcome]], row_units: int) -> WriteOutcome:
    """Restocks or withdraws under an id, resending where the outcome is unknown: then a refusal that shows the same
    units in the row means that an earlier copy was applied.
    """
    for resend in range(RESENDS_WHEN_UNKNOWN + 1):
        try:
            outcome = await write()
        except StoreUnreachable as error:
            if not error.outcome_unknown or resend == RESENDS_WHEN_UNKNOWN:
                raise
            continue
        if resend and isinstance(outcome, Refused) and outcome.row is not None and outcome.row.units == row_units:
            return Applied()
        return outcome
    raise AssertionError("unreachable")


def sku_not_found(sku: str) -> RpcFailure:
    return RpcFailure(grpc.StatusCode.NOT_FOUND, "SKU_NOT_FOUND", f"there is no SKU {sku}", metadata={"sku": sku})


def _limits_need_one_journal(journals: int) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "LIMITS_NEED_ONE_JOURNAL",
        f"orders are divided over {journals} journals, and a limit per customer is counted within one",
    )


def _fewer_available(sku: str, available: int) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "FEWER_AVAILABLE",
        f"{available} units of {sku} are available, fewer than are to be withdrawn",
        metadata={"sku": sku, "available": str(available)},
    )


def _counter_sku(sku: str) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "COUNTER_SKU",
        f"{sku} is sold by counting: nobody knows at one moment how many units are left to withdraw",
        metadata={"sku": sku},
    )


def _sku_exists(sku: str) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.ALREADY_EXISTS,
        "SKU_EXISTS",
        f"SKU {sku} stands with another policy or other first units; use Restock to add units",
        metadata={"sku": sku},
    )


def _told(method: Callable[[Any], Any]) -> server.UnaryHandler:
    """Turns what is away into UNAVAILABLE with an invitation to come back."""

    async def answer(request: Any, context: Any) -> Any:
        del context
        try:
            return await method(request)
        except (StoreUnreachable, JournalUnreachable) as error:
            raise _away(error) from error

    answer.__qualname__ = method.__qualname__
    return answer


def _away(error: StoreUnreachable | JournalUnreachable) -> RpcFailure:
    if isinstance(error, StoreUnreachable):
        return _unavailable("STOCK_UNREACHABLE", "the stock store cannot be reached")
    return _unavailable("JOURNAL_UNREACHABLE", "the journal cannot be reached")


def _watch_elsewhere(reason: str, why: str, retry_after_s: float) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.UNAVAILABLE,
        reason,
        f"{why}: watch the SKU again, here later or at another gateway, with the last resume_token that you were told",
        retry_after_s=retry_after_s,
    )


def _unavailable(reason: str, message: str) -> RpcFailure:
    return RpcFailure(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after_s=RETRY_WHEN_AWAY_S)
