"""Stop strings: the automaton against a plain search, texts against a slow oracle and against `generate`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decodebench.decoding.solo import decode_alone, fitted
from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.engine import Outcome
from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode, facts_of
from decodebench.strategies import (
    Assisted,
    Beam,
    BestOfN,
    ConstrainedBeam,
    ContrastiveSearch,
    DiverseBeam,
    Greedy,
    PromptLookup,
    Sample,
    StochasticBeam,
    Strategy,
)
from decodebench.strategies.step import EMPTY, ModelFacts, StopStrings, ending, text_of
from engine_runs import CACHED, PROMPTS, WHOLE, requests_of, run
from tiny import EOS_ID

LIMIT = 20
SHOWN = ("<bos>", "<eos>", "<pad>")
TOKENS = (b"a", b"b", b"c", b"abc", b"xab", b"", "각".encode()[:2], "각".encode()[2:])


def written(ids: Sequence[int]) -> str:
    return b"".join(TOKENS[token] for token in ids).decode(errors="replace")


def facts_with(stops: StopStrings, keep: bool = False) -> ModelFacts:
    return ModelFacts(vocabulary=len(TOKENS), eos_ids=(5,), stops=stops, stop_keep=keep, decode=written)


@pytest.mark.parametrize(
    ("stop", "prompt", "ids", "text", "content", "kept"),
    [
        (["b"], [], [0, 1, 2], "a", 1, "ab"),
        (["b"], [], [2, 3, 0], "ca", 2, "cab"),  # inside a token, which has a part in the text
        (["ab", "abc"], [], [3], "", 0, "ab"),  # the first to be complete counts, whatever comes with it
        (["b", "ab"], [], [0, 1], "", 0, "ab"),  # of two that are complete at once the longer one
        (["bca"], [], [0, 1, 2, 0, 1], "a", 1, "abca"),
        (["bx"], [], [3, 1, 4, 0], "abc", 1, "abcbx"),
        (["각"], [], [0, 6, 7, 0], "a", 1, "a각"),
        (["ab"], [0], [1, 1], "", 0, "b"),  # it begins in the prompt
        (["ab"], [0, 1], [2, 1], "cb", 2, "cb"),  # in the prompt alone it does not count
        (["ab"], [0, 5], [5, 5, 1, 0], "", 0, "b"),  # tokens without bytes are as if they were not there
        (["cab"], [2, 0], [2, 0, 1], "", 0, "cab"),
    ],
)
def test_by_hand(stop, prompt, ids, text, content, kept):
    stops = StopStrings(stop, TOKENS)
    end = ending(facts_with(stops), prompt, ids)
    assert (text_of(facts_with(stops), ids, end), end.content) == (text, content)
    with_it = facts_with(stops, keep=True)
    assert text_of(with_it, ids, ending(with_it, prompt, ids)) == kept


def test_how_a_text_ended():
    """An end token comes first, then a stop string, also at the limit; without either it was the limit."""
    facts = facts_with(StopStrings(["ab"], TOKENS))
    assert [ending(facts, [], ids).reason for ids in ([0, 5], [0, 1], [0, 2], [], [0, 1, 5])] == [
        *("eos", "stop", "length", "length", "stop"),
    ]
    spelled = StopStrings(["</s>"], [b"a", b"</s>"])
    both = ModelFacts(vocabulary=2, eos_ids=(1,), stops=spelled, decode=lambda ids: "a" * len(ids))
    assert ending(both, [], [0, 1]).reason == "eos"


@cache
def first_complete(text: bytes, stops: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Where the first string to be complete begins and ends; of two the longer one."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return end - max(map(len, found)), end
    return None


@given(st.data())
def test_any_cut_into_tokens_finds_what_a_plain_search_finds(data: st.DataObject) -> None:
    """Texts over few letters, tokens cut anywhere; the table of the device gives the states of the plain walk."""
    letters = st.text("ab각강", max_size=4)
    stops = data.draw(st.lists(letters.filter(bool), min_size=1, max_size=4, unique=True))
    pieces = data.draw(st.lists(st.text("ab각강z", max_size=3).map(str.encode), min_size=1, max_size=8))
    cut = data.draw(st.integers(0, 6))
    pieces = [*pieces, *(piece[:cut] for piece in pieces), *(piece[cut:] for piece in pieces)]
    automaton = StopStrings(stops, pieces)
    ids = data.draw(st.lists(st.integers(0, len(pieces) - 1), max_size=12))
    ends = [0]
    for token in ids:
        ends.append(ends[-1] + len(pieces[token]))
    wanted = first_complete(b"".join(pieces[token] for token in ids), tuple(stop.encode() for stop in stops))
    found = automaton.find([], ids)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert (ends[found.first] + found.offset, len(found.stop.encode())) == (wanted[0], wanted[1] - wanted[0])
        assert ends[found.last] < wanted[1] <= ends[found.last + 1]
    state = torch.zeros(1, dtype=torch.int64)
    for place, token in enumerate(ids):
        assert automaton.after_prompt(ids[:place]) == int(state)
        state, complete = automaton.step(state, torch.tensor([token]))
        assert bool(complete) is (automaton.walk(automaton.after_prompt(ids[:place]), [token])[1] is not None)
    assert torch.equal(automaton.step(state, torch.tensor([EMPTY]))[0], state)


# --- texts of tiny models against a slow oracle -----------------------------------------------------------------------


def shown(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """With special tokens, which are written out where strings are looked for."""
    text: str = loaded.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def slow(loaded: LoadedModel, ids: Sequence[int], stops: Sequence[str]) -> tuple[int, str] | None:
    """How many tokens there are when a text first has a stop string, by decoding it after each, and what is before."""
    for count in range(1, len(ids) + 1):
        text = shown(loaded, ids[:count])
        if any(stop in text for stop in stops):
            end = min(text.index(stop) + len(stop) for stop in stops if stop in text)
            before = min((text[: end - len(stop)] for stop in stops if text[:end].endswith(stop)), key=len)
            for special in SHOWN:
                before = before.replace(special, "")
            return count, before
    return None


def candidates(loaded: LoadedModel, ids: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Strings of a text, with what is special about each."""
    ends = [len(shown(loaded, ids[:count])) for count in range(len(ids) + 1)]
    text = shown(loaded, ids)
    for (start, end), following in zip(pairwise(ends), [*ends[2:], ends[-1]], strict=True):
        if end - start >= 2:
            yield "begins inside a token", text[start + 1 : end]
        if start < end < following:
            yield "spans tokens", text[end - 1 : end + 1]
    broken = [shown(loaded, ids[:count]).endswith("\ufffd") for count in range(len(ids) + 1)]
    for count in range(1, len(ids) + 1):
        now = shown(loaded, ids[:count])
        if broken[count - 1] and "가" <= now[-1] <= "힣":
            yield "Hangul cut in bytes", now[-1]


