"""Numbers and flags from any text: read as what they are, or refused with a sentence."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobrag_jax.command.flags import FLAGS, parse
from nanobrag_jax.errors import LONGEST, InputError
from nanobrag_jax.io.number_columns import parse_table
from nanobrag_jax.io.text import finite_number, is_number

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def one_sentence(error):
    assert str(error).isprintable() and 0 < len(str(error)) <= LONGEST


@EXAMPLES
@given(NUMBERS)
def test_every_number_is_read_as_it_is(x):
    for text in (repr(x), f"{x:.17g}", f"{x:.17e}"):
        assert is_number(text) and finite_number(text, "x") == x


@EXAMPLES
@given(st.text(max_size=20))
def test_any_text_is_a_number_or_refused(text):
    try:
        value = finite_number(text, "here")
    except InputError as error:
        one_sentence(error)
        return
    assert math.isfinite(value) and value == float(text) and text.isascii()


@EXAMPLES
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=9))
def test_tables_of_numbers(rows):
    text = "\n".join(" ".join(map(repr, row)) for row in rows).encode()
    np.testing.assert_array_equal(parse_table(text, 3, "x y z").values, rows)


WORDS = st.one_of(
    st.text(max_size=12),
    NUMBERS.map(repr),
    st.integers().map(str),
    st.sampled_from([name.replace("…", "") for flag in FLAGS for name in flag.spellings]),
    st.binary(min_size=8, max_size=8).map(lambda b: repr(struct.unpack("<d", b)[0])),
)


@EXAMPLES
@given(st.lists(WORDS, max_size=6))
def test_any_words_are_settings_or_refused(words):
    try:
        found = parse(words)
    except InputError as error:
        one_sentence(error)
        return
    for value in found.values.values():
        for x in value if isinstance(value, tuple) else (value,):
            assert not isinstance(x, float) or not math.isnan(x)


@pytest.mark.parametrize("text", ["\u0663", "\uff11", "1_000", "0x10", "true", "1e", "", " 1 1"])
def test_what_is_no_number(text):
    assert not is_number(text)
