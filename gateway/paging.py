"""Page sizes and page tokens. A token is the last key of the page before, tied to the question it was given for."""

import base64
import binascii

from gateway.validation import Violation

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
"""About 200 KB of orders: well below the message limit, and short for the database."""


def page_size(asked: int) -> tuple[int, list[Violation]]:
    """The size to use, or what is wrong with what was asked for."""
    size = min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return size, [Violation("page_size", "must not be negative")] if asked < 0 else []


def make_token(question: str, last_key: str) -> str:
    return base64.urlsafe_b64encode(f"{len(question)}:{question}{last_key}".encode()).decode()


def read_token(token: str, question: str) -> tuple[str | None, list[Violation]]:
    """The key to go on from, None for the first page; or what is wrong with a token of another question."""
    if not token:
        return None, []
    prefix = f"{len(question)}:{question}"
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    if not text.startswith(prefix):
        return None, [Violation("page_token", "is not a token that this question was answered with")]
    return text.removeprefix(prefix), []