def stops_of(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> dict[str, list[str]]:
    """Strings of each kind that texts have, late ones first: texts go on for a while."""
    found: dict[str, list[str]] = {}
    for ids in texts:
        for kind, text in reversed([*candidates(loaded, ids)]):
            if text and not set(text) & set("\ufffd<>") and not any(text in special for special in SHOWN):
                found.setdefault(kind, []).append(text)
    spanning = found.get("spans tokens", [])
    overlapping = [two for one in spanning for two in spanning if one[-1:] == two[:1] and one != two][:1]
    sets = {kind: list(dict.fromkeys(every[:2])) for kind, every in found.items()}
    if overlapping:
        first = next(one for one in spanning if one[-1:] == overlapping[0][:1] and one != overlapping[0])
        sets["overlap"] = [first, overlapping[0]]
    return sets


def forward_of(loaded: LoadedModel) -> Any:
    return WHOLE if loaded.name == "gpt1" else CACHED


def outcomes(
    loaded: LoadedModel,
    strategies: dict[str, Strategy],
    stop: Sequence[str] = (),
    prompts: Sequence[str] = tuple(PROMPTS),
    **options: Any,
) -> Any:
    """The outcomes of strategies with these stop strings."""
    facts = facts_of(loaded.model, loaded.tokenizer, (EOS_ID,), stop=stop)
    ids = {name: encode(loaded, PROMPTS[name]) for name in prompts}
    ready = {name: replace(one, stop=list(stop)) for name, one in strategies.items()}
    requests = requests_of(ready, ids, limit=LIMIT, eos_ids=(EOS_ID,), facts=facts)
    done = run(loaded.model, requests, forward=forward_of(loaded), **options)
    assert done.failures == {}
    return done.outcomes


def as_text(outcome: Outcome) -> str:
    facts = outcome.request.facts
    return text_of(facts, outcome.token_ids, ending(facts, outcome.request.prompt_ids, outcome.token_ids))


SEEN: set[str] = set()
KINDS = {"begins inside a token", "spans tokens", "Hangul cut in bytes", "overlap"}


def test_texts_end_where_a_slow_oracle_ends_them(tiny: LoadedModel) -> None:
    """Up to there they are the texts without stop strings: draws and candidates are those of the same step."""
    strategies: dict[str, Strategy] = {
        "greedy": Greedy(),
        "sample": Sample(num_return_sequences=2),
        "contrastive": ContrastiveSearch(top_k=3),
    }
    if tiny.name == "gpt1":
        del strategies["contrastive"]
    free = outcomes(tiny, strategies)
    sets = stops_of(tiny, [outcome.token_ids for outcome in free.values()])
    SEEN.update(sets)
    stopped = 0
    for kind, stop in sets.items():
        for key, outcome in outcomes(tiny, strategies, stop).items():
            ids = free[key].token_ids
            wanted = slow(tiny, ids, stop)
            if wanted is None:
                assert outcome.token_ids == ids, (kind, stop)
                continue
            stopped += ids[: wanted[0]] != ids
            assert outcome.token_ids == ids[: wanted[0]], (kind, stop)
            assert as_text(outcome) == wanted[1], (kind, stop)
            assert outcome.token_logprobs == pytest.approx(free[key].token_logprobs[: wanted[0]], abs=1e-5)
    assert stopped >= len(sets), "each set of strings ends a text"


def test_every_kind_of_string_was_there() -> None:
    """Of those that the test above looks for in what the five models write."""
    if not SEEN:
        pytest.skip("the test above did not run")
    assert SEEN >= KINDS


SEARCHES: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3, num_return_sequences=3),
    "long": Beam(num_beams=4, num_return_sequences=2, length_penalty=2.0, early_stopping=False),
    "never": Beam(num_beams=3, num_return_sequences=1, early_stopping="never"),
}


