"""Numbers in texts: a table by hand, exact tolerance, one spelling for each number."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.tasks.numbers import in_digits, is_near, last_number, number_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 42.", "42"),
        ("first 1, then 2", "2"),
        ("1,234.50 dollars", "1234.5"),
        ("1234,567", "567"),  # no separator of thousands: two numbers
        ("-7", "-7"),
        ("−7", "-7"),  # the sign of mathematics
        ("-$5.50", "-5.5"),
        ("3-4", "4"),  # no sign after a digit,
        ("x-4", "4"),  # nor after a letter
        ("12%", "12"),  # signs beside a number are left out
        ("3/4", "3/4"),
        ("on 3/4/2024", "2024"),  # a date is no fraction
        (r"\frac{3}{4}", "3/4"),
        (r"\(1{,}234\)", "1234"),
        ("1.5e3", "1500"),
        (".5", "1/2"),
        ("１２３", "123"),
        ("1,234원", "1234"),
        ("5만원", "50000"),
        ("답은 3만 5천원입니다", "35000"),
        ("1억 2천만 명", "120000000"),
        ("3천5백만원", "35000000"),
        ("1만5천", "15000"),
        ("5조각", "5"),  # five pieces
        ("5만 3명", "3"),
        ("no number", None),
        ("1/0", None),
        ("", None),
        ("9" * 401, None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: str | None) -> None:
    assert number_in(text) == (None if number is None else Fraction(number))


def test_a_loop_of_digits_is_no_number_and_no_hang() -> None:
    for text in ("9" * 20_000, "1," * 20_000, "1만" * 5_000, "-" * 20_000):
        assert number_in(text) in (None, 1, 10_000)


def test_the_number_comes_as_it_is_written() -> None:
    assert [last_number(text) for text in ("about 1,234원", "none", "3만 5천원")] == ["1,234", None, "3만 5천"]


@pytest.mark.parametrize(
    ("number", "tolerance", "relative", "near"),
    [
        ("1.3", 0.3, 0.0, True),  # 1.3 - 1 is 0.3 here, not 0.30000000000000004
        ("1.31", 0.3, 0.0, False),
        ("1.01", 0.0, 0.01, True),
        ("1.011", 0.0, 0.01, False),
        ("1.3", 0.3, 0.01, True),  # the larger of both counts
        ("1", 0.0, 0.0, True),
    ],
)
def test_tolerance_is_exact(number: str, tolerance: float, relative: float, near: bool) -> None:
    assert is_near(Fraction(number), Fraction(1), tolerance, relative) == near


@settings(deadline=None, max_examples=60)
@given(st.fractions(max_denominator=10**6))
def test_each_number_has_one_spelling_that_reads_as_itself(number: Fraction) -> None:
    assert Fraction(in_digits(number)) == number


@settings(deadline=None, max_examples=60)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_decimals_are_read_with_and_without_separators(number: object) -> None:
    assert number_in(f"it is {number:,.3f}.") == number_in(f"it is {number:.3f}.") == Fraction(str(number))
