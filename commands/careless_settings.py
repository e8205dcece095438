"""Says at the start of a stock server which settings of the stores may lose what was answered. It is advice."""

import structlog

from journal import postgres_durability
from sluice.seams.stock_store import StockStore
from sluice.settings import JournalSettings

_log = structlog.get_logger(__name__)


async def tell_of_careless_settings(settings: JournalSettings, store: StockStore) -> None:
    """One line for all of them."""
    found: list[str] = []
    try:
        for url in settings.journal_urls:
            found += await postgres_durability.careless_settings(url, settings.journal_timeout_s)
        found += await store.careless_settings()
    except Exception as error:  # noqa: BLE001 - who may not ask, or cannot now, sells all the same
        _log.debug("the settings of a store are not known", reason=str(error))
    if found:
        _log.warning("a power cut may lose what was answered", settings=found)