def by_generate(loaded: LoadedModel, strategy: Strategy, prompt_ids: Sequence[int], **named: Any) -> list[list[int]]:
    """What `generate` makes with `stop_strings`, without padding."""
    fields = generation_config_fields(strategy, eos_ids=(EOS_ID,), pad_id=loaded.pad_id, limit=LIMIT)
    ids = torch.tensor([list(prompt_ids)])
    config = generation_config(fields)
    out = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config, tokenizer=loaded.tokenizer, **named
    )
    return [row[len(prompt_ids) :] for row in out.tolist()]


def test_searches_return_what_generate_returns(tiny: LoadedModel) -> None:
    """With strings that many candidates complete, with some that begin in the prompt, and with what greedy writes."""
    names = ("ko", "en")
    free = outcomes(tiny, {"greedy": Greedy()}, prompts=names)
    tails = [PROMPTS[name][-2:] + as_text(free["greedy", name, 0, 0])[:1] for name in names]
    sets = stops_of(tiny, [outcome.token_ids for outcome in free.values()])
    stops = [["e", "\n", " "], list(dict.fromkeys(text for texts in sets.values() for text in texts))]
    count = 0
    for stop in (*stops, [tail for tail in tails if "\ufffd" not in tail] or ["zz"]):
        found = outcomes(tiny, SEARCHES, stop, prompts=names)
        for name, strategy in SEARCHES.items():
            for prompt in names:
                ours = [found[name, prompt, 0, rank] for rank in range(strategy.returns)]
                prompt_ids = ours[0].request.prompt_ids
                theirs = by_generate(tiny, replace(strategy, stop=stop), prompt_ids)
                count += sum(ending(one.request.facts, prompt_ids, one.token_ids).reason == "stop" for one in ours)
                for one, other in zip(ours, theirs, strict=True):
                    assert list(one.token_ids) == other[: len(one.token_ids)], (name, prompt, stop)
                    assert set(other[len(one.token_ids) :]) <= {tiny.pad_id}
    assert count > len(SEARCHES) * len(names)


