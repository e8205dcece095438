"""More SKUs, more stock servers, more journals; and how fast events drain."""

from bench.figures import spread
from bench.report import wording
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, cpu_us_per_order, own_cpu_us, select, writes_per_1000


def blocks(document: Document) -> list[Block]:
    return [*_scale(document), *_drain(document)]


def _scale(document: Document) -> list[Block]:
    measured = [
        ("1 SKU, 2 stock servers", select(document, "stream", "cluster", load="hot")),
        ("1,000 SKUs, 2 stock servers", select(document, "stream", "cluster", load="some")),
        ("10,000 SKUs, 2 stock servers", select(document, "stream", "cluster", load="many")),
    ]
    measured += [(f"{run['skus']:,} SKUs, 2 stock servers", [run]) for run in document["runs"] if run["kind"] == "skus"]
    fleets = [run for run in document["runs"] if run["kind"] == "stockds"]
    if not fleets and len(measured) == 3:
        return []
    measured += [
        (f"{'1 SKU' if run['load'] == 'hot' else '1,000 SKUs'}, {run['stockds']} stock server(s) of their own", [run])
        for run in sorted(fleets, key=lambda run: (run["load"], run["stockds"]))
    ]
    measured += [
        (f"1 SKU, 2 stock servers and {run['journals']} journal(s) of their own, no relay", [run])
        for run in document["runs"]
        if run["kind"] == "journals"
    ]
    rows = []
    for label, runs in measured:
        if not runs:
            continue
        by_role = cpu_us_per_order(runs)
        rows.append(
            (
                label,
                wording.rate(runs),
                *(wording.micros(by_role.get(role)) for role in ("gateway", "stockd")),
                wording.micros(spread(own_cpu_us(runs)).middle) if own_cpu_us(runs) else "",
                f"{spread(writes_per_1000(runs)).middle:.2f}",
                wording.refused(runs),
            )
        )
    text = (
        "Streams, 500 orders a message. With very many SKUs nearly every order is the first of its SKU and waits for a"
        " conditional write, so that fewer messages are on the way at a time. With one SKU all but"
        " one of several stock servers have nothing to do. Several journals are databases of one PostgreSQL server"
        " here: what they cost is seen, and not what several servers would give."
    )
    head = (
        *("what", "orders/s", "gateway µs", "stockd µs", "both µs an order"),
        *("conditional writes per 1,000 orders", "refused"),
    )
    picture = Picture("scale.png", "CPU of gateway and stock servers for each order")
    return [Heading("With more SKUs, stock servers and journals"), Text(text), Table(head, rows), picture]


def _drain(document: Document) -> list[Block]:
    behind = select(document, "drain", "cluster", load="behind")
    beside = select(document, "drain", "cluster", load="beside")
    if not behind or not beside:
        return []
    alone = spread([run["accepted"] / (run["drained_s"] - run["answered_s"]) for run in behind])
    rows = [
        ("accepted, relay and consumer standing still", wording.rate(behind)),
        ("drained afterwards, nothing else at work", wording.count(alone)),
        ("accepted, relay and consumer at work on the same cores", wording.rate(beside)),
        (
            "drained meanwhile",
            wording.count(spread([run["handled_meanwhile"] / run["answered_s"] for run in beside])),
        ),
        (
            "from the first order to the last event handled",
            wording.count(spread([run["accepted"] / run["drained_s"] for run in beside])),
        ),
    ]
    text = (
        "One hot SKU, stream. An order counts as drained when its events are on Kafka and the consumer `compensation`,"
        " which a local cluster runs, has handled its `stock-changed`."
    )
    if document["plan"].get("warm_drains"):
        text += " Kafka has just started: some drains before, while its compilers are at work, are not counted."
    return [Heading("Events"), Text(text), Table(("what", "orders/s"), rows)]
