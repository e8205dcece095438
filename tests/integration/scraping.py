"""What a process shows on its metrics page."""

import asyncio
import urllib.request
from collections.abc import Mapping

SCRAPE_LIMIT_S = 5.0


async def scraped(url: str) -> Mapping[str, float]:
    """By name and labels as they stand on the page."""
    page = (await asyncio.to_thread(urllib.request.urlopen, url, None, SCRAPE_LIMIT_S)).read().decode()
    samples = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}
