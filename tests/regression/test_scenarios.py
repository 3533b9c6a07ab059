"""Faults that a check must catch, and differences that it must not call a regression, on runs of a tiny model.

Each run is decoded here and judged as it was stored, by the default rules. benchmarks/regression.py does the same with
the packaged model, many times, and docs/regression.md has its rates. What a random model cannot show is said at each
test: its texts mean nothing, so that another prompt or other weights give samples that are as good as before.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from decodebench.plan.cells import plan
from decodebench.plan.config import resolved_job
from decodebench.records import Generation
from decodebench.regression import Baseline, Check, check, make_baseline, read_baseline, read_rules, write_baseline
from decodebench.run import execute
from decodebench.store.tables import read_records
from decodebench.strategies import Greedy, Moves, State, Strategy, Temperature, View
from decodebench.strategies.step.scores import Scores
from launches import compose, one_thread, without_report
from tiny import SENTENCES

ARCH = "gptj"
"""Of the tiny models the one that repeats itself and ends its texts most: there is something to be lost."""

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "temperature": {"temperature": 0.75, "num_return_sequences": 3},
    "greedy": {},
    "beam": {"num_beams": 4, "num_return_sequences": 1},  # conf has no_repeat_ngram_size=2
}
PROMPTS = {f"{n}-{words}": " ".join(s.split()[:words]) for n, s in enumerate(SENTENCES) for words in (1, 2, 3)}
TOKENS = 24
BITS = 3
NOISE = 1e-6

Decode = Callable[..., Path]
threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def decode(tiny_dirs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decode]:
    """Decode and score a run of all strategies, each time in a folder of its own.

    `numbers` are changes of single strategies, other keywords are changes of a group of conf (`engine=...`).
    """
    folder, runs = tmp_path_factory.mktemp("scenarios"), count()
    lines = [json.dumps({"id": id_, "text": text}, ensure_ascii=False) for id_, text in PROMPTS.items()]
    (folder / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    given: dict[str, Mapping[str, Any]] = {
        "model": {"path": str(tiny_dirs[ARCH]), "device": "cpu"},
        "prompts": {"path": str(folder / "prompts.jsonl"), "template": "{text}\n"},
        "strategy": {"max_new_tokens": TOKENS},
    }

    def decode(
        kinds: Sequence[str] = tuple(STRATEGIES),
        numbers: Mapping[str, Mapping[str, Any]] = {},
        seed: int = 0,
        **groups: Mapping[str, Any],
    ) -> Path:
        run: dict[str, Any] = {"seed": seed, "name": f"run{next(runs)}", "results": str(folder)}
        jobs = []
        for kind in kinds:
            composed = compose("model=local", "prompts=file", "latency=skip", f"strategy={kind}")
            job: Any = deepcopy(OmegaConf.to_container(composed))
            for part in (given, {"strategy": STRATEGIES.get(kind, {})}, groups, {"strategy": numbers.get(kind, {})}):
                for group, values in part.items():
                    job[group].update(values)
            jobs.append(resolved_job(job | run))
        return execute(plan(jobs), echo=lambda line: None)

    with pytest.MonkeyPatch.context() as patch:
        without_report(patch)
        yield decode


@pytest.fixture(scope="module")
def then(decode: Decode, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """The baseline of all scenarios, as it is read from its file."""
    file = tmp_path_factory.mktemp("baselines") / "then"
    write_baseline(file, make_baseline(decode()))
    return read_baseline(file)


def failing(found: Check) -> set[tuple[str, str]]:
    """What fails a check: strategy, and metric or tokens."""
    assert found.incomparable == ()
    return {(finding.strategy, finding.name) for finding in found.findings if finding.fails}


def assert_unchanged(found: Check) -> None:
    """Nothing differs, so that nothing had to be tested."""
    assert (found.incomparable, found.exit_code) == ((), 0)
    assert {(finding.outcome, finding.low) for finding in found.findings} == {("pass", None)}


def texts(run: Path) -> dict[tuple[str, str, int], Generation]:
    return {(g.strategy, g.prompt_id, g.sample): g for g in read_records(run / "generations.parquet", Generation)}


def tokens(run: Path) -> dict[tuple[str, str, int], tuple[int, ...]]:
    return {key: text.token_ids for key, text in texts(run).items()}


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_higher_temperature(decode: Decode, then: Baseline) -> None:
    found = check(decode(numbers={"temperature": {"temperature": 1.3}}), then)
    assert found.exit_code == 1
    assert ("temperature", "surprisal") in failing(found)
    assert {strategy for strategy, _ in failing(found)} == {"temperature"}
    assert found.changes == ("file / temperature: strategy.temperature 0.75 -> 1.3",)


def test_beams_that_may_repeat_again(decode: Decode, then: Baseline) -> None:
    """Tokens fail it; that the texts repeat themselves is told beside them."""
    found = check(decode(numbers={"beam": {"no_repeat_ngram_size": 0}}), then)
    assert failing(found) == {("beam", "tokens")}
    worse = {finding.name for finding in found.findings if finding.outcome == "regression"}
    assert {"tokens", "diversity", "rep_4"} <= worse
    assert found.changes == ("file / beam: strategy.no_repeat_ngram_size 2 -> 0",)


def test_weights_of_three_bits(decode: Decode, then: Baseline, tiny_dirs: Mapping[str, Path], tmp_path: Path) -> None:
    """Rounding makes one random model another, whose samples are as likely to itself as before: the tokens of greedy
    and beam show it. Of a trained model samples do too."""
    model = AutoModelForCausalLM.from_pretrained(tiny_dirs[ARCH])
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.dim() == 2):
            low, high = weight.aminmax(dim=1, keepdim=True)
            step = (high - low) / (2**BITS - 1)
            weight.copy_(((weight - low) / step).round() * step + low)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_dirs[ARCH]).save_pretrained(tmp_path)
    found = check(decode(model={"path": str(tmp_path)}), then)
    assert {("greedy", "tokens"), ("beam", "tokens")} <= failing(found)
    assert any(line.startswith("model local: fingerprint ") for line in found.changes)


def test_a_penalty_of_the_model_s_own_file(
    decode: Decode, then: Baseline, tiny_dirs: Mapping[str, Path], tmp_path: Path
) -> None:
    """A generation_config.json leaks into `generate`, and not into decodebench; where the same penalty is asked for,
    the texts are those of the leak, and fail every strategy."""
    folder = copytree(tiny_dirs[ARCH], tmp_path / "model")
    own = {"eos_token_id": 1, "pad_token_id": 2, "repetition_penalty": 1.3}
    (folder / "generation_config.json").write_text(json.dumps(own), encoding="utf-8")
    immune = decode(model={"path": str(folder)})
    assert_unchanged(check(immune, then))

    caught = decode(strategy={"repetition_penalty": 1.3})
    found = check(caught, then)
    assert {("temperature", "surprisal"), ("greedy", "tokens"), ("beam", "tokens")} <= failing(found)
    assert found.changes == ("strategy.repetition_penalty 1.0 -> 1.3",)

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    leaked = {}
    for id_ in list(PROMPTS)[::5]:
        inputs = tokenizer(PROMPTS[id_] + "\n", return_tensors="pt")
        made = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0, inputs.input_ids.shape[1] :]
        leaked["greedy", id_, 0] = tuple(made.tolist())
    assert leaked.items() <= tokens(caught).items()
    assert not leaked.items() <= tokens(immune).items()


def test_an_end_that_is_ignored(decode: Decode, then: Baseline) -> None:
    found = check(decode(strategy={"eos": "none"}), then)
    assert {
        ("temperature", "length"),
        ("temperature", "eos_share"),
        ("greedy", "tokens"),
        ("beam", "tokens"),
    } <= failing(found)
    assert found.changes == ("strategy.eos model -> none",)


def test_a_template_that_lost_its_newline(decode: Decode, then: Baseline) -> None:
    """The raw texts of the prompts are the same, so the two are compared. To a random model no prompt is better than
    another: tokens show it, samples do not."""
    found = check(decode(prompts={"template": "{text}"}), then)
    assert {("greedy", "tokens"), ("beam", "tokens")} <= failing(found)
    assert found.changes == (r"prompts.template '{text}\n' -> {text}",)


class ReadsTooEarly(Strategy):
    """Each step reads the logits of the step before; the first one, which has none before it, its own."""

    def start(self, requests: int, device: torch.device) -> State:
        return {"before_BV": torch.zeros(requests, 0, device=device)}

    def step(self, view: View, state: State) -> Moves:
        now_BV, before_BV = view.logits_BV, state["before_BV"]
        is_first_B1 = (view.new_B == 0)[:, None]
        early_BV = torch.where(is_first_B1, now_BV, before_BV) if before_BV.shape[1] else now_BV
        others = {name: tensor for name, tensor in state.items() if name != "before_BV"}
        shifted = replace(view, scores=Scores(early_BV), physical_B=torch.arange(len(now_BV)))
        moves = super().step(shifted, others)  # type: ignore[safe-super]
        return replace(moves, state=moves.state | {"before_BV": now_BV})


@dataclass(frozen=True, kw_only=True)
class EarlyTemperature(ReadsTooEarly, Temperature):
    """A sampler with that fault."""


@dataclass(frozen=True, kw_only=True)
class EarlyGreedy(ReadsTooEarly, Greedy):
    """Greedy with that fault."""


def test_logits_shifted_by_one_position(decode: Decode, then: Baseline) -> None:
    """The log-probs that are kept are those of the right logits: the tokens of the wrong ones are unlikely."""
    early = {"temperature": "EarlyTemperature", "greedy": "EarlyGreedy"}
    found = check(decode(numbers={kind: {"_target_": f"{__name__}.{name}"} for kind, name in early.items()}), then)
    assert {("temperature", "surprisal"), ("greedy", "tokens")} <= failing(found)
    assert {strategy for strategy, _ in failing(found)} == {"temperature", "greedy"}


# --- no faults ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def again(decode: Decode) -> Path:
    """A run like that of the baseline."""
    return decode()


def test_the_same_again(again: Path, then: Baseline) -> None:
    found = check(again, then)
    assert_unchanged(found)
    assert found.changes == ()


def test_another_batch_size(decode: Decode, then: Baseline) -> None:
    run = decode(engine={"max_rows": 20})
    assert json.loads((run / "manifest.json").read_text())["counts"]["forward_passes"] > 5 * TOKENS
    found = check(run, then)
    assert_unchanged(found)
    assert found.changes == ("engine.max_rows 512 -> 20",)


def test_another_order_of_cells(decode: Decode, then: Baseline) -> None:
    other = list(STRATEGIES)[::-1]
    run = decode(kinds=other)
    assert [arm.strategy for arm in make_baseline(run).arms] == other
    assert_unchanged(check(run, then))


def test_one_thread_instead_of_two(decode: Decode) -> None:
    """Few tokens, since two threads take longer with matrices this small."""
    few = {"prompts": {"limit": 12}, "strategy": {"max_new_tokens": 12}}
    two = make_baseline(decode(**few, engine={"threads": 2}))
    found = check(decode(**few, engine={"threads": 1}), two)
    assert found.exit_code == 0
    assert found.changes == ("engine.threads 2 -> 1",)


def test_noise_on_the_logits(decode: Decode, again: Path, then: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another machine's products differ by. A token that it turns would be a tie, or one sample of many."""
    generator, before = torch.Generator().manual_seed(1), Scores.__init__

    def noisy(self: Scores, scores_NV: Tensor, *args: Any, **kwargs: Any) -> None:
        drawn = torch.empty(scores_NV.shape).uniform_(-NOISE, NOISE, generator=generator)
        before(self, scores_NV + drawn, *args, **kwargs)

    exact = texts(again)
    monkeypatch.setattr(Scores, "__init__", noisy)
    run = decode()
    moved = [exact[key].token_logprobs != text.token_logprobs for key, text in texts(run).items()]
    assert np.mean(moved) > 0.9, "the noise is there"
    assert check(run, then).exit_code == 0


