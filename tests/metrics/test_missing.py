"""What has no value says why, everywhere: needs that are not met, numbers that are not finite, texts of nothing."""

import math
import warnings
from dataclasses import replace

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from decodebench.errors import StoreError
from decodebench.metrics import METRICS, UNITS, MetricsConfig, measure, measure_curves, score
from decodebench.metrics.corpus import corpus
from decodebench.metrics.quality import check_one_cell
from metrics_data import EOS, generation, given, reading, scores

NO_SCORER = "no scorer has read the texts (scorer.id=self, or another model)"
NEEDING = {need: [m.name for m in METRICS if need in m.needs] for need in ("reading", "human", "generated", "logprobs")}


def well_told(found):
    """Every value is finite, or None with a reason and no interval."""
    for name, each in found.items():
        record = each.measurement(generation([]))
        assert (record.value is None) == (record.n == 0), name
        assert all(x is None or math.isfinite(x) for x in (record.value, record.ci_low, record.ci_high)), name
        assert (record.ci_low is None) == (record.ci_high is None), name
        assert record.reason if record.ci_low is None else record.value is not None, name
    return True


def reasons(found, names):
    assert all(found[name].value is None for name in names)
    return {found[name].reason for name in names}


def test_needs_that_are_not_met():
    assert all(NEEDING.values())
    alone = scores([generation([1, 2])])
    assert reasons(alone, [name for name in NEEDING["reading"] if name != "mauve"]) == {NO_SCORER}
    assert alone["mauve"].reason == "the prompts have no references"
    assert not any(name.endswith("_w1") for name in alone)
    beside = scores([generation([1, 2])], people=[given([1])])
    assert reasons(beside, NEEDING["reading"]) == {NO_SCORER}
    from_file = scores([given([], text="a b", strategy="x")], unit="words")
    assert reasons(from_file, NEEDING["logprobs"]) == {"the texts have no log-probabilities"}
    assert reasons(from_file, NEEDING["generated"]) == {"the texts were given, not generated"}
    assert from_file["length_words"].value == 2


def test_a_scorer_without_embeddings():
    """Its hidden states could not be read: the texts have tokens, so that is not the reason."""
    texts = [generation([1, 2], sample=0), generation([3], sample=1)]
    found = scores(texts, readings=[reading(text, embedding=(), prompt_embedding=()) for text in texts])
    names = ["vendi", "vendi_samples", "prompt_cosine"]
    assert all("embedding" in reason for reason in reasons(found, names))
    assert found["scorer_perplexity"].value is not None
    assert well_told(found)


def test_peoples_own_row():
    people = [given([1, 2, 2], prompt_id="a"), given([3], prompt_id="b")]
    found = scores(people, readings=[reading(text) for text in people])
    assert found["mauve"].reason == "these are the references themselves"
    assert found["perplexity"].value == pytest.approx(math.e)
    assert found["length"].value == 2.0
    assert found["empty_share"].value == 0.0
    assert reasons(found, NEEDING["generated"]) == {"the texts were given, not generated"}
    assert well_told(found)


def test_few_texts_for_mauve():
    ours, people = [generation([1])], [given([1])]
    found = scores(ours, people=people, readings=[reading(ours[0]), reading(people[0])])
    assert found["mauve"].reason == "1 texts on a side: MAUVE says nothing below 100"


def test_tokens_without_log_probs_may_be_given_but_not_generated():
    texts = [given([1, 1], prompt_id="a", token_logprobs=()), given([1, 2], prompt_id="b", token_logprobs=(-1.0, -3.0))]
    check_one_cell(texts)
    found = scores(texts)
    assert (found["surprisal"].value, found["surprisal"].n) == (2.0, 1)
    assert found["distinct_1"].value == (1 / 2 + 1) / 2
    with pytest.raises(StoreError, match="prompt 'p1', sample 0 has 0 token_logprobs for 1 token_ids"):
        check_one_cell([generation([1], token_logprobs=())])
    with pytest.raises(StoreError, match="1 token_logprobs for 2 token_ids"):
        check_one_cell([given([1, 2], token_logprobs=(-1.0,))])


