"""Closeness to human text: hand numbers, slow definitions, and MAUVE against its library and its own formula."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.metrics import humans
from decodebench.metrics.humans import Mauve, cosine, distribution_distance, mauve

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=8)


def slow_distance(a, b):
    """The area between the two distribution functions, step by step."""

    def share(values, place):
        return sum(value <= place for value in values) / len(values)

    places = sorted({*a, *b})
    return sum(abs(share(a, x) - share(b, x)) * (y - x) for x, y in pairwise(places))


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ([1.0], [4.0], 3.0),
        ([0.0, 1.0], [0.0, 2.0], 0.5),  # 0 stays, 1 moves by 1: (0 + 1) / 2
        ([0.0, 10.0], [10.0, 0.0], 0.0),
        ([0.0], [0.0, 0.0, 3.0], 1.0),  # a third of the mass moves by 3
        ([], [1.0], None),
        ([1.0], [], None),
        ([1.0, math.inf], [1.0], None),
        ([1.0], [math.nan], None),
    ],
)
def test_distance_by_hand(a, b, value):
    assert distribution_distance(a, b) == (None if value is None else pytest.approx(value))


@settings(deadline=None)
@given(VALUES, VALUES, st.floats(-50, 50))
def test_distance_is_its_definition(a, b, shift):
    assert distribution_distance(a, b) == pytest.approx(slow_distance(a, b), abs=1e-9)
    assert distribution_distance(a, b) == pytest.approx(distribution_distance(b, a), abs=1e-9)
    assert distribution_distance(a, [value + shift for value in a]) == pytest.approx(abs(shift), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ((3.0, 4.0), (3.0, 4.0), 1.0),
        ((1.0, 0.0), (0.0, 2.0), 0.0),
        ((1.0, 0.0), (-5.0, 0.0), -1.0),
        ((3.0, 4.0), (4.0, 3.0), 24 / 25),  # (12 + 12) / (5 5)
        ((), (), None),
        ((), (1.0,), None),
        ((0.0, 0.0), (1.0, 0.0), None),
    ],
)
def test_cosine_by_hand(a, b, value):
    assert cosine(a, b) == (None if value is None else pytest.approx(value))


def test_cosine_leaves_it_to_the_caller_to_name_a_text_that_is_not_finite():
    assert math.isnan(cosine((math.nan, 1.0), (1.0, 1.0)))
    assert math.isnan(cosine((math.inf, 1.0), (1.0, 1.0)))
    with pytest.raises(ValueError, match="embeddings of 1 and 2 numbers"):
        cosine((1.0,), (1.0, 2.0))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.floats(0.01, 100))
def test_cosine_keeps_its_range_and_forgets_the_length(vector, scale):
    assert 1 - 1e-12 <= cosine(vector, [scale * x for x in vector]) <= 1


# --- MAUVE ----------------------------------------------------------------------------------------------------------


def mauve_of_histograms(p, q, scale=5, points=25):
    """Pillutla et al. 2021, eq. 3 to 5: the area below (exp(-c KL(Q|R)), exp(-c KL(P|R))), R = w P + (1 - w) Q.

    As in mauve-text: w from 1e-6 to 1 - 1e-6 in 25 steps, the ends (1, 0) and (0, 1), and the mean of the areas below
    the curve and beside it, by trapezoids. The curve falls, so both are the same area.
    """

    def divergence(a, r):
        return sum(x * math.log(x / y) for x, y in zip(a, r, strict=True) if x)

    curve = [(1.0, 0.0)]
    for step in range(points):
        w = 1e-6 + (1 - 2e-6) * step / (points - 1)
        r = [w * x + (1 - w) * y for x, y in zip(p, q, strict=True)]
        curve.append((math.exp(-scale * divergence(q, r)), math.exp(-scale * divergence(p, r))))
    curve.append((0.0, 1.0))
    return sum((x - xx) * (y + yy) / 2 for (x, y), (xx, yy) in pairwise(curve))


def clusters(*counts):
    """So many texts around each of the axes, near enough that k-means finds just these clusters."""
    rng = np.random.default_rng(sum(place * count for place, count in enumerate(counts)))
    centres = np.repeat(np.eye(len(counts)), counts, axis=0)
    return centres + rng.normal(scale=1e-3, size=centres.shape)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((15, 5), (5, 15)),  # 20 texts on a side: 2 clusters
        ((20, 4), (6, 14)),  # 24 and 20 texts
        ((10, 12, 8), (15, 5, 10)),  # 30 texts: 3 clusters
        ((19, 1), (18, 2)),
    ],
)
def test_mauve_of_known_histograms(p, q):
    found = mauve(clusters(*p), clusters(*q))
    shares = [[count / sum(counts) for count in counts] for counts in (p, q)]
    assert found.value == pytest.approx(mauve_of_histograms(*shares), rel=1e-9)
    assert found.reason == (
        f"{min(sum(p), sum(q))} texts on a side: with fewer than the 5000 of Pillutla et al. 2021 MAUVE is biased"
    )


def test_mauve_of_histograms_by_hand():
    # P and Q share nothing: KL(Q|R) = -log(1 - w), KL(P|R) = -log w, so the curve is ((1 - w)^5, w^5). The area below
    # it is that of Beta(5 + 1, 5) 5 = 5! 5! / 10! = 1/252; trapezoids of 25 points add a little.
    exact = mauve_of_histograms([1, 0], [0, 1], points=20001)
    assert exact == pytest.approx(1 / 252, rel=1e-4)
    assert mauve(clusters(20, 0), clusters(0, 20)).value == pytest.approx(mauve_of_histograms([1, 0], [0, 1]), rel=1e-9)


@pytest.mark.parametrize("seed", [25, 3])
def test_mauve_is_that_of_the_library_on_the_same_features(seed):
    from mauve import compute_mauve

    rng = np.random.default_rng(8)
    p, q = rng.normal(size=(120, 16)), rng.normal(size=(100, 16)) + 0.3
    # Rows by their last number, in which no two are equal.
    p_sorted, q_sorted = p[np.argsort(p[:, -1])], q[np.argsort(q[:, -1])]
    library = [compute_mauve(p_features=p_sorted, q_features=q_sorted, seed=seed + more) for more in range(5)]
    found = mauve(p, q, seed)
    assert found.value == pytest.approx(np.mean([each.mauve for each in library]), rel=1e-12)
    assert found.spread == pytest.approx(np.std([each.mauve for each in library], ddof=1), rel=1e-9)
    assert {each.num_buckets for each in library} == {10}
    assert 0.05 < found.value < 0.95
    assert found.spread > 0.005


def test_mauve_does_not_depend_on_the_order_of_the_texts():
    """k-means begins at rows by their place: another order of the ids moved the second digit."""
    rng = np.random.default_rng(8)
    p, q = rng.normal(size=(120, 16)), rng.normal(size=(100, 16)) + 0.3
    p[7] = p[8]  # two equal texts
    orders = [(rng.permutation(120), rng.permutation(100)) for _ in range(3)]
    assert len({mauve(p, q), *(mauve(p[a], q[b]) for a, b in orders)}) == 1


def test_mauve_is_the_same_each_time_and_touches_no_shared_random_stream(capfd):
    rng = np.random.default_rng(1)
    p, q = rng.normal(size=(60, 8)), rng.normal(size=(60, 8)) + 0.5
    np.random.seed(4)
    before = np.random.get_state()[1].copy()
    values = {mauve(p, q).value for _ in range(3)}
    assert len(values) == 1
    assert (np.random.get_state()[1] == before).all()
    assert capfd.readouterr() == ("", "")  # k-means would complain of too few points
    print("seen", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "seen\n"  # and stderr is open again


def test_mauve_of_equal_texts_is_one():
    features = np.random.default_rng(2).normal(size=(50, 8))
    assert mauve(features, features).value == 1.0
    assert mauve(np.ones((20, 3)), np.ones((20, 3))).value == 1.0  # no variance at all
    assert mauve(clusters(10, 10), clusters(10, 10)).value == 1.0  # mauve-text: 0.75


def test_mauve_without_a_value(monkeypatch):
    features = np.random.default_rng(3).normal(size=(20, 4))
    assert mauve(features, features[:19]) == Mauve(value=None, reason="19 texts on a side: MAUVE needs at least 20")
    assert mauve(np.empty((0, 0)), features).reason == "0 texts on a side: MAUVE needs at least 20"
    assert mauve(features * np.inf, features).reason == "the features of a text are not finite"
    monkeypatch.setitem(sys.modules, "mauve", None)
    assert mauve(features, features) == Mauve(
        value=None, reason="mauve-text is not installed: pip install 'decodebench[mauve]'"
    )


def test_mauve_of_enough_texts_has_no_warning(monkeypatch):
    monkeypatch.setattr(humans, "MAUVE_CLUSTERINGS", 2)  # each takes seconds
    rng = np.random.default_rng(5)
    found = mauve(rng.normal(size=(5000, 2)), rng.normal(size=(5000, 2)))
    assert found.reason is None
    # One distribution twice, 500 clusters of about 10 texts of each side: 0.954 to 0.964 in five trials of other seeds,
    # far from 0.8. The streams are fixed, so what passed once passes.
    assert 0.8 < found.value < 1


def test_nothing_heavy_is_imported_before_it_is_needed():
    names = "{'mauve', 'torch', 'transformers', 'faiss', 'sklearn', 'sacrebleu'}"
    modules = ", ".join(f"decodebench.metrics.{name}" for name in ("humans", "samples", "spread", "surprisal"))
    code = f"import sys, {modules}; print(sorted({names} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
