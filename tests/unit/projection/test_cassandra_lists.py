"""Lists are written to Cassandra as its own driver writes them."""

import struct

import pytest
from cassandra.cqltypes import ListType, LongType, UTF8Type
from hypothesis import given
from hypothesis import strategies as st

from stockd.stores.cassandra_lists import bigints, texts

PROTOCOL_VERSION = 4


@given(st.lists(st.integers(min_value=-(2**63), max_value=2**63 - 1)))
def test_bigints(values: list[int]) -> None:
    assert bigints(values) == ListType.apply_parameters([LongType]).to_binary(values, PROTOCOL_VERSION)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts(values: list[str]) -> None:
    assert texts(values) == ListType.apply_parameters([UTF8Type]).to_binary(values, PROTOCOL_VERSION)


def test_what_is_no_bigint_is_refused() -> None:
    with pytest.raises(struct.error):
        bigints([2**63])
