"""What the tests of engine and strategies share: rows of given logits, requests, runs, reference texts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from decodebench.deploy.generate import generation_config, generation_config_fields
from decodebench.engine import Decoder, Forward, Outcome, Request
from decodebench.engine.exits import NOT_LOOKED_FOR, find_layers
from decodebench.engine.rows import Rows
from decodebench.models import vocabulary
from decodebench.strategies import (
    MBR,
    XTC,
    AdaptiveContrastive,
    Assisted,
    Beam,
    BeamSample,
    BestOfN,
    ConstrainedBeam,
    ContrastiveDecoding,
    ContrastiveSearch,
    DiverseBeam,
    DoLa,
    DynamicTemperature,
    Epsilon,
    Eta,
    Greedy,
    MinP,
    Mirostat,
    ModelFacts,
    PLess,
    PromptLookup,
    Sample,
    SelfConsistency,
    StochasticBeam,
    Strategy,
    TailFree,
    Temperature,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    Typical,
    View,
)
from decodebench.strategies.guidance import guided
from decodebench.strategies.step.draws import Draws, stream_key
from decodebench.strategies.step.scores import Scores

CPU = torch.device("cpu")
CACHED = Forward(path="cached", reason="chosen by the test", cache_error=None, batch_error=None)
WHOLE = Forward(path="whole sequence", reason="chosen by the test", cache_error=None, batch_error=None)

PROMPTS = {
    "ko": "오늘은 비가",
    "en": "The old boat",
    "short": "She",
    "ko_long": "야! 너는 AI지? 정말로 말을 알아듣니?",
}
"""Of 10, 7, 2 and 34 tokens of the tiny tokenizer (one more with <bos>)."""

SERVED = Sample(
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    min_p=0.05,
    num_return_sequences=2,
    order=["top_k", "top_p", "min_p", "temperature"],
)
EVERY_STRATEGY: dict[str, Strategy] = {
    "greedy": Greedy(),
    "beam": Beam(num_beams=3, num_return_sequences=2, no_repeat_ngram_size=2),
    "sample": Sample(temperature=0.75, num_return_sequences=2),
    "top_k": TopK(top_k=20, num_return_sequences=2),
    "top_p": TopP(num_return_sequences=2, repetition_penalty=1.2),
    "min_p": MinP(num_return_sequences=2),
    "typical": Typical(num_return_sequences=2),
    "temperature": Temperature(num_return_sequences=2, no_repeat_ngram_size=3),
    "dynamic_temperature": DynamicTemperature(num_return_sequences=2),
    "top_h": TopH(num_return_sequences=2),
    "epsilon": Epsilon(num_return_sequences=2),
    "eta": Eta(num_return_sequences=2),
    "top_n_sigma": TopNSigma(num_return_sequences=2, temperature=1.5),
    "tfs": TailFree(num_return_sequences=2),
    "p_less": PLess(num_return_sequences=2, temperature=1.5),
    "xtc": XTC(num_return_sequences=2, xtc_threshold=0.02),
    "mirostat": Mirostat(num_return_sequences=2, mirostat_tau=3.0),
    "repetition_penalty": Greedy(repetition_penalty=1.2),
    "no_repeat_ngram": Greedy(no_repeat_ngram_size=3),
    "presence_penalty": Temperature(num_return_sequences=2, presence_penalty=0.5),
    "frequency_penalty": Temperature(num_return_sequences=2, frequency_penalty=0.5),
    "dry": Temperature(num_return_sequences=2, dry_multiplier=0.8, dry_sequence_breakers=()),
    "exponential_decay": Temperature(num_return_sequences=2, exponential_decay_length_penalty=(0, 1.02)),
    "contrastive_search": ContrastiveSearch(no_repeat_ngram_size=3),
    "adaptive_contrastive": AdaptiveContrastive(max_k=7),
    "contrastive_decoding": ContrastiveDecoding(do_sample=True, num_return_sequences=2, no_repeat_ngram_size=2),
    "dola": DoLa(dola_layers=[0, 1], repetition_penalty=1.2),
    "guidance": Greedy(guidance_scale=1.5, repetition_penalty=1.2),
    "best_of_n": BestOfN(n=3),
    "mbr": MBR(n=3, utility="ngram_f1", no_repeat_ngram_size=2),
    "self_consistency": SelfConsistency(n=3),
    "beam_sample": BeamSample(num_beams=3, num_return_sequences=2, repetition_penalty=1.2),
    "diverse_beam": DiverseBeam(num_beams=4, num_beam_groups=2, num_return_sequences=4, no_repeat_ngram_size=2),
    "constrained_beam": ConstrainedBeam(num_beams=3, num_return_sequences=2, force_words=["5 6", "7"]),
    "stochastic_beam": StochasticBeam(num_beams=3, temperature=0.8),
    "served_llama_cpp": SERVED,
    "served_ollama": replace(SERVED, top_p=0.9, min_p=None, order=["top_k", "temperature", "top_p"]),
    "served_vllm": Sample(temperature=1.0, top_k=None, top_p=None, num_return_sequences=2),
    "served_mlx_lm": Greedy(),
    "served_openvino_genai": Greedy(max_new_tokens=9),
    "served_onnxruntime_genai": Greedy(min_new_tokens=2),
    "served_transformers": Greedy(repetition_penalty=1.1),
}
"""One of each kind in conf/strategy that packs, some with penalties."""

UNPACKED: dict[str, Strategy] = {"assisted": Assisted(), "prompt_lookup": PromptLookup()}
"""Those that run through `model.generate` (test_assisted.py)."""


def view_of(
    logits_BV: Tensor,
    prefixes: Sequence[Sequence[int]] | None = None,
    *,
    prompt_length: int = 1,
    limit: int = 100,
    eos_ids: Sequence[int] = (),
    seed: int = 0,
) -> View:
    """A view of rows with these logits; row b is sample b of one prompt and has the given prefix (default: [0])."""
    rows = len(logits_BV)
    prefixes = [[0]] * rows if prefixes is None else prefixes
    longest = max(map(len, prefixes)) + limit
    length_B = torch.tensor([len(p) for p in prefixes])
    return View(
        scores=Scores(logits_BV),
        physical_B=torch.arange(rows),
        prefix_BL=torch.tensor([[*p, *[-1] * (longest - len(p))] for p in prefixes]),
        logprob_BL=torch.full((rows, longest), torch.nan),
        length_B=length_B,
        prompt_length_B=torch.full((rows,), prompt_length),
        limit_B=torch.full((rows,), limit),
        stop_B=torch.zeros(rows, dtype=torch.int64),
        eos_ids=torch.tensor(list(eos_ids), dtype=torch.int64),
        draws=Draws(
            torch.tensor([stream_key(seed, (0,))]).expand(rows, 2), torch.arange(rows), length_B - prompt_length
        ),
        facts=ModelFacts(vocabulary=logits_BV.shape[1], eos_ids=tuple(eos_ids)),
        hidden=lambda rows, layer: torch.empty(0),
        exit_logits=lambda rows, layer, normed: torch.empty(0),
        prompt_hidden=lambda request, layer: torch.empty(0),
    )


def requests_of(
    strategies: dict[str, Strategy],
    prompts: dict[str, tuple[int, ...]],
    *,
    limit: int,
    eos_ids: tuple[int, ...] = (),
    seed: int = 0,
    facts: ModelFacts | None = None,
) -> list[Request]:
    """The requests of a grid: every strategy (a cell each, by its name) on every prompt.

    `facts` are those of the model (`facts_of`); without them strategies know the end tokens only, and a
    text is its ids.
    """
    facts = replace(facts or ModelFacts(vocabulary=2**20, encode=text_as_ids, decode=ids_as_text), eos_ids=eos_ids)
    return [
        Request(
            cell=cell,
            strategy=guided(strategy, facts),
            prompt_id=prompt_id,
            prompt_ids=ids,
            sample=sample,
            limit=limit,
            seed=seed,
            facts=facts,
        )
        for cell, strategy in strategies.items()
        for prompt_id, ids in prompts.items()
        for sample in range(strategy.samples)
    ]


def ids_as_text(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def text_as_ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


Key = tuple[str, str, int, int]


def key(outcome: Outcome) -> Key:
    return (outcome.request.cell, outcome.request.prompt_id, outcome.request.sample, outcome.rank)


@dataclass(kw_only=True)
class Run:
    """What a run of the engine left: outcomes by (cell, prompt, sample, rank), failures by cell, the physical rows.

    `order` is that in which outcomes came; `steps` has (rows fed, physical rows after it) of each step.
    """

    rows: Rows
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    order: list[Key] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def tokens(self) -> dict[Key, tuple[int, ...]]:
        return {k: outcome.token_ids for k, outcome in self.outcomes.items()}


def run(
    model: Any,
    requests: Sequence[Request],
    *,
    forward: Forward = CACHED,
    max_rows: int = 128,
    layers: Iterable[int] = (),
    device: torch.device = CPU,
) -> Run:
    """Decode with the packed engine, on fresh rows that keep the hidden states which the strategies read."""
    layers = {*layers, *(layer for r in requests for layer in r.strategy.hidden_layers(r.facts))}
    if layers and forward.layers is NOT_LOOKED_FOR:  # chosen by the test, which looked for none
        forward = replace(forward, layers=find_layers(model, device, vocabulary(model)))
    rows = forward.make_rows(model, device, layers)
    result = Run(rows=rows)

    def sink(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if key(outcome) in result.outcomes:
                raise AssertionError(f"{key(outcome)} came twice")
            result.outcomes[key(outcome)] = outcome
            result.order.append(key(outcome))

    def failure(cell: str, why: str) -> None:
        if cell in result.failures:
            raise AssertionError(f"{cell} failed twice")
        result.failures[cell] = why

    tick: Callable[[int], None] = lambda fed: result.steps.append((fed, rows.count))  # noqa: E731
    Decoder(rows, max_rows=max_rows, sink=sink, failure=failure).run(requests, tick=tick)
    return result


def generated(
    model: Any, strategy: Strategy, prompt_ids: Sequence[int], *, limit: int, eos_ids: Sequence[int], pad_id: int
) -> tuple[list[list[int]], list[float] | None]:
    """What `model.generate` returns for one unpadded prompt: the new tokens without padding, and a search's scores."""
    fields = generation_config_fields(strategy, eos_ids=eos_ids, pad_id=pad_id, limit=limit)
    fields |= {"return_dict_in_generate": True, "output_scores": True}
    out = model.generate(
        torch.tensor([list(prompt_ids)]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.int64),
        generation_config=generation_config(fields),
    )
    texts = [without_padding(ids, eos_ids) for ids in out.sequences[:, len(prompt_ids) :].tolist()]
    scores = getattr(out, "sequences_scores", None)
    return texts, None if scores is None else scores.tolist()


def without_padding(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first EOS, which belongs to the text."""
    end = next((at + 1 for at, token in enumerate(ids) if token in eos_ids), len(ids))
    return ids[:end]
