import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StockPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOCK_POLICY_UNSPECIFIED: _ClassVar[StockPolicy]
    STOCK_POLICY_EXACT: _ClassVar[StockPolicy]
    STOCK_POLICY_ESCROW: _ClassVar[StockPolicy]
    STOCK_POLICY_COUNTER: _ClassVar[StockPolicy]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_STRONG: _ClassVar[Consistency]
    CONSISTENCY_QUORUM: _ClassVar[Consistency]
    CONSISTENCY_LOCAL: _ClassVar[Consistency]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_GRANTED: _ClassVar[Verdict]
    VERDICT_OUT_OF_STOCK: _ClassVar[Verdict]
    VERDICT_SKU_NOT_FOUND: _ClassVar[Verdict]
    VERDICT_LEDGER_UNREACHABLE: _ClassVar[Verdict]
    VERDICT_OVERLOADED: _ClassVar[Verdict]
    VERDICT_AGAIN: _ClassVar[Verdict]
STOCK_POLICY_UNSPECIFIED: StockPolicy
STOCK_POLICY_EXACT: StockPolicy
STOCK_POLICY_ESCROW: StockPolicy
STOCK_POLICY_COUNTER: StockPolicy
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_STRONG: Consistency
CONSISTENCY_QUORUM: Consistency
CONSISTENCY_LOCAL: Consistency
VERDICT_UNSPECIFIED: Verdict
VERDICT_GRANTED: Verdict
VERDICT_OUT_OF_STOCK: Verdict
VERDICT_SKU_NOT_FOUND: Verdict
VERDICT_LEDGER_UNREACHABLE: Verdict
VERDICT_OVERLOADED: Verdict
VERDICT_AGAIN: Verdict

class CreateSkuRequest(_message.Message):
    __slots__ = ("sku", "units", "policy", "owners")
    SKU_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    units: int
    policy: StockPolicy
    owners: int
    def __init__(self, sku: _Optional[str] = ..., units: _Optional[int] = ..., policy: _Optional[_Union[StockPolicy, str]] = ..., owners: _Optional[int] = ...) -> None: ...

