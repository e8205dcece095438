"""A client of Sluice for programs in Python. `Client` is for asyncio; `sluice.client.sync.Client` is for threads."""

from sluice.client.answers import Consistency, Line, Order, OrderState, Placed, Stock, StockPolicy
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
    "Refused",
    "RestockIdReused",
    "SkuExists",
    "SkuNotFound",
    "SluiceError",
    "Stock",
    "StockPolicy",
    "Unavailable",
    "Violation",
    "WrongState",
    "new_order_id",
]
