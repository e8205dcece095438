"""Slopes in round numbers, so that what follows from them can be seen."""

from dataclasses import replace

from capacity.slopes import Costs, Drivers, Slopes

SLOPES = Slopes(
    source={"command": "made up", "started": "never", "machine": {"cores": 2}},
    cpu_us=Costs(
        gateway=Drivers(order=8, line=3, message=150, call=200, group=200, entry=4),
        stockd=Drivers(order=2, line=1, group=200, entry=4, write=300, fetch=500, waiting=3),
        postgres=Drivers(order=8, line=1, transaction=250, entry=1),
        relay=Drivers(order=14, line=5, transaction=50),
        kafka=Drivers(order=1, line=0.5, log_batch=20),
        cassandra=Drivers(write=800, fetch=2_000, second=50_000),
    ),
    journal_orders_per_s=150_000,
    partition_events_per_s=300_000,
    consumer_events_per_s=150_000,
    consumer_us_per_event=6,
    sku_writes_per_s=150,
    contended_sku_writes_per_s=200,
    ledger_writes_per_s=1_500,
    journal_bytes_per_order=300,
    journal_bytes_per_line=50,
    log_bytes_per_order=200,
    log_bytes_per_line=60,
    ledger_bytes_per_sku=300,
    max_connections=200,
    lone_order_s=0.006,
    synced_write_s=0.0002,
)


def dear(part: str) -> Slopes:
    """The same with one part so dear, for each order, that it must be full first."""
    costs = replace(SLOPES.cpu_us, **{part: Drivers(order=60)})
    return replace(SLOPES, cpu_us=costs)