class CreateSkuResponse(_message.Message):
    __slots__ = ("sku", "units", "policy", "replayed")
    SKU_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    sku: str
    units: int
    policy: StockPolicy
    replayed: bool
    def __init__(self, sku: _Optional[str] = ..., units: _Optional[int] = ..., policy: _Optional[_Union[StockPolicy, str]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class RestockRequest(_message.Message):
    __slots__ = ("sku", "restock_id", "units")
    SKU_FIELD_NUMBER: _ClassVar[int]
    RESTOCK_ID_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    restock_id: str
    units: int
    def __init__(self, sku: _Optional[str] = ..., restock_id: _Optional[str] = ..., units: _Optional[int] = ...) -> None: ...

class RestockResponse(_message.Message):
    __slots__ = ("sku", "replayed")
    SKU_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    sku: str
    replayed: bool
    def __init__(self, sku: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class WithdrawRequest(_message.Message):
    __slots__ = ("sku", "withdrawal_id", "units")
    SKU_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWAL_ID_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    withdrawal_id: str
    units: int
    def __init__(self, sku: _Optional[str] = ..., withdrawal_id: _Optional[str] = ..., units: _Optional[int] = ...) -> None: ...

class WithdrawResponse(_message.Message):
    __slots__ = ("sku", "replayed")
    SKU_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    sku: str
    replayed: bool
    def __init__(self, sku: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class SpreadSkuRequest(_message.Message):
    __slots__ = ("sku", "owners")
    SKU_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    owners: int
    def __init__(self, sku: _Optional[str] = ..., owners: _Optional[int] = ...) -> None: ...

class SpreadSkuResponse(_message.Message):
    __slots__ = ("sku", "owners")
    SKU_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    owners: int
    def __init__(self, sku: _Optional[str] = ..., owners: _Optional[int] = ...) -> None: ...

class GetStockRequest(_message.Message):
    __slots__ = ("sku", "consistency")
    SKU_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    sku: str
    consistency: Consistency
    def __init__(self, sku: _Optional[str] = ..., consistency: _Optional[_Union[Consistency, str]] = ...) -> None: ...

class GetStockResponse(_message.Message):
    __slots__ = ("sku", "policy", "restocked", "available", "escrow", "sold", "as_of", "max_oversell", "max_undersell", "owners")
    SKU_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RESTOCKED_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    ESCROW_FIELD_NUMBER: _ClassVar[int]
    SOLD_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    MAX_OVERSELL_FIELD_NUMBER: _ClassVar[int]
    MAX_UNDERSELL_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    policy: StockPolicy
    restocked: int
    available: int
    escrow: int
    sold: int
    as_of: _timestamp_pb2.Timestamp
    max_oversell: int
    max_undersell: int
    owners: int
    def __init__(self, sku: _Optional[str] = ..., policy: _Optional[_Union[StockPolicy, str]] = ..., restocked: _Optional[int] = ..., available: _Optional[int] = ..., escrow: _Optional[int] = ..., sold: _Optional[int] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_oversell: _Optional[int] = ..., max_undersell: _Optional[int] = ..., owners: _Optional[int] = ...) -> None: ...

class ListSkusRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSkusResponse(_message.Message):
    __slots__ = ("skus", "next_page_token")
    SKUS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    skus: _containers.RepeatedCompositeFieldContainer[SkuSummary]
    next_page_token: str
    def __init__(self, skus: _Optional[_Iterable[_Union[SkuSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SkuSummary(_message.Message):
    __slots__ = ("sku", "policy", "available")
    SKU_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    sku: str
    policy: StockPolicy
    available: int
    def __init__(self, sku: _Optional[str] = ..., policy: _Optional[_Union[StockPolicy, str]] = ..., available: _Optional[int] = ...) -> None: ...

class SetCustomerLimitRequest(_message.Message):
    __slots__ = ("sku", "units")
    SKU_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    units: int
    def __init__(self, sku: _Optional[str] = ..., units: _Optional[int] = ...) -> None: ...

class SetCustomerLimitResponse(_message.Message):
    __slots__ = ("sku", "units")
    SKU_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    sku: str
    units: int
    def __init__(self, sku: _Optional[str] = ..., units: _Optional[int] = ...) -> None: ...

class GetCustomerLimitRequest(_message.Message):
    __slots__ = ("sku", "customer_id")
    SKU_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    sku: str
    customer_id: str
    def __init__(self, sku: _Optional[str] = ..., customer_id: _Optional[str] = ...) -> None: ...

class GetCustomerLimitResponse(_message.Message):
    __slots__ = ("sku", "units", "counted")
    SKU_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    sku: str
    units: int
    counted: int
    def __init__(self, sku: _Optional[str] = ..., units: _Optional[int] = ..., counted: _Optional[int] = ...) -> None: ...

class WatchStockRequest(_message.Message):
    __slots__ = ("sku", "resume_token")
    SKU_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sku: str
    resume_token: str
    def __init__(self, sku: _Optional[str] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchStockResponse(_message.Message):
    __slots__ = ("stock", "resume_token")
    STOCK_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    stock: GetStockResponse
    resume_token: str
    def __init__(self, stock: _Optional[_Union[GetStockResponse, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class Settlement(_message.Message):
    __slots__ = ("incarnation", "seq", "skus", "units")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    SKUS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    incarnation: bytes
    seq: int
    skus: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, incarnation: _Optional[bytes] = ..., seq: _Optional[int] = ..., skus: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[int]] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("skus", "lines_per_order", "sku_indexes", "quantities", "settlements", "shard")
    SKUS_FIELD_NUMBER: _ClassVar[int]
    LINES_PER_ORDER_FIELD_NUMBER: _ClassVar[int]
    SKU_INDEXES_FIELD_NUMBER: _ClassVar[int]
    QUANTITIES_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENTS_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    skus: _containers.RepeatedScalarFieldContainer[str]
    lines_per_order: _containers.RepeatedScalarFieldContainer[int]
    sku_indexes: _containers.RepeatedScalarFieldContainer[int]
    quantities: _containers.RepeatedScalarFieldContainer[int]
    settlements: _containers.RepeatedCompositeFieldContainer[Settlement]
    shard: int
    def __init__(self, skus: _Optional[_Iterable[str]] = ..., lines_per_order: _Optional[_Iterable[int]] = ..., sku_indexes: _Optional[_Iterable[int]] = ..., quantities: _Optional[_Iterable[int]] = ..., settlements: _Optional[_Iterable[_Union[Settlement, _Mapping]]] = ..., shard: _Optional[int] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("incarnation", "seq", "verdicts", "blamed_sku_indexes", "owners")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    BLAMED_SKU_INDEXES_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    incarnation: bytes
    seq: int
    verdicts: _containers.RepeatedScalarFieldContainer[Verdict]
    blamed_sku_indexes: _containers.RepeatedScalarFieldContainer[int]
    owners: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, incarnation: _Optional[bytes] = ..., seq: _Optional[int] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, str]]] = ..., blamed_sku_indexes: _Optional[_Iterable[int]] = ..., owners: _Optional[_Iterable[int]] = ...) -> None: ...

class ReserveReturnRequest(_message.Message):
    __slots__ = ("skus", "units", "shard")
    SKUS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    skus: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[int]
    shard: int
    def __init__(self, skus: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[int]] = ..., shard: _Optional[int] = ...) -> None: ...

class ReserveReturnResponse(_message.Message):
    __slots__ = ("incarnation", "seq")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    incarnation: bytes
    seq: int
    def __init__(self, incarnation: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("settlements",)
    SETTLEMENTS_FIELD_NUMBER: _ClassVar[int]
    settlements: _containers.RepeatedCompositeFieldContainer[Settlement]
    def __init__(self, settlements: _Optional[_Iterable[_Union[Settlement, _Mapping]]] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
