"""A page token goes on where its page ended, for its own question only."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, make_token, page_size, read_token
from sluice.rpc.failure import RpcFailure

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(TEXT, TEXT)
def test_a_token_comes_back_as_the_key_it_was_made_of(question: str, key: str) -> None:
    assert read_token(make_token(question, key), question) == key


@given(TEXT, TEXT, TEXT)
def test_a_token_of_another_question_is_refused(question: str, other: str, key: str) -> None:
    if question != other:
        with pytest.raises(RpcFailure) as refused:
            read_token(make_token(question, key), other)
        assert [field for field, _ in refused.value.violations] == ["page_token"]


@given(TEXT | st.binary(max_size=20).map(lambda junk: base64.urlsafe_b64encode(junk).decode()), TEXT)
def test_whatever_is_sent_as_a_token_is_a_key_or_a_bad_field(token: str, question: str) -> None:
    with suppress(RpcFailure):
        assert isinstance(read_token(token, question), str | None)


def test_no_token_is_the_first_page() -> None:
    assert read_token("", "anna") is None


@pytest.mark.parametrize(
    ("asked", "given"), [(0, DEFAULT_PAGE_SIZE), (1, 1), (MAX_PAGE_SIZE, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)]
)
def test_the_size_is_bounded(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(RpcFailure, match="page_size"):
        page_size(-1)
