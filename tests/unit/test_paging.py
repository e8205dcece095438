"""A page token goes on where its page ended, for its own question only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, make_token, page_size, read_token

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(TEXT, TEXT)
def test_a_token_comes_back_as_the_key_it_was_made_of(question: str, key: str) -> None:
    assert read_token(make_token(question, key), question) == (key, [])


@given(TEXT, TEXT, TEXT)
def test_a_token_of_another_question_is_refused(question: str, other: str, key: str) -> None:
    if question != other:
        found, violations = read_token(make_token(question, key), other)
        assert found is None
        assert [violation.field for violation in violations] == ["page_token"]


@given(TEXT | st.binary(max_size=20).map(lambda junk: base64.urlsafe_b64encode(junk).decode()), TEXT)
def test_whatever_is_sent_as_a_token_is_a_key_or_a_bad_field(token: str, question: str) -> None:
    found, violations = read_token(token, question)
    assert not violations or found is None


def test_no_token_is_the_first_page() -> None:
    assert read_token("", "anna") == (None, [])


@pytest.mark.parametrize(
    ("asked", "used"), [(0, DEFAULT_PAGE_SIZE), (1, 1), (MAX_PAGE_SIZE, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)]
)
def test_the_size_is_bounded(asked: int, used: int) -> None:
    assert page_size(asked) == (used, [])


def test_a_negative_size_is_refused() -> None:
    _, violations = page_size(-1)
    assert [violation.field for violation in violations] == ["page_size"]
