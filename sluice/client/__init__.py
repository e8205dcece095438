"""A client of Sluice for programs in Python. `Client` is for asyncio; `sluice.client.sync.Client` is for threads."""

from sluice.client.answers import (
    Consistency,
    Line,
    Order,
    OrderState,
    Placed,
    QueuePosition,
    SkuSummary,
    Stock,
    StockPolicy,
)
from sluice.client.client import Client
from sluice.client.errors import (
    CallFailed,
    CustomerLimit,
    InvalidCall,
    InvalidOrder,
    OrderIdReused,
    OrderNotFound,
    OutOfStock,
    Refused,
    RestockIdReused,
    SkuExists,
    SkuNotFound,
    SluiceError,
    Unavailable,
    Violation,
    WrongState,
)
from sluice.client.order_ids import new_order_id
from sluice.tls_files import Tls

__all__ = [
    "CallFailed",
    "Client",
    "Consistency",
    "CustomerLimit",
    "InvalidCall",
    "InvalidOrder",
    "Line",
    "Order",
    "OrderIdReused",
    "OrderNotFound",
    "OrderState",
    "OutOfStock",
    "Placed",
    "QueuePosition",
    "Refused",
    "RestockIdReused",
    "SkuExists",
    "SkuNotFound",
    "SkuSummary",
    "SluiceError",
    "Stock",
    "StockPolicy",
    "Tls",
    "Unavailable",
    "Violation",
    "WrongState",
    "new_order_id",
]