def test_another_seed(decode: Decode) -> None:
    """A check raises a false alarm in at most 5% of cases, so of three that share no seed two or more do with a
    probability of at most 0.75% (3 pairs of checks, 0.05 squared each)."""
    seeds = [decode(kinds=("temperature",), seed=seed) for seed in range(6)]
    drawn = [tokens(run) for run in seeds]
    assert all(one != other for one, other in pairwise(drawn))
    checks = [check(now, make_baseline(before)) for before, now in zip(seeds[::2], seeds[1::2], strict=True)]
    assert sum(found.exit_code != 0 for found in checks) <= 1


def test_another_seed_changes_nothing_of_greedy_and_beam(decode: Decode, then: Baseline) -> None:
    searches = replace(then, arms=then.arms[1:])
    found = check(decode(kinds=("greedy", "beam"), seed=1), searches)
    assert found.exit_code == 0
    assert {finding.outcome for finding in found.findings} == {"pass"}


def test_a_cell_that_was_added(decode: Decode, then: Baseline) -> None:
    found = check(decode(kinds=("top_k", *STRATEGIES)), then)
    assert (found.incomparable, found.exit_code) == ((), 0)
    added = [finding for finding in found.findings if finding.outcome != "pass"]
    assert [(finding.strategy, finding.outcome) for finding in added] == [("top_k", "new")]


