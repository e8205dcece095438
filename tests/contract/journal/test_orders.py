"""Orders are found by id and listed newest id first, page by page, without gaps or repeats."""

from uuid import uuid4

from journal.protocol import Journal
from tests.journals import new_order, registered, sale


async def test_find_returns_those_that_stand(journal: Journal) -> None:
    incarnation = await registered(journal)
    order = new_order()
    await journal.commit(sale(incarnation, 1, [order]))
    assert list(await journal.find_orders([str(uuid4()), order.order_id, str(uuid4())])) == [order.order_id]
    assert await journal.find_orders([]) == {}


async def test_pages_of_one_customer_and_of_all(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order(customer_id=f"customer-{n % 3}") for n in range(20)]
    await journal.commit(sale(incarnation, 1, orders))
    for customer_id in ("customer-1", None):
        wanted = sorted((order.order_id for order in orders if customer_id in (None, order.customer_id)), reverse=True)
        paged: list[str] = []
        while page := await journal.list_orders(customer_id, paged[-1] if paged else None, 3):
            assert len(page) <= 3
            paged += [order.order_id for order in page]
        assert paged == wanted


async def test_an_unknown_customer_has_no_orders(journal: Journal) -> None:
    assert await journal.list_orders("nobody", None, 10) == []


async def test_a_scan_shows_every_order_once_as_of_its_beginning(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order() for _ in range(4_500)]
    await journal.commit(sale(incarnation, 1, orders))
    scan = journal.scan_orders()
    seen = [order.order_id for order in await anext(scan)]
    assert len(seen) < len(orders)
    await journal.commit(sale(incarnation, 2, [new_order() for _ in range(500)]))
    seen += [order.order_id async for page in scan for order in page]
    assert sorted(seen) == sorted(order.order_id for order in orders)


async def test_a_scan_may_be_left_early(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order() for _ in range(2_500)]))
    scan = journal.scan_orders()
    await anext(scan)
    await scan.aclose()
    await journal.ping()
