"""Orders that were queued and got nothing stand as REJECTED, for good, and hold no units."""

from datetime import timedelta

from journal.protocol import Committed, Journal, OrdersExist, Rejection, RejectionBatch
from sluice.model import OrderState, same_content
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, registered, sale

LATER = NOW + timedelta(seconds=7)


def rejected(*rejections: Rejection) -> RejectionBatch:
    return RejectionBatch(rejections, b"no", len(rejections), LATER)


async def test_rejected_orders_are_found_with_their_reason_and_one_outbox_row(journal: Journal) -> None:
    held = new_order({"cup": 2, "tea": 1})._replace(hold=timedelta(minutes=3))
    plain = new_order(customer_id="bert")._replace(priority=7)
    batch = rejected(Rejection(held, "OUT_OF_STOCK", "cup", 7), Rejection(plain, "SKU_NOT_FOUND", "tea"))
    assert await journal.reject(batch) == Committed()
    after = await standing(journal)
    assert {order_id: (each.state, each.reason, each.version) for order_id, each in after.orders.items()} == {
        held.order_id: (OrderState.REJECTED, "OUT_OF_STOCK", 1),
        plain.order_id: (OrderState.REJECTED, "SKU_NOT_FOUND", 1),
    }
    assert all(same_content(after.orders[new.order_id], new) for new in (held, plain))
    assert after.orders[plain.order_id].create_time == LATER
    assert after.spends == {}
    assert [(row.events, row.event_count, row.create_time) for row in after.outbox] == [(b"no", 2, LATER)]
    assert [each.order_id for each in await journal.list_orders("bert", None, 10)] == [plain.order_id]
    async with journal.lease_holds() as lease:
        assert lease is not None
        assert await lease.due_holds(10) == []


async def test_what_stands_is_not_rejected_and_nothing_else_of_the_batch_is(journal: Journal) -> None:
    incarnation = await registered(journal)
    sold, other = new_order(), new_order()
    await journal.commit(sale(incarnation, 1, [sold]))
    before = await standing(journal)
    result = await journal.reject(rejected(Rejection(other, "OUT_OF_STOCK", "tea"), Rejection(sold, "X", "tea")))
    assert result == OrdersExist({sold.order_id: before.orders[sold.order_id]})
    assert await standing(journal) == before


async def test_a_repeat_shows_that_it_had_happened(journal: Journal) -> None:
    batch = rejected(Rejection(new_order(), "OUT_OF_STOCK", "tea"))
    assert await journal.reject(batch) == Committed()
    before = await standing(journal)
    assert await journal.reject(batch) == OrdersExist(before.orders)
    assert await standing(journal) == before


async def test_a_rejected_order_cannot_be_sold_to(journal: Journal) -> None:
    incarnation = await registered(journal)
    order = new_order()
    await journal.reject(rejected(Rejection(order, "OUT_OF_STOCK", "tea")))
    before = await standing(journal)
    assert await journal.commit(sale(incarnation, 1, [order])) == OrdersExist(before.orders)
    assert await standing(journal) == before


async def test_its_customer_may_still_have_all_that_the_limit_allows(journal: Journal) -> None:
    await journal.set_limit("tea", 1)
    await journal.reject(rejected(Rejection(new_order(), "CUSTOMER_LIMIT", "tea")))
    assert (await journal.counted_units("customer-1", ["tea"])).get("tea", 0) == 0


async def test_a_watch_sees_it(journal: Journal) -> None:
    order = new_order()
    assert await journal.find_newer({order.order_id: 0}) == {}
    await journal.reject(rejected(Rejection(order, "OUT_OF_STOCK", "tea")))
    found = await journal.find_newer({order.order_id: 0})
    assert found[order.order_id].state is OrderState.REJECTED