# --- several tokens at a time -----------------------------------------------------------------------------------------


def drafted(loaded: LoadedModel, strategy: Strategy, stop: Sequence[str], prompts: Sequence[str]) -> dict[str, Outcome]:
    facts = facts_of(loaded.model, loaded.tokenizer, (EOS_ID,), stop=stop)
    ready = {"x": fitted(replace(strategy, stop=list(stop)), loaded, facts)}
    ids = {name: encode(loaded, PROMPTS[name]) for name in prompts}
    done: dict[str, Outcome] = {}

    def failure(cell: str, why: str) -> None:
        raise AssertionError(f"{cell}: {why}")

    requests = requests_of(ready, ids, limit=LIMIT, eos_ids=(EOS_ID,), facts=facts)
    decode_alone(
        requests, loaded, sink=lambda found: done.update({o.request.prompt_id: o for o in found}), failure=failure
    )
    return done


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_several_tokens_at_a_time_write_what_greedy_writes(
    arch: str, tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Any]
) -> None:
    """With the model as its own draft a string ends in the middle of what one pass checks: the rest does not come.

    `generate` looks at the last token of a pass alone; its texts are ours where it stops, and go on elsewhere.
    """
    loaded, names = tiny_models[arch], ("ko", "en")
    free = outcomes(loaded, {"greedy": Greedy()}, prompts=names)
    sets = stops_of(loaded, [outcome.token_ids for outcome in free.values()])
    inside = same = 0
    for stop in sets.values():
        wanted = outcomes(loaded, {"greedy": Greedy()}, stop, prompts=names)
        for strategy in (PromptLookup(), Assisted(draft=str(tiny_dirs[arch]), num_assistant_tokens=4)):
            found = drafted(loaded, strategy, stop, names)
            for name in names:
                outcome, greedy = found[name], wanted["greedy", name, 0, 0]
                assert outcome.token_ids == greedy.token_ids
                assert as_text(outcome) == as_text(greedy)
                assert outcome.token_logprobs == pytest.approx(greedy.token_logprobs, abs=1e-4)
                assert outcome.drafting is not None
                accepted, delivered = outcome.drafting.accepted_tokens, len(outcome.token_ids)
                assert accepted <= delivered <= accepted + outcome.drafting.target_forwards
                inside += delivered < accepted + outcome.drafting.target_forwards
                if isinstance(strategy, PromptLookup):
                    (theirs,) = by_generate(loaded, replace(strategy, stop=stop), outcome.request.prompt_ids)
                    assert theirs[:delivered] == list(outcome.token_ids)
                    same += len(theirs) == delivered
    assert inside > 0
    assert same > 0


# --- every strategy, any batch ----------------------------------------------------------------------------------------

