"""A `StockKeeper` over gRPC."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import grpc

from sluice._gen.stock.v1 import stock_pb2
from sluice.errors import KeeperUnreachable
from sluice.rpc.channel import open_channel
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement
from sluice.tls_files import Tls

_SERVICE = "/sluice.stock.v1.StockKeeperService/"


class RpcKeeper:
    """One stock server at `address` (host:port)."""

    def __init__(self, address: str, tls: Tls | None = None) -> None:
        """Without `tls` nothing is encrypted. Raises ValueError, which names the file of TLS that cannot be used."""
        self._channel = open_channel(address, tls)
        self._reserve = self._channel.unary_unary(
            _SERVICE + "Reserve",
            request_serializer=stock_pb2.ReserveRequest.SerializeToString,
            response_deserializer=stock_pb2.ReserveResponse.FromString,
        )
        self._reserve_return = self._channel.unary_unary(
            _SERVICE + "ReserveReturn",
            request_serializer=stock_pb2.ReserveReturnRequest.SerializeToString,
            response_deserializer=stock_pb2.ReserveReturnResponse.FromString,
        )
        self._settle = self._channel.unary_unary(
            _SERVICE + "Settle",
            request_serializer=stock_pb2.SettleRequest.SerializeToString,
            response_deserializer=stock_pb2.SettleResponse.FromString,
        )

    async def reserve(self, batch: ReserveBatch, settlements: Sequence[Settlement], timeout_s: float) -> Reservation:
        request = stock_pb2.ReserveRequest(
            skus=batch.skus,
            lines_per_order=batch.lines_per_order,
            sku_indexes=batch.sku_indexes,
            quantities=batch.quantities,
            settlements=[_settlement_message(settlement) for settlement in settlements],
            shard=batch.shard,
        )
        try:
            response = await self._reserve(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise KeeperUnreachable(f"Reserve: {error.code().name}: {error.details()}") from error
        return Reservation(
            UUID(bytes=response.incarnation),
            response.seq,
            response.verdicts,
            response.blamed_sku_indexes,
            response.owners,
        )

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        request = stock_pb2.ReserveReturnRequest(skus=units.keys(), units=units.values(), shard=shard)
        try:
            response = await self._reserve_return(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise KeeperUnreachable(f"ReserveReturn: {error.code().name}: {error.details()}") from error
        return UUID(bytes=response.incarnation), response.seq

    async def settle(self, settlements: Sequence[Settlement], timeout_s: float) -> None:
        request = stock_pb2.SettleRequest(settlements=[_settlement_message(settlement) for settlement in settlements])
        try:
            await self._settle(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise KeeperUnreachable(f"Settle: {error.code().name}: {error.details()}") from error

    async def close(self) -> None:
        await self._channel.close()


def _settlement_message(settlement: Settlement) -> stock_pb2.Settlement:
    return stock_pb2.Settlement(
        incarnation=settlement.incarnation.bytes,
        seq=settlement.seq,
        skus=settlement.sold.keys(),
        units=settlement.sold.values(),
    )
