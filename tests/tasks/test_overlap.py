"""F1, ROUGE-L, chrF and BLEU: tables by hand, slow oracles, and sacrebleu."""

import math
from collections.abc import Sequence
from functools import cache

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from decodebench.tasks.overlap import bleu, bleu_tokens, chrf, lcs_length, rouge_l, token_f1

WORDS = st.lists(st.sampled_from("abcde"), max_size=12)
TEXTS = st.text(st.sampled_from("ab C.,-9&;'\n\"한국 어는"), max_size=30)


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("a b c", "a b c", 1.0),
        ("a b", "b c d", 0.4),  # 1 shared: p 1/2, r 1/3, 2 x 1/6 / (5/6)
        ("a a a", "a a b", 2 / 3),  # a twice: p 2/3, r 2/3
        ("a", "b", 0.0),
        ("", "b", 0.0),
        ("", "", 0.0),  # SQuAD 1.1: nothing is shared
    ],
)
def test_f1_by_hand(answer: str, reference: str, f1: float) -> None:
    assert token_f1(answer.split(), reference.split()) == pytest.approx(f1, abs=1e-15)


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("police kill the gunman", "police killed the gunman", 0.75),  # Lin 2004: 3 of 4 words in order
        ("the gunman kill police", "police killed the gunman", 0.5),  # "the gunman"
        ("gunman the", "the gunman", 0.5),
        ("a", "", 0.0),
    ],
)
def test_rouge_l_by_hand(answer: str, reference: str, value: float) -> None:
    assert rouge_l(answer.split(), reference.split()) == value


@settings(deadline=None, max_examples=60)
@given(WORDS, WORDS)
def test_the_longest_common_subsequence_is_that_of_the_recursion(one: Sequence[str], other: Sequence[str]) -> None:
    @cache
    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if one[i - 1] == other[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    assert lcs_length(one, other) == length(len(one), len(other))


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        # n=1: p 2/2, r 2/3; n=2: p 1/1, r 1/2; then the answer is too short. P = 1, R = 7/12; 5PR / (4P + R)
        ("ab", "abc", 5 * (7 / 12) / (4 + 7 / 12)),
        ("a b", "ab c", 5 * (7 / 12) / (4 + 7 / 12)),  # white space is left out
        ("서울", "서울", 1.0),
        ("서울은", "서울", 5 * (7 / 12) / (4 * (7 / 12) + 1)),  # P and R the other way round
        ("x", "y", 0.0),
        ("", "y", 0.0),
    ],
)
def test_chrf_by_hand(answer: str, reference: str, value: float) -> None:
    assert chrf(answer, reference) == pytest.approx(value, abs=1e-15)


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS)
def test_chrf_is_sacrebleus(answer: str, reference: str) -> None:
    assert chrf(answer, reference) == pytest.approx(sacrebleu.sentence_chrf(answer, [reference]).score / 100, abs=1e-9)


def test_bleu_by_hand() -> None:
    """Of 5 words 4 match, of 4 pairs 2, of 3 triples 1, of 2 fours none: half of one; brevity e^(1 - 6/5)."""
    expected = math.exp(-1 / 5) * (4 / 5 * 2 / 4 * 1 / 3 * (1 / 2) / 2) ** (1 / 4)
    assert bleu(["a", "b", "c", "d", "e"], [["a", "b", "c", "x", "e", "f"]]) == pytest.approx(expected, abs=1e-15)


def test_bleu_takes_references_together_and_the_nearest_length() -> None:
    references = [["a", "b"], ["c", "d", "e", "f"]]  # both are one word away from three: the shorter one, no penalty
    # n=1: 3/3, n=2: "a b" 1/2, n=3: none of 1, half a match
    assert bleu(["a", "b", "c"], references) == pytest.approx((1 * 1 / 2 * 1 / 2) ** (1 / 3), abs=1e-15)


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
@pytest.mark.parametrize(("unit", "tokenize"), [("words", "13a"), ("characters", "char")])
def test_bleu_is_sacrebleus(unit: str, tokenize: str, answer: str, references: list[str]) -> None:
    ours = bleu(bleu_tokens(answer, unit), [bleu_tokens(one, unit) for one in references])  # type: ignore[arg-type]
    theirs = sacrebleu.sentence_bleu(answer, references, tokenize=tokenize)
    assert ours == pytest.approx(theirs.score / 100, abs=1e-9)


NEWS = (
    ("The ferry left the harbour at 5.30, said Marit.", "The ferry left harbour at 5.30 p.m., Marit said."),
    ('It\'s 1,000 well-known "facts" & more; see <here>.', "It is 1,000 well-known 'facts' &amp; more (see here)."),
    ("대한민국의 수도는 서울특별시이다.", "대한민국의 수도는 서울이다."),
    ("서울은 한국의 수도입니다", "한국의 수도는 서울입니다"),
)


@pytest.mark.parametrize(("answer", "reference"), NEWS)
def test_whole_sentences_are_sacrebleus(answer: str, reference: str) -> None:
    for unit, tokenize in (("words", "13a"), ("characters", "char")):
        ours = bleu(bleu_tokens(answer, unit), [bleu_tokens(reference, unit)])  # type: ignore[arg-type]
        theirs = sacrebleu.sentence_bleu(answer, [reference], tokenize=tokenize).score / 100
        assert 0 < ours < 1
        assert ours == pytest.approx(theirs, abs=1e-12)
    assert chrf(answer, reference) == pytest.approx(sacrebleu.sentence_chrf(answer, [reference]).score / 100, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS)
def test_all_are_shares_and_one_for_the_same_text(answer: str, reference: str) -> None:
    values = [
        chrf(answer, reference),
        token_f1(answer.split(), reference.split()),
        rouge_l(answer, reference),
        bleu(bleu_tokens(answer, "words"), [bleu_tokens(reference, "words")]),
    ]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    if answer.strip():
        same = [chrf(answer, answer), token_f1(answer.split(), answer.split()), rouge_l(answer, answer)]
        assert same == pytest.approx([1, 1, 1], abs=1e-12)
