"""Rounds of faults under load, each followed by healing and by a look at everything."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.chaos.buyers import Buyers
from tests.chaos.checks import Books, exceptions_in_logs, settle
from tests.chaos.faults import Strike, strikes
from tests.chaos.records import Finding
from tests.chaos.shelf import stock_shelf
from tests.chaos.striking import Broken, Striking
from tests.chaos.system import System, links
from tests.integration.buying import OUT_OF_STOCK, connected

ROUND_S = 90.0
"""Faults before everything is healed and checked: a finding then has a history that one can read."""

CALM_S = 3.0
"""Buyers before the first fault, so that it strikes a sale that is going on."""

TELL_EVERY_S = 5.0

CONNECTIONS = 4
THREADS = 32
"""Servers are started, asked and killed from threads; several at once."""

HISTORY_BEFORE_S = 20.0
"""What was broken so long before something went wrong may have to do with it."""

Say = Callable[[str], None]


class Result(NamedTuple):
    findings: list[Finding]
    history: list[str]
    """The faults of the round in which the findings were made."""


async def run_rounds(system: System, seed: int, limit_s: float, say: Say) -> Result:
    """Until `limit_s` is over or something is found; at least one round. Says what it does as it does it."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    striking = Striking(system, lambda text: say(f"{striking.now_s:8.1f} s  {text}"))
    drawn = strikes(seed, system.names, links(system.cluster.spec))
    chance = random.Random(seed)
    books = Books()
    logs_read_to: dict[str, int] = {}
    number = 0
    while True:
        number += 1
        began_s = striking.now_s
        this_round_s = min(ROUND_S, max(limit_s - began_s, 0.0))
        findings = await _round(system, striking, drawn, chance, books, f"round{number}", this_round_s, say)
        findings += exceptions_in_logs(system, logs_read_to)
        if findings or striking.now_s >= limit_s:
            return Result(findings, striking.history(began_s))


async def _round(
    system: System,
    striking: Striking,
    drawn: Iterator[Strike],
    chance: random.Random,
    books: Books,
    name: str,
    for_s: float,
    say: Say,
) -> list[Finding]:
    findings: list[Finding] = []
    async with connected(system.cluster.endpoints.gateways, CONNECTIONS) as clients:
        shelf = await stock_shelf(clients[0], name)
        buyers = Buyers(clients, shelf, chance, lambda: striking.now_s, name)
        coming = asyncio.create_task(buyers.come())
        restarting = asyncio.create_task(striking.keep_restarting())
        telling = asyncio.create_task(_tell_how_it_goes(buyers, striking, say))
        try:
            breaking = asyncio.create_task(_break_things(striking, drawn, for_s))
            await asyncio.wait([breaking, restarting, coming], return_when=asyncio.FIRST_COMPLETED)
            for task in (restarting, coming, breaking):
                if task.done():
                    task.result()
            say(f"{striking.now_s:8.1f} s  healing")
            await striking.make_whole()
            healed_s = striking.now_s
            await asyncio.sleep(CALM_S)
        except* Broken as broken:
            findings += [Finding("process", name, str(each)) for each in broken.exceptions]
        finally:
            for task in (breaking, restarting, coming, telling):
                task.cancel()
            await asyncio.gather(breaking, restarting, coming, telling, return_exceptions=True)
        await buyers.leave()
        if findings:
            return findings
        settled = await settle(system, clients, buyers, shelf, books, findings)
        records = buyers.records.values()
        say(
            f"{striking.now_s:8.1f} s  {name}: {len(records)} orders wanted,"
            f" {sum(record.accepted for record in records)} accepted; answers: {_shown(buyers.told)};"
            f" whole at {healed_s:.1f} s, outbox empty {settled.lag_s:.1f} s and escrow empty {settled.escrow_s:.1f} s"
            f" after the last buyer; {settled.orders} orders and {settled.events} events so far;"
            f" {settled.stands_although_refused} stand although a second call was told {OUT_OF_STOCK};"
            f" {buyers.turned_away} turned away; findings: {len(findings)}"
        )
    return findings


async def _break_things(striking: Striking, drawn: Iterator[Strike], for_s: float) -> None:
    end = time.monotonic() + for_s
    await asyncio.sleep(CALM_S)
    while time.monotonic() < end:
        strike = next(drawn)
        await striking.strike(strike)
        await asyncio.sleep(strike.pause_s)


async def _tell_how_it_goes(buyers: Buyers, striking: Striking, say: Say) -> None:
    told = Counter(buyers.told)
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        say(f"{striking.now_s:8.1f} s      answers: {_shown(buyers.told - told)}")
        told = Counter(buyers.told)


def _shown(told: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in told.most_common()) or "none"


def report(result: Result) -> str:
    """What was found, with what was broken around that time."""
    lines = []
    for finding in result.findings:
        lines.append(f"FINDING {finding.what} {finding.subject}: {finding.message}")
    lines.append("What was broken in that round, from and to in seconds since the system stood:")
    lines += result.history
    return "\n".join(lines)
