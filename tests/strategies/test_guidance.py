"""Guidance: any strategy under classifier-free guidance, against transformers' and against plain forward passes."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from decodebench.deploy.generate import custom_generate, exports, generation_config, generation_config_fields
from decodebench.errors import ConfigError
from decodebench.models.loading import LoadedModel
from decodebench.models.tokens import encode, model_facts
from decodebench.strategies import Beam, BestOfN, Greedy, MinP, ModelFacts, Strategy, Temperature, TopP
from decodebench.strategies.guidance import Guided, guided
from decodebench.strategies.step.draws import Draws, stream_key
from engine_runs import CACHED, PROMPTS, WHOLE, generated, requests_of, run, view_of, without_padding
from launches import launch, manifest, texts, without_report, write_prompts

LIMIT = 10
EOS_IDS = (1, 40, 90, 140, 190, 240, 290, 340)
NEGATIVE = "고양이는 따뜻한"
FORWARDS = pytest.mark.parametrize("forward", [CACHED, WHOLE], ids=["cached", "whole"])


def prompts_of(loaded: LoadedModel, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: encode(loaded, PROMPTS[name]) for name in names or ("ko", "en", "short")}


class PlainGuidance(LogitsProcessor):
    """The definition, one whole forward pass for each row and step; transformers' own leaves the companions' caches
    where they were when beams change places."""

    def __init__(self, model: Any, scale: float, prompt_length: int, start: tuple[int, ...]) -> None:
        self.model, self.scale, self.prompt_length, self.start = model, scale, prompt_length, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        with_prompt = torch.log_softmax(scores, -1)
        rows = []
        for ids in input_ids.tolist():
            companion = torch.tensor([[*self.start, *ids[self.prompt_length :]]])
            rows.append(torch.log_softmax(self.model(companion).logits[0, -1], -1))
        without = torch.stack(rows)
        return without + self.scale * (with_prompt - without)


@FORWARDS
@pytest.mark.parametrize("arch", ["gpt2", "llama", "gemma3"])
@pytest.mark.parametrize("max_rows", [2, 128])
def test_greedy_equals_generate(tiny_models, arch, max_rows, forward):
    """transformers' guidance without a negative prompt starts from the prompt's last token too."""
    loaded = tiny_models[arch]
    prompts = prompts_of(loaded)
    strategies = {
        "guided": Greedy(guidance_scale=1.5),
        "strongly": Greedy(guidance_scale=3.0, repetition_penalty=1.3),
        "less": Greedy(guidance_scale=0.0, no_repeat_ngram_size=2),
        "greedy": Greedy(),
    }
    done = run(
        loaded.model, requests_of(strategies, prompts, limit=LIMIT, eos_ids=EOS_IDS), forward=forward, max_rows=max_rows
    )
    assert done.failures == {}
    for (cell, prompt_id, _, _), outcome in done.outcomes.items():
        texts, _ = generated(
            loaded.model, strategies[cell], prompts[prompt_id], limit=LIMIT, eos_ids=EOS_IDS, pad_id=loaded.pad_id
        )
        assert list(outcome.token_ids) == texts[0], (cell, prompt_id)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_beam_search_equals_generate(tiny_models, arch, penalty, negative):
    """Token for token, and the scores: `generate` with the definition as its first processor."""
    loaded = tiny_models[arch]
    facts = model_facts(loaded, EOS_IDS)
    beam = Beam(
        num_beams=3,
        num_return_sequences=3,
        guidance_scale=1.5,
        negative_prompt=negative,
        repetition_penalty=penalty,
    )
    prompts = prompts_of(loaded)
    done = run(loaded.model, requests_of({"beam": beam}, prompts, limit=LIMIT, eos_ids=EOS_IDS, facts=facts))
    assert done.failures == {}
    plain = replace(beam, guidance_scale=1.0, negative_prompt=None, repetition_penalty=1.0)
    for prompt_id, ids in prompts.items():
        start = ids[-1:] if negative is None else encode(loaded, negative)
        processors = LogitsProcessorList([PlainGuidance(loaded.model, 1.5, len(ids), start)])
        if penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(penalty))
        fields = generation_config_fields(plain, eos_ids=EOS_IDS, pad_id=loaded.pad_id, limit=LIMIT)
        out = loaded.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            generation_config=generation_config(fields | {"return_dict_in_generate": True, "output_scores": True}),
            logits_processor=processors,
        )
        for rank in range(3):
            outcome = done.outcomes["beam", prompt_id, 0, rank]
            assert list(outcome.token_ids) == without_padding(out.sequences[rank, len(ids) :].tolist(), EOS_IDS)
            assert outcome.score == pytest.approx(float(out.sequences_scores[rank]), abs=1e-4)


@FORWARDS
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_a_negative_prompt_equals_generate(tiny_models, arch, forward):
    loaded = tiny_models[arch]
    facts = model_facts(loaded, EOS_IDS)
    rule = Greedy(guidance_scale=1.7, negative_prompt=NEGATIVE)
    prompts = prompts_of(loaded)
    requests = requests_of({"guided": rule}, prompts, limit=LIMIT, eos_ids=EOS_IDS, facts=facts)
    done = run(loaded.model, requests, forward=forward)
    unlike = run(loaded.model, requests_of({"guided": Greedy(guidance_scale=1.7)}, prompts, limit=LIMIT))
    fields = generation_config_fields(rule, eos_ids=EOS_IDS, pad_id=loaded.pad_id, limit=LIMIT)
    for prompt_id, ids in prompts.items():
        out = loaded.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            generation_config=generation_config(fields),
            negative_prompt_ids=torch.tensor([encode(loaded, NEGATIVE)]),
        )
        text = without_padding(out[0, len(ids) :].tolist(), EOS_IDS)
        assert list(done.tokens["guided", prompt_id, 0, 0]) == text
    assert done.tokens != unlike.tokens


RULES: dict[str, Strategy] = {
    "greedy": Greedy(no_repeat_ngram_size=2),
    "beam": Beam(num_beams=3, num_return_sequences=2, repetition_penalty=1.2),
    "top_p": TopP(num_return_sequences=2, no_repeat_ngram_size=2),
    "min_p": MinP(num_return_sequences=2, temperature=1.3),
    "pure": Temperature(num_return_sequences=2),
    "best_of_n": BestOfN(n=3),
}


def by_hand(rule: Strategy, **numbers: Any) -> Strategy:
    return replace(rule, **numbers)


@pytest.mark.parametrize("max_rows", [6, 128])
@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_a_companion_that_says_the_same_changes_nothing(tiny_models, arch, max_rows):
    """With the prompt itself as the negative prompt, log p + scale * 0 is what any rule sees; all kinds together, as
    texts end and requests come in."""
    loaded = tiny_models[arch]
    facts = model_facts(loaded, EOS_IDS)
    prompt = {"ko": encode(loaded, PROMPTS["ko"])}
    same = {name: by_hand(rule, guidance_scale=2.5, negative_prompt=PROMPTS["ko"]) for name, rule in RULES.items()}
    done = run(loaded.model, requests_of(same, prompt, limit=LIMIT, eos_ids=EOS_IDS, facts=facts), max_rows=max_rows)
    off = run(loaded.model, requests_of(RULES, prompt, limit=LIMIT, eos_ids=EOS_IDS, facts=facts))
    assert done.failures == off.failures == {}
    assert done.tokens == off.tokens
    for key, outcome in done.outcomes.items():
        assert outcome.score == (None if off.outcomes[key].score is None else pytest.approx(off.outcomes[key].score))


@pytest.mark.parametrize("rule", [Temperature(temperature=0.8), MinP(min_p=0.2), TopP(repetition_penalty=1.3)])
def test_samplers_see_the_definition(tiny_models, rule):
    """A sampler under guidance writes what it writes on logits that were guided by hand, with the same noise."""
    loaded = tiny_models["llama"]
    (prompt,) = prompts_of(loaded, "en").values()
    rule = replace(rule, num_return_sequences=2)
    done = run(
        loaded.model, requests_of({"guided": replace(rule, guidance_scale=1.5)}, {"en": prompt}, limit=LIMIT, seed=4)
    )
    processor = PlainGuidance(loaded.model, 1.5, len(prompt), prompt[-1:])
    for sample in range(2):
        text = list(prompt)
        for step in range(LIMIT):
            with torch.inference_mode():
                scores = processor(torch.tensor([text]), loaded.model(torch.tensor([text])).logits[:, -1])
            view = view_of(scores, [text], prompt_length=len(prompt))
            key_12 = torch.tensor([stream_key(4, prompt)])
            view = replace(view, draws=Draws(key_12, torch.tensor([sample]), torch.tensor([step])))
            text.append(int(rule.step(view, {}).emit_B))
        assert tuple(text[len(prompt) :]) == done.tokens["guided", "en", sample, 0]


def test_recorded_logprobs_are_those_with_the_prompt(tiny_models):
    """And the companions are computed too: P and N tokens, then 2 rows for each new token but the last."""
    loaded = tiny_models["llama"]
    facts = model_facts(loaded, ())
    (prompt,) = prompts_of(loaded, "ko").values()
    rule = Temperature(num_return_sequences=1, guidance_scale=2.0, negative_prompt=NEGATIVE)
    done = run(loaded.model, requests_of({"guided": rule}, {"ko": prompt}, limit=6, facts=facts))
    outcome = done.outcomes["guided", "ko", 0, 0]
    assert outcome.computed_tokens == len(prompt) + len(encode(loaded, NEGATIVE)) + 2 * 5 == done.rows.tokens_computed
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([prompt + outcome.token_ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(outcome.token_ids)[:, None])[:, 0]
    assert list(outcome.token_logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_beam_counts_its_companions(tiny_models):
    """P + 1 tokens; the first step feeds 3 beams and 3 companions, and each of the next 4 as many."""
    loaded = tiny_models["llama"]
    (prompt,) = prompts_of(loaded, "ko").values()
    rule = Beam(num_beams=3, num_return_sequences=1, guidance_scale=1.5, early_stopping=False)
    done = run(loaded.model, requests_of({"beam": rule}, {"ko": prompt}, limit=6))
    assert done.outcomes["beam", "ko", 0, 0].computed_tokens == len(prompt) + 1 + 5 * 6 == done.rows.tokens_computed


def test_one_is_off():
    rule = Beam(num_beams=2, num_return_sequences=1)
    assert guided(rule, ModelFacts(vocabulary=10)) is rule
    assert isinstance(guided(replace(rule, guidance_scale=1.01), ModelFacts(vocabulary=10)), Guided)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_through_generate_it_writes_the_same(tiny_models, arch):
    """`custom_generate`, with a negative prompt and with beams, which a GenerationConfig alone does not say."""
    loaded = tiny_models[arch]
    facts = model_facts(loaded, EOS_IDS)
    (prompt,) = prompts_of(loaded, "en").values()
    rules = {
        "beam": Beam(num_beams=3, num_return_sequences=1, guidance_scale=1.5, max_new_tokens=LIMIT, eos=list(EOS_IDS)),
        "negative": Greedy(guidance_scale=1.5, negative_prompt=NEGATIVE, max_new_tokens=LIMIT, eos=list(EOS_IDS)),
    }
    done = run(loaded.model, requests_of(rules, {"en": prompt}, limit=LIMIT, eos_ids=EOS_IDS, facts=facts))
    for name, rule in rules.items():
        assert not exports(rule)
        out = loaded.model.generate(
            torch.tensor([prompt]), custom_generate=custom_generate(rule, loaded.tokenizer), do_sample=False
        )
        text = without_padding(out[0, len(prompt) :].tolist(), EOS_IDS)
        assert text == list(done.tokens[name, "en", 0, 0])
    assert exports(Greedy(guidance_scale=1.5))


@dataclass(frozen=True, kw_only=True)
class Unpacked(Greedy):
    packs = False


@dataclass(frozen=True, kw_only=True)
class Reader(Greedy):
    def hidden_layers(self, facts: ModelFacts) -> tuple[int, ...]:
        return (-1,)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Unpacked(guidance_scale=2.0), "several tokens at a time"),
        (Reader(guidance_scale=2.0), "more of the model than"),
    ],
)
def test_what_cannot_be_guided(rule, why):
    with pytest.raises(ConfigError, match=f"strategy.guidance_scale=2.0: allowed is 1.0, .* {why}"):
        guided(rule, ModelFacts(vocabulary=10))


def test_a_negative_prompt_without_tokens(tiny_models):
    rule = Greedy(guidance_scale=2.0, negative_prompt="")
    with pytest.raises(ConfigError, match=r"strategy.negative_prompt='': has no tokens"):
        guided(rule, model_facts(tiny_models["gpt2"], ()))
    with_bos = guided(rule, model_facts(tiny_models["llama"], ()))  # its tokenizer puts <bos> there
    assert with_bos.row_prompts((5, 6), ModelFacts(vocabulary=10)) == [(5, 6), (0,)]


def test_a_run_under_guidance(tiny_dirs, tiny_models, tmp_path, monkeypatch):
    """The negative prompt is tokenized as prompts are, their template included; one too long for the context fails."""
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)
    without_report(monkeypatch)
    common = ["model=local", f"model.path={tiny_dirs['gemma3']}", "model.device=cpu", "prompts=file", "latency=skip"]
    common += ["prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x", "strategy=guidance"]
    long = "a" * 200
    result = launch("-m", *common, "prompts.template=chat", f"strategy.negative_prompt=null,She,{long}")
    assert result.code == 1
    (failed,) = manifest()["failed"]
    assert failed["error"].startswith("strategy.negative_prompt: ")
    assert "more than the context of 192" in failed["error"]
    loaded = tiny_models["gemma3"]
    negative = {cell["id"]: cell["config"]["strategy"]["negative_prompt"] for cell in manifest()["cells"]}
    for text in texts():
        prompt = encode(loaded, text.prompt, "chat")
        start = prompt[-1:] if negative[text.cell] is None else encode(loaded, "She", "chat")
        rule = Guided(inner=Greedy(), guidance_scale=1.5, negative_ids=start)
        request = requests_of({"x": Greedy()}, {"p": prompt}, limit=8, eos_ids=loaded.eos_ids)[0]
        done = run(loaded.model, [replace(request, strategy=rule)])
        assert done.tokens["x", "p", 0, 0] == text.token_ids
    assert len(texts()) == 2 * 3
