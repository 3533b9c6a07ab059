"""Counts of first tokens held against what is expected: tables worked out by hand, and rates by simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from decodebench.deploy.verifying import ALPHA, Expected, Look, judge, look_at, parting

P = [0.5, 0.3, 0.2, 0.0]


def expected(
    probabilities: Sequence[float] = P,
    may: Sequence[bool] | None = None,
    must: Sequence[bool] | None = None,
    tolerance: float = 1e-9,
) -> Expected:
    p_V = np.array(probabilities, np.float64)
    return Expected(
        prompt_id="p",
        probability_V=p_V,
        may_V=p_V > 0 if may is None else np.array(may),
        must_V=p_V > 0 if must is None else np.array(must),
        tolerance=tolerance,
    )


def look(counts: Sequence[int], of: Expected, level: float = 1e-3) -> Look:
    return look_at(of, np.array(counts, np.int64), level)


def test_the_likelihood_ratio_by_hand() -> None:
    found = look([55, 25, 20, 0], expected())
    # 2 (55 ln(55/50) + 25 ln(25/30) + 20 ln 1); with 2 degrees of freedom the chance is exp(-x / 2)
    by_hand = 2 * (55 * math.log(1.1) + 25 * math.log(25 / 30))
    assert found.misfit == pytest.approx(by_hand)
    assert (found.freedom, found.p_value) == (2, pytest.approx(math.exp(-by_hand / 2)))
    assert (found.fits, found.draws, found.kept) == (True, 100, 3)


def test_rare_tokens_make_classes_together() -> None:
    # of 100 draws .1 each is 10: the first of them stays below 20, the two behind it are 20 together
    found = look([70, 5, 10, 15], expected([0.7, 0.1, 0.1, 0.1]))
    assert (found.misfit, found.freedom) == (pytest.approx(2 * (5 * math.log(0.5) + 25 * math.log(1.25))), 2)


def test_a_tail_that_is_cut_off_is_missed() -> None:
    """Half of 60 rare tokens never come: of 1,000 draws each is expected 5 times."""
    table = np.array([0.7, *np.linspace(0.006, 0.004, 60)])
    cut = np.round(1000 * np.where(np.arange(61) < 31, table / table[:31].sum(), 0)).astype(int)
    found = look(list(cut), expected(list(table / table.sum())))
    assert not found.fits
    assert found.unseen == ()


def test_a_token_that_cannot_be_kept_is_outside() -> None:
    found = look([50, 30, 19, 1], expected())
    [one] = found.outside
    assert (one.token, one.count, one.expected) == (3, 1, 0.0)
    assert not found.fits


def test_a_token_on_the_boundary_may_come_or_not() -> None:
    on_it = expected(may=[True] * 4, must=[True, True, False, False])
    for counts in ([50, 30, 20, 0], [62, 38, 0, 0], [50, 30, 0, 20]):
        found = look(counts, on_it)
        assert (found.fits, found.outside, found.unseen, found.freedom) == (True, (), (), 1)


def test_a_token_that_must_come_is_missed() -> None:
    # of 105 draws 21 are expected
    found = look([63, 42, 0, 0], expected())
    assert [(one.token, one.expected) for one in found.unseen] == [(2, 21.0)]
    assert not found.fits
    assert look([60, 39, 0, 0], expected()).unseen == ()  # of 99 draws 19.8


def test_what_arithmetic_may_be_off_is_taken_off() -> None:
    # 5 percent more of the first and 7 percent less of the others: all of it within 10 percent
    assert look([5250, 2850, 1900, 0], expected(tolerance=0.1)).misfit == 0
    assert not look([5250, 2850, 1900, 0], expected(), level=1e-3).fits


def test_one_kept_token_says_so() -> None:
    verdict = judge([expected([1.0, 0, 0, 0])] * 2, [np.array([100, 0, 0, 0])] * 2)
    assert (verdict.alone, verdict.mean_kept, verdict.p_value) == (2, 1.0, None)
    assert verdict.fits
    assert verdict.found


def test_draws_that_are_too_few_find_nothing() -> None:
    verdict = judge([expected()], [np.array([2, 1, 1, 0])])
    assert (verdict.fits, verdict.found) == (True, False)
    assert not judge([expected()], [np.array([2, 1, 0, 1])]).fits  # but a token outside is one


def test_small_misfits_of_many_prompts_add_up() -> None:
    """Each prompt has p = .01 or so, which is nothing among 20; all of them together are."""
    one, counts = expected([0.5, 0.5]), np.array([541, 459])
    assert judge([one], [counts]).fits
    verdict = judge([one] * 20, [counts] * 20)
    assert all(look.fits for look in verdict.looks)
    assert not verdict.fits
    # 20 times 2 (541 ln 1.082 + 459 ln .918)
    assert verdict.misfit == pytest.approx(40 * (541 * math.log(1.082) + 459 * math.log(0.918)))


def test_a_right_engine_is_called_wrong_as_seldom_as_stated() -> None:
    """At 20 times the level, to have something to count: 2,000 verifications of 4 prompts, 40 expected."""
    rng = np.random.default_rng(0)
    tables = [rng.dirichlet(np.full(30, 0.3)) for _ in range(4)]
    of = [expected(table) for table in tables]
    wrong = 0
    for _ in range(2000):
        verdict = judge(of, [rng.multinomial(500, table) for table in tables])
        together = verdict.p_value is not None and verdict.p_value < 10 * ALPHA
        alone = any(look.p_value is not None and look.p_value < 10 * ALPHA / 4 for look in verdict.looks)
        wrong += together or alone
        assert not any(look.outside or look.unseen for look in verdict.looks)
    assert 15 < wrong < 65


@pytest.mark.parametrize(
    ("ours", "theirs", "content", "where"),
    [
        ((5, 6, 2), (5, 6, 2), 2, None),
        ((5, 6, 2), (5, 6), 2, None),  # the end token left out
        ((5, 6, 2), (5, 6, 3), 2, None),  # another end token
        ((5, 6), (5, 7), 2, (1, 6, 7)),
        ((5, 6), (5,), 2, (1, 6, None)),
        ((5, 6), (5, 6, 7), 2, (2, None, 7)),
        ((5, 6, 2), (5, 6, 7), 2, (2, 2, 7)),
        ((2,), (), 0, None),
    ],
)
def test_where_two_texts_part(
    ours: tuple[int, ...], theirs: tuple[int, ...], content: int, where: tuple[int, int | None, int | None] | None
) -> None:
    found = parting("p", ours, theirs, content=content, eos_ids=(2, 3))
    assert (None if found is None else (found.at, found.ours, found.theirs)) == where
