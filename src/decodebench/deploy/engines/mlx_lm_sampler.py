"""The rules of a settings.json for mlx-lm: `decodebench export --to mlx_lm` puts the two files into one folder, this
one as sampler.py.

    from sampler import options
    prompt = tokenizer.encode(text)
    generate(model, tokenizer, prompt, **options(tokenizer, prompt))

A rule of the sampler takes log-probs [rows, vocabulary] and gives those of what it keeps, -inf elsewhere; they need not
be normalised. Rules come in the order of the settings. Of tokens that tie the one with the smaller id comes first.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

SETTINGS: dict[str, Any] = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
TOP_H_LOOKS_AT = 100
LONGEST_REPEAT = 50


def options(tokenizer: Any, prompt: Sequence[int]) -> dict[str, Any]:
    """The arguments of `generate` and `stream_generate` for one text after a prompt of token ids: some rules follow
    the text, so each text has its own. The end tokens that the settings ask for are set in the tokenizer."""
    if isinstance(prompt, str):
        raise TypeError("prompt: allowed are token ids, as tokenizer.encode(text) gives them")
    if SETTINGS["eos"] != "model":
        tokenizer.eos_token_ids = [] if SETTINGS["eos"] == "none" else SETTINGS["eos"]
    total = SETTINGS["max_total_tokens"]
    lengths = (SETTINGS["max_tokens"], None if total is None else total - len(prompt))
    most = min(length for length in lengths if length is not None)
    if most < 1:
        raise ValueError(f"max_total_tokens={total}: allowed is more than the {len(prompt)} tokens of the prompt")
    return {"max_tokens": most, "sampler": make_sampler(), "logits_processors": [make_edits(tokenizer, len(prompt))]}


def make_sampler() -> Callable[[Any], Any]:
    """What takes log-probs [rows, vocabulary] and gives a token for each row."""
    if SETTINGS["temp"] == 0:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    tau, eta = SETTINGS["mirostat_tau"], SETTINGS["mirostat_eta"]
    mu: Any = 2 * tau

    def sampler(logprobs: Any) -> Any:
        nonlocal mu
        x = logprobs.astype(mx.float32)
        for name in SETTINGS["order"]:
            x = RULES[name](x)
        if not SETTINGS["mirostat"]:
            return mx.random.categorical(x)
        x = at_least(x, log_z(x) - mu * math.log(2))
        token = mx.random.categorical(x)
        surprise = -mx.take_along_axis(log_p(x), token[:, None], axis=-1) / math.log(2)
        mu = mu - eta * (surprise - tau)
        return token

    return sampler


# What the rules are made of


def log_z(x: Any) -> Any:
    """The log-normaliser of each row."""
    return mx.logsumexp(x, axis=-1, keepdims=True)


def log_p(x: Any) -> Any:
    """Log-probs that are normalised."""
    return x - log_z(x)


def kept(x: Any) -> Any:
    """Which tokens are left."""
    return x > -mx.inf


def entropy(x: Any) -> Any:
    """The entropy of each row, in nats."""
    p = log_p(x)
    return -mx.where(kept(x), mx.exp(p) * p, 0).sum(axis=-1, keepdims=True)


def at_least(x: Any, least: Any) -> Any:
    """Keep what is not below `least`, and always the likeliest."""
    return mx.where(x < mx.minimum(least, x.max(axis=-1, keepdims=True)), -mx.inf, x)


def by_rank(x: Any, choose: Callable[[Any], Any]) -> Any:
    """Keep those for which `choose` says so, of the probabilities from the largest down."""
    order = mx.argsort(-x, axis=-1)
    chosen = choose(mx.take_along_axis(mx.softmax(x, axis=-1), order, axis=-1))
    return mx.where(mx.put_along_axis(mx.zeros_like(chosen), order, chosen, axis=-1), x, -mx.inf)


# The rules of a sampler


def temperature(x: Any) -> Any:
    reach = SETTINGS["dynatemp_range"]
    if not reach:
        return x / SETTINGS["temp"]
    most = mx.log(mx.maximum(kept(x).sum(axis=-1, keepdims=True), 2))
    share = mx.clip(entropy(x) / most, 0, 1) ** SETTINGS["dynatemp_exponent"]
    return x / (SETTINGS["temp"] - reach + 2 * reach * share)


def top_h(x: Any) -> Any:
    def choose(p: Any) -> Any:
        looked = (mx.arange(p.shape[-1]) < TOP_H_LOOKS_AT) & (p > 0)
        p = mx.where(looked, p, 0)
        p = p / p.sum(axis=-1, keepdims=True)
        terms = mx.cumsum(mx.where(p > 0, -p * mx.log(p), 0), axis=-1)
        first = mx.arange(p.shape[-1]) == 0
        return looked & ((terms <= SETTINGS["top_h"] * terms[..., -1:]) | first)

    return by_rank(x, choose)


def top_k(x: Any) -> Any:
    """All that tie with the k-th stay."""
    return at_least(x, mx.topk(x, min(SETTINGS["top_k"], x.shape[-1]), axis=-1).min(axis=-1, keepdims=True))


def top_p(x: Any) -> Any:
    """Keep a token where it and all behind it have more than 1 - top_p: small numbers are added first, which is exact
    enough for a vocabulary of 262,144."""

    def choose(p: Any) -> Any:
        rest = mx.cumsum(p, axis=-1, reverse=True)
        return rest > (1 - SETTINGS["top_p"]) * rest[..., :1]

    return by_rank(x, choose)


def min_p(x: Any) -> Any:
    return at_least(x, x.max(axis=-1, keepdims=True) + math.log(SETTINGS["min_p"]))


def typical_p(x: Any) -> Any:
    p = log_p(x)
    distance = mx.where(kept(x), mx.abs(p + entropy(x)), mx.inf)
    order = mx.argsort(distance, axis=-1)
    mass = mx.cumsum(mx.take_along_axis(mx.exp(p), order, axis=-1), axis=-1)
    last = mx.minimum((mass < SETTINGS["typical_p"]).sum(axis=-1, keepdims=True), x.shape[-1] - 1)
    radius = mx.take_along_axis(distance, mx.take_along_axis(order, last, axis=-1), axis=-1)
    return mx.where(distance <= radius, x, -mx.inf)


def epsilon_cutoff(x: Any) -> Any:
    return at_least(x, log_z(x) + math.log(SETTINGS["epsilon_cutoff"]))


def eta_cutoff(x: Any) -> Any:
    log_eta = math.log(SETTINGS["eta_cutoff"])
    return at_least(x, log_z(x) + mx.minimum(log_eta / 2 - entropy(x), log_eta))


def top_n_sigma(x: Any) -> Any:
    left = kept(x)
    count = left.sum(axis=-1, keepdims=True)
    mean = mx.where(left, x, 0).sum(axis=-1, keepdims=True) / count
    sigma = mx.sqrt(mx.where(left, mx.square(x - mean), 0).sum(axis=-1, keepdims=True) / count)
    return at_least(x, x.max(axis=-1, keepdims=True) - SETTINGS["top_n_sigma"] * sigma)


def tfs_z(x: Any) -> Any:
    count = kept(x).sum(axis=-1, keepdims=True)

    def choose(p: Any) -> Any:
        index = mx.arange(p.shape[-1])
        padded = mx.pad(p, [(0, 0), (0, 2)])
        curve = mx.abs(padded[..., :-2] - 2 * padded[..., 1:-1] + padded[..., 2:])
        sums = mx.cumsum(mx.where(index < count - 2, curve, 0), axis=-1)
        total = sums[..., -1:]
        share = mx.where(total <= 1e-6, (index + 1) / mx.maximum(count - 2, 1), sums / mx.maximum(total, 1e-6))
        ends = (share > SETTINGS["tfs_z"]) & (index >= 1) & (index < count - 2)
        found = ends.any(axis=-1, keepdims=True)
        return index < mx.where(found, mx.argmax(ends.astype(mx.int32), axis=-1, keepdims=True), count)

    return by_rank(x, choose)


def p_less(x: Any) -> Any:
    log_sum = log_z(2 * log_p(x))
    if SETTINGS["p_less"] == "norm":
        count = kept(x).sum(axis=-1, keepdims=True)
        log_sum = mx.log(mx.maximum((count * mx.exp(log_sum) - 1) / mx.maximum(count - 1, 1), 0))
    return at_least(x, log_z(x) + log_sum)


def xtc(x: Any) -> Any:
    """Every row throws a coin of its own; of the tokens at or above the threshold the least likely stays."""

    def choose(p: Any) -> Any:
        above = p >= SETTINGS["xtc_threshold"]
        choices = mx.cumsum(above.astype(mx.int32), axis=-1)
        coin = mx.random.uniform(shape=(p.shape[0], 1)) < SETTINGS["xtc_probability"]
        return ~(above & (choices < choices[..., -1:]) & coin)

    return by_rank(x, choose)


RULES: dict[str, Callable[[Any], Any]] = {
    rule.__name__: rule
    for rule in (
        *(temperature, top_h, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff),
        *(top_n_sigma, tfs_z, p_less, xtc),
    )
}


# What changes scores before the sampler


def make_edits(tokenizer: Any, prompt_length: int) -> Callable[[Any, Any], Any]:
    """The logits processor of one text: takes the token ids so far and logits [1, vocabulary]. Gives float32: log-probs
    of what a model says in bfloat16 would be rounded once more."""
    s = SETTINGS
    ends = sorted(tokenizer.eos_token_ids)
    biases = {tuple(_encoded(tokenizer, text)): bias for text, bias in (s["sequence_bias"] or {}).items()}
    bad = [_encoded(tokenizer, text) for text in s["bad_words"] or ()]
    breakers = _breakers(tokenizer) if s["dry_multiplier"] else set()
    reads = s["no_repeat_ngram_size"] or s["dry_multiplier"] or biases or bad

    def edited(tokens: Any, logits: Any) -> Any:
        logits = before = logits.astype(mx.float32)
        vocabulary = logits.shape[-1]
        text = tokens.tolist() if reads else []
        new = len(tokens) - prompt_length
        for ids, bias in biases.items():
            logits = logits + bias * _counts(_last(ids, text), vocabulary)
        if s["repetition_penalty"] != 1:
            penalized = mx.where(logits < 0, logits * s["repetition_penalty"], logits / s["repetition_penalty"])
            logits = mx.where(_counts(tokens, vocabulary) > 0, penalized, logits)
        if s["presence_penalty"] or s["frequency_penalty"]:
            count = _counts(tokens[prompt_length:], vocabulary)
            logits = logits - s["frequency_penalty"] * count - s["presence_penalty"] * (count > 0)
        if s["dry_multiplier"]:
            logits = logits - _dry(text, breakers, vocabulary)
        banned = [token for ids in bad for token in _last(ids, text)]
        if s["no_repeat_ngram_size"]:
            banned += _ends_of_ngrams(text, s["no_repeat_ngram_size"])
        if new < s["min_new_tokens"]:
            banned += ends
        logits = mx.where(_counts(banned, vocabulary) > 0, -mx.inf, logits)
        if s["exponential_decay_length_penalty"]:
            start, factor = s["exponential_decay_length_penalty"]
            growth = math.exp(min(max(new - start, 0) * math.log(factor), 69)) - 1
            at_end = (_counts(ends, vocabulary) > 0) & kept(logits)
            logits = mx.where(at_end, logits + mx.abs(logits) * growth, logits)
        return mx.where(kept(logits).any(axis=-1, keepdims=True), logits, before)

    return edited


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _counts(ids: Any, vocabulary: int) -> Any:
    """How often each token stands there, [vocabulary]."""
    zeros = mx.zeros(vocabulary)
    return zeros.at[mx.array(ids)].add(1) if len(ids) else zeros


def _last(ids: Sequence[int], text: list[int]) -> list[int]:
    """The last of these tokens where the text ends with all before it."""
    before = list(ids[:-1])
    return [ids[-1]] if text[len(text) - len(before) :] == before else []


def _ends_of_ngrams(text: list[int], size: int) -> list[int]:
    """The tokens that would repeat an n-gram of prompt and text."""
    tail = text[len(text) - size + 1 :] if len(text) >= size else []
    return [text[at] for at in range(size - 1, len(text)) if text[at - size + 1 : at] == tail]


def _breakers(tokenizer: Any) -> set[int]:
    """The tokens that end a repeat: the last one of each breaker behind an "a"."""
    texts = (_encoded(tokenizer, "a" + text) for text in SETTINGS["dry_sequence_breakers"])
    return {ids[-1] for ids in texts if ids != _encoded(tokenizer, "a")}


def _dry(text: list[int], breakers: set[int], vocabulary: int) -> Any:
    """DRY's penalty of each token, [vocabulary]: the longer the repeat that it would extend, the larger."""
    longest: dict[int, int] = {}
    for at, token in enumerate(text):
        length = 0
        while length < min(LONGEST_REPEAT, at) and text[at - 1 - length] == text[-1 - length] not in breakers:
            length += 1
        if token not in breakers:
            longest[token] = max(length, longest.get(token, 0))
    costs = mx.zeros(vocabulary)
    for token, length in longest.items():
        beyond = length - SETTINGS["dry_allowed_length"]
        if beyond >= 0:
            costs = costs.at[token].add(SETTINGS["dry_multiplier"] * SETTINGS["dry_base"] ** beyond)
    return costs
