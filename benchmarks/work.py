"""The work that the benchmarks share: sixteen strategies, eight prompts, a fixed number of new tokens."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from decodebench.engine import Request
from decodebench.strategies import (
    Beam,
    Greedy,
    MinP,
    ModelFacts,
    Sample,
    Strategy,
    Temperature,
    TopK,
    TopP,
    Typical,
)

PROMPTS = (
    "Once upon a time",
    "The harbour was quiet until",
    "야! 너는 AI지? 정말로 말을 알아듣니?",
    "Dear customer, thank you for your letter of the third of May. We have looked into the matter and",
    "한국의 가을은 하늘이 높고 말이 살찌는 계절이라고 한다. 올해도 어김없이",
    "In 1969, a small team of engineers in a basement laboratory wired two computers together and waited to see "
    "whether a message would arrive. What they learned that night",
    "\n요즘 굉장히 핫한 인공지능인 GPT님과 인터뷰를 나눠보겠습니다!\nQ : GPT님, 요즘 바쁘시죠?\nA : ",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    if n < 2:\n        return n\n    a, b = 0, 1\n'
    "    for _ in range(n - 1):\n",
)
QUICK_STRATEGIES = ("greedy", "sample T=0.75", "top_p=0.95", "typical=0.95", "beam 5, no repeated 2-gram")
QUICK_PROMPTS = (1, 2, 5)
QUICK_TOKENS = 24


def strategies(new_tokens: int) -> dict[str, Strategy]:
    """The sixteen strategies of the ladder; end tokens do not stop a text, so all do equal work."""
    rules: dict[str, Any] = {"max_new_tokens": new_tokens, "eos": "none"}
    return {
        "greedy": Greedy(**rules),
        "sample T=0.75": Sample(temperature=0.75, **rules),
        "sample T=0.85": Sample(temperature=0.85, **rules),
        "sample T=1": Sample(temperature=1.0, **rules),
        "top_p=0.9": TopP(top_p=0.9, **rules),
        "top_p=0.95": TopP(top_p=0.95, **rules),
        "top_p=0.9 T=0.75": TopP(top_p=0.9, temperature=0.75, **rules),
        "top_p=0.95 T=0.85": TopP(top_p=0.95, temperature=0.85, **rules),
        "min_p=0.1": MinP(min_p=0.1, **rules),
        "min_p=0.1 T=0.75": MinP(min_p=0.1, temperature=0.75, **rules),
        "typical=0.95": Typical(typical_p=0.95, **rules),
        "typical=0.95 T=0.85": Typical(typical_p=0.95, temperature=0.85, **rules),
        "top_k=50": TopK(top_k=50, **rules),
        "pure": Temperature(**rules),
        "beam 5, no repeated 2-gram": Beam(no_repeat_ngram_size=2, num_return_sequences=1, **rules),
        "beam 5, returning 5": Beam(**rules),
    }


def one_more(new_tokens: int) -> dict[str, Strategy]:
    """A sampler that the ladder does not have: 3 samples, 6% of its rows."""
    return {"sample T=0.65": Sample(temperature=0.65, max_new_tokens=new_tokens, eos="none")}


@dataclass(frozen=True, kw_only=True)
class Work:
    """A model and what it has to decode; `texts` are what the prompts were encoded from (random ones have none)."""

    model: Any
    device: torch.device
    dtype: str
    pad_id: int
    strategies: dict[str, Strategy]
    prompts: tuple[tuple[int, ...], ...]
    new_tokens: int
    texts: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def requests(self) -> list[Request]:
        """All requests of the work, as the engine takes them."""
        return [
            Request(
                cell=name,
                strategy=strategy,
                prompt_id=str(number),
                prompt_ids=prompt,
                sample=sample,
                limit=self.new_tokens,
                seed=0,
                facts=ModelFacts(vocabulary=self.vocabulary),
            )
            for name, strategy in self.strategies.items()
            for number, prompt in enumerate(self.prompts)
            for sample in range(strategy.samples)
        ]


def packaged_work(dtype: str, *, quick: bool, device: str = "auto") -> Work:
    """The ladder on the packaged Gemma 3 270M."""
    # Not at the top: random weights need torch and transformers only, which is all that a GPU machine may have.
    from decodebench.models.config import ModelConfig
    from decodebench.models.loading import load
    from decodebench.models.tokens import encode

    loaded = load(ModelConfig(name="gemma3_270m", source="packaged", dtype=dtype, device=device))
    prompts = tuple(encode(loaded, text) for text in PROMPTS)
    work = _cut(loaded.model, loaded.device, loaded.dtype, loaded.pad_id, prompts, quick)
    return replace(work, texts=tuple(PROMPTS[i] for i in QUICK_PROMPTS) if quick else PROMPTS)


LOGIT_SPREAD = 5.0
"""The standard deviation of random weights' logits: of 50,400 tokens the nucleus of 0.95 then has about 100.

That is near what trained models have. Untouched weights give a nucleus of 32,000, and whoever sorts only what it needs
would be measured on what never comes up.
"""

RANDOM_SHAPES: dict[str, dict[str, int]] = {
    "gptj_6b": {},  # transformers' defaults are those of GPT-J 6B
    "tiny": {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 16, "vocab_size": 512, "n_positions": 256},
}
RANDOM_GRIDS = {"gptj_6b": (32, 128), "tiny": (8, 64)}
"""Prompts, and new tokens for each text."""


def spread_logits(model: Any) -> None:
    """Give a random GPT-J's logits `LOGIT_SPREAD`.

    Its last norm leaves states of length sqrt(n_embd), its head's weights have the standard deviation of the config.
    """
    with torch.no_grad():
        model.lm_head.weight.mul_(LOGIT_SPREAD / (model.config.initializer_range * model.config.n_embd**0.5))


def random_work(shape: str, dtype: str, *, quick: bool) -> Work:
    """The ladder on random weights made on the device: `gptj_6b`, or `tiny` to try the script itself."""
    from transformers import AutoModelForCausalLM, GenerationConfig, GPTJConfig

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = GPTJConfig(**RANDOM_SHAPES[shape])
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    spread_logits(model)
    model.generation_config = GenerationConfig(pad_token_id=0)
    device = model.device
    generator = torch.Generator().manual_seed(0)
    count, new_tokens = RANDOM_GRIDS[shape]
    lengths = [(5, 6, 15, 22, 24, 36, 39, 58)[at % 8] for at in range(count)]
    prompts = tuple(tuple(torch.randint(0, config.vocab_size, (n,), generator=generator).tolist()) for n in lengths)
    return _cut(model, device, dtype, 0, prompts, quick, new_tokens)


def _cut(
    model: Any, device: torch.device, dtype: str, pad_id: int, prompts: Any, quick: bool, new_tokens: int = 64
) -> Work:
    new_tokens = QUICK_TOKENS if quick else new_tokens
    ladder = strategies(new_tokens)
    if quick:
        ladder = {name: ladder[name] for name in QUICK_STRATEGIES}
        prompts = tuple(prompts[i] for i in QUICK_PROMPTS)
    return Work(
        model=model,
        device=device,
        dtype=dtype,
        pad_id=pad_id,
        strategies=ladder,
        prompts=prompts,
        new_tokens=new_tokens,
    )
