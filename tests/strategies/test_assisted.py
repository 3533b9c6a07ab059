"""Several tokens at a time: greedy's own texts and log-probs, counts against a slow oracle, draws, runs, bad input."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decodebench.decoding.solo import decode_alone, fitted, generate_call
from decodebench.deploy.generate import generation_config_fields
from decodebench.engine import Outcome, Request
from decodebench.errors import ConfigError, DecodebenchError, ModelError
from decodebench.latency.timing import TimedCall, measure_latency
from decodebench.metrics import measure
from decodebench.models.config import ModelConfig
from decodebench.models.loading import LoadedModel, load, load_second
from decodebench.models.tokens import encode, facts_of
from decodebench.plan.config import LatencyConfig
from decodebench.records import Drafting, Generation
from decodebench.store.tables import read_records, write_records
from decodebench.strategies import Assisted, Greedy, PromptLookup, Strategy
from decodebench.strategies.assisted import Drafted
from engine_runs import PROMPTS, requests_of, run
from launches import launch, manifest, one_thread, texts, without_report, write_prompts
from metrics_data import by_name, generation
from tiny import ARCHS, build_tiny

threads = pytest.fixture(autouse=True, scope="module")(one_thread)

LIMIT = 24
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
"""The model's own and some that come up, so that texts end before the limit too."""
WITH_CACHE = tuple(arch for arch in ARCHS if arch != "gpt1")
DRAFTED: dict[str, Drafted] = {
    "early exit": Assisted(),
    "one token": Assisted(assistant_early_exit=1, num_assistant_tokens=1),
    "more and fewer": Assisted(num_assistant_tokens=4, num_assistant_tokens_schedule="heuristic_transient"),
    "confident": Assisted(num_assistant_tokens=6, assistant_confidence_threshold=0.3),
    "lookup": PromptLookup(),
    "short lookup": PromptLookup(prompt_lookup_num_tokens=2, max_matching_ngram_size=1),
}
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalties": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3, "min_new_tokens": 6},
    "texts": {"sequence_bias": {" the": 4.0}, "bad_words": ["a"], "exponential_decay_length_penalty": (4, 1.2)},
}


def ids_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names or PROMPTS}


def alone(loaded: LoadedModel, requests: Sequence[Request]) -> dict[tuple[str, str, int], Outcome]:
    """Outcomes by cell, prompt and sample; whatever fails is an error here."""
    done: dict[tuple[str, str, int], Outcome] = {}

    def sink(outcomes: Sequence[Outcome]) -> None:
        done.update({(o.request.cell, o.request.prompt_id, o.request.sample): o for o in outcomes})

    def failure(cell: str, why: str) -> None:
        raise AssertionError(f"{cell}: {why}")

    decode_alone(requests, loaded, sink=sink, failure=failure)
    return done


def requests_for(
    loaded: LoadedModel, strategies: dict[str, Strategy], *prompts: str, limit: int = LIMIT, seed: int = 0
) -> list[Request]:
    facts = facts_of(loaded.model, loaded.tokenizer, EOS_IDS)
    ready = {name: one if one.packs else fitted(one, loaded, facts) for name, one in strategies.items()}
    return requests_of(ready, ids_of(loaded, *prompts), limit=limit, eos_ids=EOS_IDS, facts=facts, seed=seed)


# --- greedy texts are greedy's ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("arch", WITH_CACHE)
def test_greedy_texts_and_log_probs_are_those_of_greedy(
    arch: str, rules: str, tiny_models: dict[str, LoadedModel]
) -> None:
    """Six drafts, four prompts, 2 to 35 tokens; Gemma 3 looks back only 8 tokens in two of its layers."""
    loaded = tiny_models[arch]
    wanted = run(loaded.model, requests_for(loaded, {"greedy": Greedy(**RULES[rules])}))
    found = alone(loaded, requests_for(loaded, {k: replace(s, **RULES[rules]) for k, s in DRAFTED.items()}))
    assert len(found) == len(DRAFTED) * len(PROMPTS)
    for (name, prompt, _), outcome in found.items():
        greedy = wanted.outcomes["greedy", prompt, 0, 0]
        assert outcome.token_ids == greedy.token_ids, (name, prompt)
        assert outcome.token_logprobs == pytest.approx(greedy.token_logprobs, abs=1e-4)
    useful = [o.drafting.accepted_tokens > 0 for o in found.values() if o.drafting is not None]
    assert len(useful) == len(found)
    assert any(useful) or rules != "plain", "nothing was accepted: the test says little"