# --- benchmarks/regression.py ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """benchmarks/regression.py as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "regression.py"
    spec = importlib.util.spec_from_file_location("benchmarks_regression", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_draws_prompts_of_stored_runs(benchmark: Any, decode: Decode, then: Baseline) -> None:
    """What it computes of some prompts is what a run of these prompts alone gives."""
    ids = sorted(benchmark.draw(np.random.default_rng(0), then, 12))
    assert len(ids) == 12
    drawn, alone = benchmark.limited(then, set(ids)), make_baseline(decode(prompts={"ids": ids}))
    assert drawn.prompts == alone.prompts
    for a, b in zip(drawn.arms, alone.arms, strict=True):
        assert {id_: [t.token_ids for t in of] for id_, of in a.texts[0].items()} == {
            id_: [t.token_ids for t in of] for id_, of in b.texts[0].items()
        }
        assert a.metrics.keys() == b.metrics.keys()
        for name, metric in a.metrics.items():
            value = b.metrics[name].value
            assert metric.value == (value if value is None else pytest.approx(value, rel=1e-6)), name
            assert metric.rows.keys() == b.metrics[name].rows.keys(), name


def test_the_benchmark_counts_checks_that_fail(benchmark: Any, decode: Decode, then: Baseline) -> None:
    rules, rng = read_rules(None), np.random.default_rng(0)
    (sampler,) = (replace(then, arms=(arm,)) for arm in then.arms if arm.strategy == "temperature")
    hot = make_baseline(decode(kinds=("temperature",), numbers={"temperature": {"temperature": 1.3}}))
    ids = set(PROMPTS)
    assert not benchmark.fails(then, then, rules, ids)
    assert benchmark.fails(sampler, hot, rules, ids)
    assert benchmark.fails(then, hot, rules, ids), "two strategies are missing: it cannot be compared"

    def check_of(n: int) -> bool:
        failed: bool = benchmark.fails(sampler, hot, rules, benchmark.draw(rng, sampler, n))
        return failed

    # The ends of Wilson's interval: for 10 of 10 it begins at 10 / (10 + 1.96^2), for 0 of 10 it ends at the rest.
    assert benchmark.rate(check_of, 20, 10) == "100.0% [72.2, 100.0]"
    assert benchmark.rate(lambda n: n != 20, 20, 10) == "0.0% [0.0, 27.8]"
