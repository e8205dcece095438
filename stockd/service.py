"""`StockKeeperService`: the engine over gRPC. Internal, but a malformed batch is refused all the same."""

from typing import Any
from uuid import UUID

import grpc

from sluice._gen.stock.v1 import stock_pb2
from sluice.errors import KeeperUnreachable
from sluice.rpc import server
from sluice.rpc.failure import RpcFailure, invalid
from sluice.seams.stock_keeper import ReserveBatch, Settlement
from stockd.engine import Engine

SERVICE_NAME = "sluice.stock.v1.StockKeeperService"

DEFAULT_TIMEOUT_S = 5.0
"""For callers without a deadline."""


def keeper_service(engine: Engine) -> grpc.GenericRpcHandler:
    async def reserve(request: stock_pb2.ReserveRequest, context: Any) -> stock_pb2.ReserveResponse:
        _check(request, engine.shards)
        batch = ReserveBatch(
            request.skus, request.lines_per_order, request.sku_indexes, request.quantities, request.shard
        )
        timeout_s = server.time_left_s(context, without_deadline_s=DEFAULT_TIMEOUT_S)
        try:
            reservation = await engine.reserve(batch, _settlements(request.settlements), timeout_s)
        except KeeperUnreachable as error:
            raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "FENCED", str(error)) from error
        return stock_pb2.ReserveResponse(
            incarnation=reservation.incarnation.bytes,
            seq=reservation.seq,
            verdicts=reservation.verdicts,  # type: ignore[arg-type]
            blamed_sku_indexes=reservation.blamed,
            owners=reservation.owners,
        )

    async def reserve_return(request: stock_pb2.ReserveReturnRequest, context: Any) -> stock_pb2.ReserveReturnResponse:
        _check_return(request, engine.shards)
        timeout_s = server.time_left_s(context, without_deadline_s=DEFAULT_TIMEOUT_S)
        try:
            incarnation, seq = await engine.reserve_return(
                dict(zip(request.skus, request.units, strict=True)), request.shard, timeout_s
            )
        except KeeperUnreachable as error:
            raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "FENCED", str(error)) from error
        return stock_pb2.ReserveReturnResponse(incarnation=incarnation.bytes, seq=seq)

    async def settle(request: stock_pb2.SettleRequest, context: Any) -> stock_pb2.SettleResponse:
        del context
        await engine.settle(_settlements(request.settlements), DEFAULT_TIMEOUT_S)
        return stock_pb2.SettleResponse()

    return server.service(
        SERVICE_NAME,
        {
            "Reserve": server.unary(reserve, stock_pb2.ReserveRequest),
            "ReserveReturn": server.unary(reserve_return, stock_pb2.ReserveReturnRequest),
            "Settle": server.unary(settle, stock_pb2.SettleRequest),
        },
    )


def _settlements(messages: Any) -> list[Settlement]:
    return [
        Settlement(UUID(bytes=message.incarnation), message.seq, dict(zip(message.skus, message.units, strict=True)))
        for message in messages
    ]


def _check(request: stock_pb2.ReserveRequest, shards: int) -> None:
    violations = _shard_violations(request.shard, shards)
    line_count = len(request.sku_indexes)
    if len(request.quantities) != line_count:
        violations.append(("quantities", "must have as many entries as sku_indexes"))
    if request.lines_per_order and (sum(request.lines_per_order) != line_count or not all(request.lines_per_order)):
        violations.append(("lines_per_order", "must be positive and add up to the number of lines"))
    if line_count and max(request.sku_indexes) >= len(request.skus):
        violations.append(("sku_indexes", "must point into skus"))
    if not all(request.quantities):
        violations.append(("quantities", "must be positive"))
    if len(set(request.skus)) != len(request.skus):
        violations.append(("skus", "must name each SKU once"))
    if any(len(settlement.incarnation) != 16 for settlement in request.settlements):
        violations.append(("settlements.incarnation", "must have 16 bytes"))
    if any(len(settlement.skus) != len(settlement.units) for settlement in request.settlements):
        violations.append(("settlements.units", "must have as many entries as skus"))
    if violations:
        raise invalid(violations)


def _shard_violations(shard: int, shards: int) -> list[tuple[str, str]]:
    return [] if shard < shards else [("shard", f"must be below {shards}, the number of journals")]


def _check_return(request: stock_pb2.ReserveReturnRequest, shards: int) -> None:
    violations = _shard_violations(request.shard, shards)
    if len(request.skus) != len(request.units):
        violations.append(("units", "must have as many entries as skus"))
    if not request.units or not all(request.units):
        violations.append(("units", "must be positive, one at least"))
    if len(set(request.skus)) != len(request.skus):
        violations.append(("skus", "must name each SKU once"))
    if violations:
        raise invalid(violations)