# --- numbers that are not finite ---

OWN = ("perplexity", "perplexity_text", "surprisal", "surprisal_text", "bits_per_character")
READ = ("scorer_perplexity", "scorer_surprisal", "scorer_bits_per_character", "entropy_gap", "coherence")


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_log_probs_and_readings_that_are_not_finite(bad):
    ours = [generation([1, 2], prompt_id=f"p{at:02}") for at in range(12)]
    people = [given([3, 4], prompt_id=f"p{at:02}") for at in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        broken = replace(ours[4], token_logprobs=(-1.0, bad))
        found = scores([*ours[:4], broken, *ours[5:]], people=people)
        assert reasons(found, OWN) == {"prompt 'p04', sample 0: not a finite number"}
        assert found["perplexity_text_w1"].reason == "not a finite number for every text"
        assert well_told(found)

        found = scores(ours, people=[*people[:4], replace(people[4], token_logprobs=(bad, -1.0)), *people[5:]])
        assert found["surprisal_text_w1"].reason == "not a finite number for every text"
        assert found["surprisal_text"].value == 1.0
        assert well_told(found)

        readings = [reading(text) for text in ours]
        readings[2] = reading(ours[2], token_logprobs=(bad, -1.0))
        found = scores(ours, readings=readings)
        assert reasons(found, READ) == {"prompt 'p02', sample 0: not a finite number"}
        assert found["entropy"].value == 1.5
        assert well_told(found)

        readings[2] = reading(ours[2], token_entropies=(bad, 1.0), embedding=(bad, 1.0))
        found = scores(ours, people=people, readings=readings)
        lost = ("entropy", "entropy_gap", "prompt_cosine", "vendi", "mauve")
        assert all(found[name].value is None and found[name].reason for name in lost)
        assert found["scorer_surprisal"].value == 2.0
        assert well_told(found)


def test_a_perplexity_beyond_all_numbers():
    found = scores([generation([1], token_logprobs=(-800.0,), prompt_id=f"p{at:02}") for at in range(12)])
    assert found["perplexity"].value is None
    assert found["surprisal"].value == 800.0
    assert well_told(found)


# --- texts of nothing ---


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "morphemes"])
@pytest.mark.parametrize(
    "text",
    [
        generation([], text=""),
        generation([7], text="가"),
        generation([5, 6], text=" \n"),
        generation([5, EOS], text=" ", finish_reason="eos"),
        generation([2, 3, EOS], text="", finish_reason="eos"),  # special tokens alone
        generation([EOS], text="", finish_reason="eos"),
    ],
    ids=["empty", "one token", "white space", "white space and EOS", "special tokens", "EOS"],
)
def test_texts_of_nothing(text, unit):
    for texts in ([text], [replace(text, sample=s) for s in range(3)], [replace(text, prompt_id=p) for p in "ab"]):
        people = [given([], text="", prompt_id=text.prompt_id)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = scores(texts, people=people, readings=list(map(reading, texts)), unit=unit, leading=4, vocabulary=9)
        assert well_told(found)
        suffix = "" if unit == "tokens" else f"_{unit}"
        assert found[f"length{suffix}"].value is not None
        assert found[f"loop_share{suffix}"].value == 0.0
        assert found["empty_share"].value == float(not text.text.strip())
        assert found[f"diversity{suffix}"].value is None


def test_special_tokens_alone_are_tokens_and_no_characters():
    text = generation([2, 3, 3], text="", token_logprobs=(-1.0, -2.0, -3.0))
    tokens, characters = scores([text]), scores([text], unit="characters")
    assert tokens["length"].value == 3.0
    assert tokens["distinct_1"].value == pytest.approx(2 / 3)
    assert characters["length_characters"].value == 0.0
    assert characters["distinct_1_characters"].reason == "no text has 1 characters"
    assert tokens["surprisal"].value == 2.0
    assert tokens["bits_per_character"].reason == "no text has a character"


@pytest.mark.parametrize(
    ("unit", "length", "unique"),
    [
        ("tokens", 4, 3),  # 5 6 6 7
        ("characters", 7, 4),  # 나 는 _ 나 는 _ 각: 나 는 _ 각
        ("jamo", 15, 7),  # ㄴㅏㄴㅡㄴ twice, two spaces, ㄱㅏㄱ: ㅏ ㅡ _, and ㄴ and ㄱ as onset and as coda
        ("words", 3, 2),  # 나는 나는 각
    ],
)
def test_units_by_hand(unit, length, unique):
    text = generation([5, 6, 6, 7, EOS], text="나는 나는 각", finish_reason="eos")
    suffix = "" if unit == "tokens" else f"_{unit}"
    found = scores([text], unit=unit)
    assert found[f"length{suffix}"].value == length
    assert found[f"distinct_1{suffix}"].value == pytest.approx(unique / length)


def test_morphemes():
    pytest.importorskip("kiwipiepy", reason="the korean extra is not installed")
    # 나는 학교에 간다. -> 나/NP 는/JX 학교/NNG 에/JKB 가/VV ᆫ다/EF ./SF
    found = scores([generation([1], text="나는 학교에 간다.")], unit="morphemes")
    assert found["length_morphemes"].value == 7.0
    assert found["distinct_1_morphemes"].value == 1.0
    assert found["diversity_morphemes"].value == 1.0


# --- anything ---

NUMBERS = st.floats(-60, 0) | st.sampled_from([-math.inf, math.nan])


@st.composite
def texts_of(draw, make):
    """A few prompts with a few texts each; ids, log-probs and characters of any kind."""
    found = []
    for prompt in range(draw(st.integers(1, 3))):
        for sample in range(draw(st.integers(1, 3))):
            ids = draw(st.lists(st.integers(0, 3), max_size=9))
            logprobs = draw(st.lists(NUMBERS, min_size=len(ids), max_size=len(ids)))
            fields = {"prompt_id": f"p{prompt}", "sample": sample, "token_logprobs": tuple(logprobs)}
            found.append(make(ids, text=draw(st.text("a가 \n", max_size=9)), **fields))
    return found


@settings(deadline=None, max_examples=40)
@drawn(texts_of(generation), texts_of(given), st.sampled_from(UNITS[:4]), st.sampled_from([0, 2]), st.data())
def test_any_corpus_has_finite_values_or_reasons(ours, people, unit, leading, data):
    read = st.tuples(NUMBERS, st.floats(0, 9) | st.just(math.nan), st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
    readings = []
    for text in ours:
        logprob, entropy, embedding = data.draw(read)
        n = len(text.token_ids)
        readings.append(
            reading(
                text,
                token_logprobs=(logprob,) * n,
                token_entropies=(entropy,) * n,
                embedding=embedding if n else (),
            )
        )
    config = MetricsConfig(unit=unit, leading=leading)
    human = corpus([replace(text, sample=0, prompt_id=f"p{at}") for at, text in enumerate(people)], unit=unit)
    cell = corpus(ours, unit=unit, readings=readings, human=human, vocabulary=4)
    assert well_told({each.name: each for each in score(cell, config)})
    for point in measure_curves(cell, unit=unit):
        assert point.reason
        assert (point.value is None) == (point.n == 0)
        assert point.value is None or math.isfinite(point.value)
    shuffled = corpus(ours[::-1], unit=unit, readings=readings[::-1], human=human, vocabulary=4)
    first = ours[0]
    assert [s.measurement(first) for s in score(shuffled, config)] == [
        s.measurement(first) for s in score(cell, config)
    ]
    assert len(measure(ours, unit=unit)) == len(METRICS)