OTHERS: dict[str, Strategy] = {
    "sample": Sample(num_return_sequences=2),
    "diverse": DiverseBeam(num_beams=4, num_beam_groups=2, num_return_sequences=4),
    "stochastic": StochasticBeam(num_beams=3),
    "constrained": ConstrainedBeam(num_beams=3, num_return_sequences=3, force_words=["a"]),
    "contrastive": ContrastiveSearch(top_k=3),
    "best": BestOfN(n=3),
    "guided": Beam(num_beams=3, num_return_sequences=3, guidance_scale=1.5),
}


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_texts_are_the_same_alone_and_packed_and_go_nowhere_behind_a_string(
    arch: str, tiny_models: dict[str, LoadedModel]
) -> None:
    """Also of strategies that transformers lacks: a stop string ends each text at its first place."""
    loaded, stop, names = tiny_models[arch], ["e", "\n", "니"], ("ko", "en")
    packed = outcomes(loaded, OTHERS, stop, prompts=names)
    ended = set()
    for key, outcome in packed.items():
        found = outcome.request.facts.stops.find(outcome.request.prompt_ids, outcome.token_ids)
        assert found is None or found.last == len(outcome.token_ids) - 1, key
        ended |= {key[0]} if found else set()
        assert not any(text in as_text(outcome) for text in stop)
    assert ended == {*OTHERS}
    for name in names:
        for max_rows in (1, 7)[: 1 + (name == "ko")]:
            alone = outcomes(loaded, OTHERS, stop, prompts=[name], max_rows=max_rows)
            for key, outcome in alone.items():
                assert outcome.token_ids == packed[key].token_ids, key
                assert outcome.score == pytest.approx(packed[key].score, abs=1e-4)


def test_a_forced_word_comes_before_the_text_may_end(tiny_models: dict[str, LoadedModel]) -> None:
    """As in front of an end token; a word that no text could have is an error."""
    loaded = tiny_models["llama"]
    rule = ConstrainedBeam(num_beams=3, num_return_sequences=3, force_words=["do"])
    found = outcomes(loaded, {"x": rule}, ["e", "\n"], prompts=["en", "ko"])
    assert all("do" in as_text(outcome) for outcome in found.values() if len(outcome.token_ids) < LIMIT)
    with pytest.raises(
        ConfigError, match=r"^strategy.force_words=\['a.b'\]: allowed is texts without a strategy.stop "
    ):
        ConstrainedBeam(force_words=["a.b"], stop=["."])
    assert ConstrainedBeam(force_words=["ab."], stop=["."]).stop == (".",)


def test_the_least_length_holds_for_end_tokens_alone(tiny_models: dict[str, LoadedModel]) -> None:
    """As in `generate`."""
    loaded = tiny_models["llama"]
    free = outcomes(loaded, {"greedy": Greedy(min_new_tokens=12)}, prompts=["en"])["greedy", "en", 0, 0]
    stop = [next(letter for letter in as_text(free)[2:] if letter != "\ufffd")]
    strategy = Greedy(min_new_tokens=12)
    outcome = outcomes(loaded, {"greedy": strategy}, stop, prompts=["en"])["greedy", "en", 0, 0]
    (theirs,) = by_generate(loaded, replace(strategy, stop=stop), outcome.request.prompt_ids)
    assert list(outcome.token_ids) == theirs
    assert len(theirs) < 12


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ({"stop": ["a", ""]}, "strategy.stop: entry 2 of 2 is ''; allowed are texts that are not empty"),
        ({"stop": [7]}, "strategy.stop: entry 1 of 1 is 7; allowed are texts that are not empty"),
        ({"stop": ["a", "a"]}, r"strategy.stop=\['a', 'a'\]: allowed is a list of different texts, or null$"),
        ({"stop": "a"}, r"strategy.stop=a: allowed is a list of different texts, or null$"),
        ({"stop": ["\udcff"]}, r"strategy.stop=\['\\udcff'\]: allowed is a list of different texts, or null$"),
        ({"stop_keep": True}, r"strategy.stop_keep=True: allowed is false without strategy.stop$"),
    ],
)
def test_bad_input_is_one_line(numbers: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=f"^{error}") as raised:
        Greedy(**numbers)
    assert "\n" not in str(raised.value)


def test_no_strings_are_none() -> None:
    assert Greedy(stop=[]) == Greedy(stop=None) == Greedy()
