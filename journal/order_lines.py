"""Lines as the databases keep them: `[["sku", quantity], ...]`, sorted by SKU."""

import json
from functools import lru_cache

from sluice.model import Line

CACHED_LINES = 1_024
"""In a sale most orders ask for the same few things. Full of the largest carts it is about 16 MB."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(CACHED_LINES)
def encode_lines(lines: tuple[Line, ...]) -> str:
    return _encode(lines)


@lru_cache(CACHED_LINES)
def decode_lines(text: str) -> tuple[Line, ...]:
    return tuple(Line(sku, quantity) for sku, quantity in json.loads(text))
