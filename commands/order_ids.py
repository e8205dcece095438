"""Order ids for our own commands: those of the client library."""

from sluice.client.order_ids import new_order_id

__all__ = ["new_order_id"]