@pytest.mark.packaged
def test_greedy_texts_of_the_packaged_model(packaged: LoadedModel) -> None:
    facts = facts_of(packaged.model, packaged.tokenizer, packaged.eos_ids)
    prompts = {"ko": encode(packaged, PROMPTS["ko_long"]), "en": encode(packaged, "The old boat, the old")}
    rules: dict[str, Any] = {"limit": 24, "eos_ids": packaged.eos_ids, "facts": facts}
    greedy = run(packaged.model, requests_of({"greedy": Greedy()}, prompts, **rules))
    strategies: dict[str, Strategy] = {"assisted": fitted(Assisted(), packaged, facts), "lookup": PromptLookup()}
    found = alone(packaged, requests_of(strategies, prompts, **rules))
    for (_, prompt, _), outcome in found.items():
        assert outcome.token_ids == greedy.outcomes["greedy", prompt, 0, 0].token_ids
        assert outcome.token_logprobs == pytest.approx(greedy.outcomes["greedy", prompt, 0, 0].token_logprobs, abs=1e-4)
    accepted = [o.drafting.accepted_tokens for o in found.values() if o.drafting is not None]
    assert len(accepted) == 4
    assert all(accepted), "each draft was of some use"


# --- the counts, by a slow oracle and by hand -------------------------------------------------------------------------


@dataclass
class Slow:
    """Speculative decoding in plain Python: whole forward passes, a token at a time, no cache."""

    loaded: LoadedModel

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = self.loaded.model(torch.tensor([ids])).logits[0, -1]
        return scores

    def exit_logits(self, ids: Sequence[int], layers: int) -> torch.Tensor:
        """What the head says of the hidden states after `layers` layers, the last norm applied."""
        model = self.loaded.model
        with torch.inference_mode():
            hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layers]
            base = model.base_model
            norm = base.ln_f if hasattr(base, "ln_f") else base.norm
            scores: torch.Tensor = model.get_output_embeddings()(norm(hidden))[0, -1]
        return scores

    def draft(self, strategy: Drafted, ids: list[int], room: int) -> list[int]:
        if isinstance(strategy, PromptLookup):
            return self.looked_up(strategy, ids)
        assert isinstance(strategy, Assisted)
        drafted: list[int] = []
        while len(drafted) < min(strategy.num_assistant_tokens, room):
            drafted.append(int(self.exit_logits([*ids, *drafted], strategy.assistant_early_exit or 1).argmax()))
            if drafted[-1] in EOS_IDS:
                break
        return drafted

    def looked_up(self, strategy: PromptLookup, ids: list[int]) -> list[int]:
        for n in range(min(strategy.max_matching_ngram_size, len(ids) - 1), 0, -1):
            for at in range(len(ids) - n):
                if ids[at : at + n] == ids[-n:]:
                    found = ids[at + n : at + n + strategy.prompt_lookup_num_tokens]
                    end = next((i for i, token in enumerate(found) if token in EOS_IDS), len(found))
                    return found[:end]
        return []

    def decode(self, strategy: Drafted, prompt: Sequence[int], limit: int) -> tuple[list[int], Drafting, int]:
        """The text, its counts, and the tokens that the model was fed."""
        ids, passes, drafted, accepted, fed = list(prompt), 0, 0, 0, 0
        end = len(ids) + limit
        while len(ids) < end and not (len(ids) > len(prompt) and ids[-1] in EOS_IDS):
            room = end - len(ids) - 1
            draft = self.draft(strategy, ids, room) if room else []
            fed += len(draft) + (1 if passes else len(prompt))
            passes, drafted = passes + 1, drafted + len(draft)
            for token in [*draft, None]:
                chosen = int(self.logits(ids).argmax())
                ids.append(chosen)
                accepted += chosen == token
                if chosen != token or chosen in EOS_IDS or len(ids) == end:
                    break
        return (
            ids[len(prompt) :],
            Drafting(target_forwards=passes, drafted_tokens=drafted, accepted_tokens=accepted),
            fed,
        )


