"""What a process shows on its HTTP port."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping

SCRAPE_LIMIT_S = 5.0


async def scraped(url: str) -> Mapping[str, float]:
    """By name and labels as they stand on the page."""
    page = (await asyncio.to_thread(urllib.request.urlopen, url, None, SCRAPE_LIMIT_S)).read().decode()
    samples = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


async def standing(url: str) -> str:
    """What `/livez` or `/readyz` says. Raises OSError if nothing does within SCRAPE_LIMIT_S."""
    return await asyncio.to_thread(_standing, url)


def _standing(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_LIMIT_S) as answer:
            told: bytes = answer.read()
    except urllib.error.HTTPError as error:
        told = error.read()
    return told.decode().strip()
