"""Page sizes and page tokens. A token is the last key of the page before, tied to the question it was given for."""

import base64
import binascii

from sluice.rpc.failure import RpcFailure, invalid

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
"""About 200 KB of orders: well below the message limit, and short for the database."""


def page_size(asked: int) -> int:
    """The size to use; raises INVALID_ARGUMENT if negative."""
    if asked < 0:
        raise invalid([("page_size", "must not be negative")])
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def make_token(question: str, last_key: str) -> str:
    return base64.urlsafe_b64encode(f"{len(question)}:{question}{last_key}".encode()).decode()


def read_token(token: str, question: str) -> str | None:
    """The key to go on from; None for the first page. Raises INVALID_ARGUMENT for a token of another question."""
    if not token:
        return None
    prefix = f"{len(question)}:{question}"
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        raise _bad_token() from None
    if not text.startswith(prefix):
        raise _bad_token()
    return text.removeprefix(prefix)


def _bad_token() -> RpcFailure:
    return invalid([("page_token", "is not a token that this question was answered with")])