COUNTED: dict[str, Drafted] = {
    "early exit": Assisted(assistant_early_exit=1),
    "longer": Assisted(assistant_early_exit=1, num_assistant_tokens=5),
    "lookup": PromptLookup(),
    "short lookup": PromptLookup(prompt_lookup_num_tokens=2, max_matching_ngram_size=1),
}


@pytest.mark.parametrize("arch", WITH_CACHE)
def test_counts_are_those_of_a_slow_oracle(arch: str, tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models[arch]
    slow = Slow(loaded)
    for request, outcome in ((o.request, o) for o in alone(loaded, requests_for(loaded, {**COUNTED})).values()):
        assert isinstance(request.strategy, Drafted)
        text, drafting, fed = slow.decode(request.strategy, request.prompt_ids, request.limit)
        assert list(outcome.token_ids) == text
        assert (outcome.drafting, outcome.computed_tokens) == (drafting, fed), (request.cell, request.prompt_id)


def test_counts_by_hand_for_a_draft_that_is_always_right(
    tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Path]
) -> None:
    loaded = tiny_models["llama"]
    strategy = replace(Assisted(), draft=str(tiny_dirs["llama"]), num_assistant_tokens=3)
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    request = requests_of({"c": fitted(strategy, loaded, facts)}, ids_of(loaded, "en"), limit=9, facts=facts)
    (outcome,) = alone(loaded, request).values()
    # 9 tokens: 3 drafted and 1 more, twice; then one is left, and nothing to draft.
    assert outcome.drafting == Drafting(target_forwards=3, drafted_tokens=6, accepted_tokens=6)
    # The prompt and 3 drafted; the last token and 3 drafted; the last token.
    assert outcome.computed_tokens == len(request[0].prompt_ids) + 3 + 4 + 1


