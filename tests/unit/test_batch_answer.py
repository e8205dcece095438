"""What a batch is answered is the same message, however it was put together."""

from datetime import UTC, datetime

import pytest

from gateway.messages import batch_answer
from gateway.outcomes import Outcome, Reason, Refused, newly_accepted
from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.model import Line, NewOrder

ACCEPTED = newly_accepted(datetime.now(UTC))
REPLAYED = ACCEPTED._replace(replayed=True)
SOLD_OUT = Refused(Reason.OUT_OF_STOCK, "teapot")
AWAY = Refused(Reason.JOURNAL_UNREACHABLE, "", 1.0)


@pytest.mark.parametrize(
    "outcomes",
    [[ACCEPTED], [ACCEPTED] * 3, [REPLAYED, REPLAYED], [ACCEPTED, REPLAYED], [ACCEPTED, SOLD_OUT, AWAY], [SOLD_OUT]],
)
@pytest.mark.parametrize("done", [True, False])
def test_every_order_has_its_result(outcomes: list[Outcome], done: bool) -> None:
    orders = [NewOrder(new_order_id(), "anna", (Line("teapot", 1),)) for _ in outcomes]
    answer = batch_answer(7, orders, outcomes, done=done)
    assert (answer.batch_id, answer.done) == (7, done)
    assert [result.order_id for result in answer.results] == [order.order_id for order in orders]
    for result, outcome in zip(answer.results, outcomes, strict=True):
        if isinstance(outcome, Refused):
            final = outcome.reason is Reason.OUT_OF_STOCK
            assert result.outcome == (orders_pb2.OUTCOME_REJECTED if final else orders_pb2.OUTCOME_RETRY)
            assert result.reason == outcome.reason.value
            assert result.detail
        else:
            assert result == orders_pb2.OrderResult(
                order_id=result.order_id, outcome=orders_pb2.OUTCOME_ACCEPTED, replayed=outcome.replayed
            )
