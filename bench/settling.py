"""When nothing of what was measured before is still at work: a run begins and ends in quiet."""

import asyncio
import time
from collections.abc import Sequence
from urllib.request import urlopen

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

METRICS_TIMEOUT_S = 5.0

QUIET_LIMIT_S = 180.0

GIVEN_BACK_LIMIT_S = 180.0
"""Units of 1,000 SKUs need some 20 s."""

GIVEN_BACK_POLL_S = 0.5

DRAIN_LIMIT_S = 600.0
"""For the relay to publish what a run left behind."""

DRAIN_POLL_S = 0.05


def metric_total(pages: Sequence[str], name: str) -> float:
    """The sum of one metric over all its labels and over the metrics pages of several processes."""
    total = 0.0
    for url in pages:
        with urlopen(url, timeout=METRICS_TIMEOUT_S) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                total += sum(sample.value for sample in family.samples if sample.name == name)
    return total


def conditional_writes(pages: Sequence[str]) -> int:
    """That stock servers have made so far; `pages` are their metrics."""
    return int(metric_total(pages, "sluice_stockd_takes_total"))


def wait_until_quiet(pages: Sequence[str], quiet_s: float) -> None:
    """Returns when the stock servers have written nothing for so long: what was taken ahead for the run before is back.
    Raises TimeoutError.
    """
    deadline = time.monotonic() + QUIET_LIMIT_S
    before = -1
    while (now := conditional_writes(pages)) != before:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stock servers have not become quiet in {QUIET_LIMIT_S:g} s")
        before = now
        time.sleep(quiet_s if pages else 0)


def wait_until_given_back(pages: Sequence[str]) -> None:
    """Returns when the stock servers hold no units any more: demand for them has faded. Raises TimeoutError."""
    deadline = time.monotonic() + GIVEN_BACK_LIMIT_S
    while metric_total(pages, "sluice_stockd_escrow_units") > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stock servers still hold units after {GIVEN_BACK_LIMIT_S:g} s")
        time.sleep(GIVEN_BACK_POLL_S)


def wait_until_published(journal_url: str) -> None:
    """Returns when the outbox is empty. Raises TimeoutError."""
    asyncio.run(_until_published(journal_url))


async def _until_published(journal_url: str) -> None:
    deadline = time.monotonic() + DRAIN_LIMIT_S
    connection = await asyncpg.connect(journal_url)
    try:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay has not emptied the outbox in {DRAIN_LIMIT_S:g} s")
            await asyncio.sleep(DRAIN_POLL_S)
    finally:
        await connection.close()