def test_the_model_is_left_as_it_was(tiny_models: dict[str, LoadedModel]) -> None:
    """transformers' own early exit shortens the model in place, and leaves it short where it fails."""
    loaded = tiny_models["gpt2"]
    model, before = loaded.model, torch.random.get_rng_state()
    settings = model.generation_config.to_dict()
    alone(loaded, requests_for(loaded, {"c": Assisted(do_sample=True)}, "en"))
    assert model.config.num_hidden_layers == len(model.transformer.h) == 2
    assert len(model._forward_pre_hooks) == 0
    assert model.generation_config.to_dict() == settings
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_draft_of_first_layers_shares_the_weights(tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models["gemma3"]
    draft = generate_call(Assisted(assistant_early_exit=2), {}, loaded)[1]["assistant_model"]
    mine = {tensor.data_ptr() for tensor in loaded.model.parameters()}
    assert {tensor.data_ptr() for tensor in draft.parameters()} < mine
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        wanted = Slow(loaded).exit_logits(ids[0].tolist(), 2)
        assert torch.allclose(draft(ids).logits[0, -1], wanted, atol=1e-5)


# --- sampling --------------------------------------------------------------------------------------------------------

SAMPLED: dict[str, Strategy] = {
    "assisted": Assisted(do_sample=True, temperature=0.8, num_return_sequences=2),
    "lookup": PromptLookup(do_sample=True, temperature=0.8, num_return_sequences=2),
}


def test_samples_belong_to_their_request(tiny_models: dict[str, LoadedModel]) -> None:
    """Not to the order, to what else is decoded, or to the state of the global generator."""
    loaded = tiny_models["llama"]
    requests = requests_for(loaded, SAMPLED, "en", "ko")
    found = {key: o.token_ids for key, o in alone(loaded, requests).items()}
    torch.rand(7)
    assert {key: o.token_ids for key, o in alone(loaded, requests[::-1]).items()} == found
    assert alone(loaded, requests[3:4])["assisted", "ko", 1].token_ids == found["assisted", "ko", 1]
    assert found["assisted", "ko", 0] != found["assisted", "ko", 1]
    other = {key: o.token_ids for key, o in alone(loaded, requests_for(loaded, SAMPLED, "en", "ko", seed=1)).items()}
    assert all(other[key] != found[key] for key in found)


def test_samples_have_the_models_own_distribution(tiny_models: dict[str, LoadedModel]) -> None:
    """The first of two tokens is drafted, then accepted or drawn anew: together they must be draws from the model.

    600 draws; Dvoretzky-Kiefer-Wolfowitz (Massart 1990) on the tokens in order of probability: with a false alarm in
    1e-9 the largest distance of the two distribution functions is sqrt(ln(2 / 1e-9) / 1200) = 0.134. A bias that
    moves more than 0.27 of the mass below some rank is seen as surely; that of the draft itself moves more.
    """
    loaded, draws = tiny_models["llama"], 600
    strategy = Assisted(do_sample=True, temperature=0.7, num_return_sequences=draws)
    outcomes = alone(loaded, requests_for(loaded, {"c": strategy}, "en", limit=2))
    drawn = Counter(outcome.token_ids[0] for outcome in outcomes.values())
    accepted = [o.drafting.accepted_tokens for o in outcomes.values() if o.drafting is not None]
    assert 0.05 < sum(accepted) / draws < 0.95, "both ways of coming to a token must be taken"

    slow, prompt = Slow(loaded), ids_of(loaded, "en")["en"]
    p, order = torch.softmax(slow.logits(prompt).double() / 0.7, -1).sort(descending=True)
    q = torch.softmax(slow.exit_logits(prompt, 1).double() / 0.7, -1)[order]
    seen = torch.tensor([drawn[int(token)] for token in order]).double() / draws
    bound = math.sqrt(math.log(2 / 1e-9) / (2 * draws))
    assert float((seen.cumsum(0) - p.cumsum(0)).abs().max()) < bound
    assert float((q.cumsum(0) - p.cumsum(0)).abs().max()) > 2 * bound, "draws from the draft would not be seen"


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Assisted(), PromptLookup()], ids=lambda one: type(one).__name__)
def test_a_model_without_a_cache(strategy: Drafted, tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models["gpt1"]
    with pytest.raises(ConfigError, match=r"^strategy=\w+: gpt1 has no key-value cache to take tokens back from"):
        fitted(strategy, loaded, facts_of(loaded.model, loaded.tokenizer, ()))


@pytest.mark.parametrize(("arch", "layers"), [("llama", 2), ("gemma3", 3)])
def test_layers_that_the_model_does_not_have(arch: str, layers: int, tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models[arch]
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    with pytest.raises(ConfigError) as raised:
        fitted(Assisted(assistant_early_exit=layers), loaded, facts)
    allowed = f"1 to {layers - 1} with a model of {layers} layers"
    assert str(raised.value) == f"strategy.assistant_early_exit={layers}: allowed is {allowed}"
    assert Assisted(assistant_early_exit=layers - 1).check(facts) is None


@pytest.mark.parametrize(("layers", "drafts"), [(2, 1), (3, 2), (12, 10), (18, 15), (28, 23)])
def test_five_sixths_of_the_layers_draft(layers: int, drafts: int, tiny_models: dict[str, LoadedModel]) -> None:
    loaded = tiny_models["llama"]
    facts = replace(facts_of(loaded.model, loaded.tokenizer, ()), layers=layers)
    assert Assisted().exit_layers(facts) == drafts


def test_a_draft_with_another_vocabulary(tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    """Other rows, or as many rows for other tokens."""
    loaded = tiny_models["llama"]
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    wider = load(ModelConfig(name="wider", source="local", path=str(build_tiny("gpt2", tmp_path / "a")), device="cpu"))
    wider.model.resize_token_embeddings(len(wider.tokenizer) + 3)
    for name, tokens in (("rows", ["<a>", "<b>", "<c>"]), ("tokens", [])):
        wider.tokenizer.add_tokens(tokens)
        wider.model.save_pretrained(tmp_path / name)
        wider.tokenizer.save_pretrained(tmp_path / name)
        with pytest.raises(ConfigError) as raised:
            fitted(Assisted(draft=str(tmp_path / name)), loaded, facts)
        one_line(raised.value, f"strategy.draft={tmp_path / name}: its vocabulary", "not that of llama")


def test_a_draft_that_cannot_be_loaded(tiny_models: dict[str, LoadedModel], tmp_path: Path) -> None:
    loaded = tiny_models["llama"]
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    for place in (str(tmp_path), "nobody/no-such-model"):
        with pytest.raises(ModelError) as raised:
            fitted(Assisted(draft=place), loaded, facts)
        one_line(raised.value, f"strategy.draft={place}: ")


def test_a_draft_without_a_cache(tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Path]) -> None:
    loaded = tiny_models["gpt2"]
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    with pytest.raises(ConfigError, match=r"^strategy\.draft=.*gpt1\d*: it has no key-value cache"):
        fitted(Assisted(draft=str(tiny_dirs["gpt1"])), loaded, facts)


def test_a_second_model_is_read_once_for_the_next(
    tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Path]
) -> None:
    loaded = tiny_models["gpt2"]
    first = load_second(str(tiny_dirs["gptj"]), loaded)
    assert load_second(str(tiny_dirs["gptj"]), loaded) is first
    assert load_second(str(tiny_dirs["gpt2"]), loaded) is not first


def one_line(error: DecodebenchError, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    assert all(part in message for part in parts), message


# --- whole runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tiny_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of a small run in a folder of its own, without a strategy; no report is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    write_prompts(tmp_path)
    without_report(monkeypatch)
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


def test_a_run_has_them_beside_the_packed_ones(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,assisted,prompt_lookup").code == 0
    by_cell = {name: [t for t in texts() if t.strategy == name] for name in ("greedy", "assisted", "prompt_lookup")}
    plain = [(t.prompt_id, t.token_ids, t.text, t.finish_reason) for t in by_cell["greedy"]]
    assert len(plain) == 3
    for name in ("assisted", "prompt_lookup"):
        assert [(t.prompt_id, t.token_ids, t.text, t.finish_reason) for t in by_cell[name]] == plain
        assert all(1 <= (t.target_forwards or 0) <= t.delivered_tokens for t in by_cell[name])
    assert {t.target_forwards for t in by_cell["greedy"]} == {None}
    found = manifest()
    configs = {cell["strategy"]: cell["generation_config"] for cell in found["cells"]}
    assert configs["assisted"]["assistant_early_exit"] == 1, "the resolved number"
    counts, passes = found["counts"], sum(t.target_forwards or 0 for t in texts())
    assert counts["requests_decoded"] == counts["requests_total"] == 9
    assert counts["prefills"] == 3 + 6
    assert counts["tokens_alone"] == sum(t.computed_tokens for t in texts())
    assert counts["forward_passes"] > passes


def test_a_run_goes_on_where_it_was(good: list[str]) -> None:
    """Killed in the middle: the journal has some of the texts, and they are not decoded again."""
    assert launch("-m", *good, "strategy=assisted,prompt_lookup").code == 0
    whole = texts()
    folder = Path("results/x")
    write_records(folder / "generations.parquet", Generation, whole[:2])
    assert launch("-m", *good, "strategy=assisted,prompt_lookup").code == 0
    assert texts() == whole
    counts = manifest()["counts"]
    assert (counts["requests_stored_before"], counts["requests_decoded"], counts["prefills"]) == (2, 4, 4)
    assert launch("-m", *good, "strategy=assisted,prompt_lookup").code == 0
    assert manifest()["counts"]["requests_decoded"] == 0


def test_one_that_fails_does_not_lose_the_others(good: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own" / "strategy"
    own.mkdir(parents=True)
    rules = "defaults:\n  - /rules@_here_: default\n  - _self_\n"
    own.joinpath("broken.yaml").write_text(f"{rules}name: broken\n_target_: own_strategies.BrokenLookup\n")
    searchpath = f"hydra.searchpath=[file://{tmp_path / 'own'}]"
    done = launch("-m", searchpath, *good, "strategy=greedy,broken,prompt_lookup")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert {t.strategy for t in texts()} == {"greedy", "prompt_lookup"}
    (failed,) = manifest()["failed"]
    assert failed["error"].startswith("ValueError: Invalid max_matching_ngram_size")
    assert manifest()["counts"]["requests_decoded"] == 6


def test_bad_drafts_are_told_before_anything_is_decoded(good: list[str], tiny_dirs: dict[str, Path]) -> None:
    done = launch("-m", *good, "strategy=assisted", "strategy.draft=no/such-model")
    assert done.code == ModelError.exit_code
    assert "strategy.draft=no/such-model: " in done.err
    assert done.err.count("\n") == 1
    assert not Path("results").exists()


def test_timed_as_it_is_decoded(tiny_models: dict[str, LoadedModel], tiny_dirs: dict[str, Path]) -> None:
    loaded = tiny_models["gptj"]
    facts = facts_of(loaded.model, loaded.tokenizer, ())
    calls = []
    for one in (Assisted(), Assisted(draft=str(tiny_dirs["gpt2"])), PromptLookup()):
        strategy = fitted(one, loaded, facts)
        fields = generation_config_fields(strategy, eos_ids=(), pad_id=loaded.pad_id, limit=6, min_new_tokens=0)
        fields, named = generate_call(strategy, fields, loaded)
        calls.append(
            TimedCall(
                cell="c", model="m", strategy="s", prompt_id="p", prompt_ids=(9, 30, 40), fields=fields, named=named
            )
        )
    config = LatencyConfig(name="c", warmups=1, rounds=3, prompts=1, new_tokens=6)
    timings = measure_latency(loaded, calls, config)
    assert [t.new_tokens for t in timings] == [6] * 9
    assert all(t.ttft_s is not None and 0 < t.ttft_s <= t.e2e_s for t in timings)


# --- the metrics -----------------------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    counted = {"target_forwards": 4, "drafted_tokens": 6, "accepted_tokens": 3}
    other = {"target_forwards": 2, "drafted_tokens": 0, "accepted_tokens": 0}
    rows = by_name(
        measure(
            [
                generation([1, 2, 3, 4, 5, 6, 7], prompt_id="a", **counted),
                generation([1, 2], prompt_id="b", **other),
            ]
        )
    )
    assert rows["acceptance_rate"].value == 3 / 6
    assert rows["acceptance_rate"].n == 1, "prompt b had nothing drafted"
    assert rows["tokens_per_forward"].value == (7 + 2) / (4 + 2)


def test_metrics_of_strategies_that_draft_nothing() -> None:
    rows = by_name(measure([generation([1, 2, 3])]))
    assert (rows["acceptance_rate"].value, rows["acceptance_rate"].reason) == (None, "no token was drafted")
    one = rows["tokens_per_forward"]
    assert (one.value, one.reason) == (None, "the strategy takes one token at a time")


def test_runs_stored_before_there_were_drafts_are_read(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_records(tmp_path / "new.parquet", Generation, [generation([1, 2])])
    old = pq.read_table(tmp_path / "new.parquet").drop(["target_forwards", "drafted_tokens", "accepted_tokens"])
    pq.write_table(old, tmp_path / "old.parquet")
    assert read_records(tmp_path / "old.parquet", Generation) == [generation([1, 2])]
