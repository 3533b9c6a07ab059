"""How often a check of regressions is right: false alarms where only the seed differs, real faults that are caught.

python benchmarks/regression.py make POOL       decode the runs to draw from, on the packaged model (under an hour)
python benchmarks/regression.py rates POOL      draw prompts from them, check, count: the tables of docs/regression.md
python benchmarks/regression.py make POOL --quick --model FOLDER      a tiny model, few prompts: a test of this script

Each run is decoded by `python -m decodebench`, but for logits shifted by one position, which is a loop of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

SAMPLER = ("strategy=temperature", "strategy.temperature=0.75", "strategy.num_return_sequences=3")
GREEDY = ("strategy=greedy",)
BEAM = ("strategy=beam", "strategy.num_beams=4", "strategy.num_return_sequences=1")
KINDS = {"temperature": SAMPLER, "greedy": GREEDY, "beam": BEAM}
SEEDS = (0, 1, 2, 3, 4)
SHIFTED = "logits shifted by one position"
BITS = 3
NOISE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A run to be held against the baseline: which strategies, what is otherwise, and what should come of it."""

    kinds: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    prepare: Callable[[Path, argparse.Namespace], Sequence[str]] | None = None
    caught: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def rounded_weights(pool: Path, options: argparse.Namespace) -> list[str]:
    """A copy of the model with every weight matrix rounded to 2^3 levels between the ends of each row."""
    folder = pool / "rounded"
    if not folder.exists():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = str(model_folder(options))
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() == 2 and "embed" not in name:
                    low, high = weight.aminmax(dim=1, keepdim=True)
                    step = (high - low) / (2**BITS - 1)
                    weight.copy_(((weight - low) / step).round() * step + low)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(place).save_pretrained(folder)
    return [f"model.path={folder}"]


SCENARIOS: dict[str, Scenario] = {
    "temperature 0.75 -> 1.3": Scenario(kinds=("temperature",), overrides=("strategy.temperature=1.3",)),
    "no_repeat_ngram_size dropped from beam": Scenario(kinds=("beam",), overrides=("strategy.no_repeat_ngram_size=0",)),
    "weights rounded to 3 bits": Scenario(kinds=("temperature", "greedy"), prepare=rounded_weights),
    "a repetition penalty leaked in (1.3)": Scenario(
        kinds=("temperature", "greedy"), overrides=("strategy.repetition_penalty=1.3",)
    ),
    "EOS ignored": Scenario(kinds=("temperature", "beam"), overrides=("strategy.eos=none",)),
    "a template that lost its newline": Scenario(kinds=("temperature", "greedy"), overrides=("prompts=lost",)),
    SHIFTED: Scenario(kinds=("temperature", "greedy")),
    "batch size changed": Scenario(kinds=("temperature", "greedy"), overrides=("engine.max_rows=24",), caught=False),
    "order of cells changed": Scenario(kinds=("greedy", "temperature"), caught=False),
    "float noise of 1e-6 on the logits": Scenario(
        kinds=("temperature", "greedy", "beam"), caught=False, environment={"LOGIT_NOISE": str(NOISE)}
    ),
    "two threads instead of one": Scenario(
        kinds=("temperature", "greedy"), overrides=("engine.threads=2",), caught=False
    ),
}

# decodebench, with noise on the logits where the environment asks for it.
LAUNCH = """
import os, sys
noise = float(os.environ.get("LOGIT_NOISE", 0))
if noise:
    import torch
    from decodebench.strategies.step.scores import Scores
    generator, before = torch.Generator().manual_seed(1), Scores.__init__
    def noisy(self, scores_NV, *args, **kwargs):
        drawn = torch.empty(scores_NV.shape, dtype=torch.float32).uniform_(-noise, noise, generator=generator)
        before(self, scores_NV + drawn.to(scores_NV), *args, **kwargs)
    Scores.__init__ = noisy
from decodebench.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def model_folder(options: argparse.Namespace) -> Path:
    """Where the weights lie."""
    if options.model:
        return Path(options.model)
    from decodebench.models.packaged import model_folder as packaged_folder

    return packaged_folder()


def make(pool: Path, options: argparse.Namespace) -> None:
    """Decode every run that is not there yet, or every second one of them, for two processes."""
    write_prompts(pool, options)
    jobs: list[Callable[[], None]] = []
    for kind, overrides in KINDS.items():
        for seed in SEEDS if kind == "temperature" else SEEDS[:1]:
            jobs.append(partial(decode, pool, f"{kind}-{seed}", [*overrides, f"seed={seed}"], options))
    for name, scenario in SCENARIOS.items():
        extra = scenario.prepare(pool, options) if scenario.prepare else ()
        for kind in scenario.kinds:
            run = f"{slug(name)}-{kind}"
            if name == SHIFTED:
                jobs.append(partial(shifted, pool, run, kind, options))
            else:
                given = [*KINDS[kind], *scenario.overrides, *extra]
                jobs.append(partial(decode, pool, run, given, options, scenario.environment))
    part, parts = map(int, options.part.split("/"))
    for job in jobs[part - 1 :: parts]:
        job()


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def write_prompts(pool: Path, options: argparse.Namespace) -> None:
    """The same prompts under two configurations whose templates differ by a newline; without references, which every
    run would read."""
    from decodebench.plan.config import conf_dir
    from decodebench.prompts.sets import PromptsConfig, load_prompts

    words = 6 if options.quick else 60  # tiny models have small contexts
    config = PromptsConfig(
        name="sotu",
        source="corpus",
        corpus="sotu",
        first_year=1945,
        last_year=2026,
        prompt_words=words,
        reference_words=words,
        limit=options.prompts,
    )
    lines = [json.dumps({"id": prompt.id, "text": prompt.text}) + "\n" for prompt in load_prompts(config)]
    folder = pool / "conf" / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    (pool / "speeches.jsonl").write_text("".join(lines), encoding="utf-8")
    base = (conf_dir() / "prompts" / "file.yaml").read_text(encoding="utf-8")
    base = base.replace("name: file", "name: speeches").replace("path: null", f"path: {pool / 'speeches.jsonl'}")
    for name, template in (("kept", '"{text}\\n"'), ("lost", '"{text}"')):
        (folder / f"{name}.yaml").write_text(base.replace("template: null", f"template: {template}"), encoding="utf-8")


def decode(
    pool: Path, name: str, overrides: Sequence[str], options: argparse.Namespace, environment: Mapping[str, str] = {}
) -> None:
    """One run of decodebench; one that is complete is left alone."""
    manifest = pool / "runs" / name / "manifest.json"
    if manifest.exists() and json.loads(manifest.read_text(encoding="utf-8"))["status"] == "complete":
        return
    given = [f"model.path={model_folder(options)}", "model=local", "prompts=kept", "latency=skip", "engine.threads=1"]
    given += [f"strategy.max_new_tokens={options.tokens}", f"name={name}", f"results={pool / 'runs'}"]
    keys = {each.split("=")[0] for each in overrides}
    command = [each for each in given if each.split("=")[0] not in keys] + list(overrides)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", LAUNCH, "--config-dir", str(pool / "conf"), *command],
        check=True,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def shifted(pool: Path, name: str, kind: str, options: argparse.Namespace) -> None:
    """What a decoder writes that reads the logits one position too early, as a run like the others."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from decodebench.records import Generation
    from decodebench.scoring.run import score_run
    from decodebench.store.tables import read_records, write_json, write_records

    source, target = pool / "runs" / f"{kind}-0", pool / "runs" / name
    if (target / "manifest.json").exists():
        return
    model = AutoModelForCausalLM.from_pretrained(model_folder(options), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(options))
    generator = torch.Generator().manual_seed(0)
    texts = read_records(source / "generations.parquet", Generation)
    found = []
    for text in texts:
        prompt = tokenizer(text.prompt + "\n", return_tensors="pt").input_ids
        ids, logprobs = _read_too_early(model, prompt, options.tokens, kind == "temperature", generator)
        written = tokenizer.decode(ids, skip_special_tokens=True)
        found.append(
            replace(
                text,
                text=written,
                token_ids=tuple(ids),
                token_logprobs=tuple(logprobs),
                finish_reason="length",
                delivered_tokens=len(ids),
                token_margins=None if text.token_margins is None else (1.0,) * len(ids),
            )
        )
    target.mkdir(parents=True)
    write_records(target / "generations.parquet", Generation, found)
    write_json(target / "manifest.json", json.loads((source / "manifest.json").read_text(encoding="utf-8")))
    score_run(target)
    print(name, flush=True)


def _read_too_early(model: Any, prompt: Any, tokens: int, draws: bool, generator: Any) -> tuple[list[int], list[float]]:
    """New tokens, each chosen from the logits one position before the right ones, and their true log-probs."""
    import torch

    with torch.no_grad():
        out = model(prompt, use_cache=True)
        cache, right, early = out.past_key_values, out.logits[0, -1], out.logits[0, -2]
        ids: list[int] = []
        logprobs: list[float] = []
        for _ in range(tokens):
            if draws:
                token = int(torch.multinomial(torch.softmax(early / 0.75, -1), 1, generator=generator))
            else:
                token = int(early.argmax())
            ids.append(token)
            logprobs.append(float(torch.log_softmax(right, -1)[token]))
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache, early, right = out.past_key_values, right, out.logits[0, -1]
    return ids, logprobs


# --- rates ----------------------------------------------------------------------------------------------------------


def rates(pool: Path, options: argparse.Namespace) -> None:
    """Draw prompts, hold what they gave against each other, and count."""
    from decodebench.regression.rules import read_rules

    rules = read_rules(None)
    rng = np.random.default_rng(2026)
    prompts = [n for n in (20, 40, 60) if n <= options.prompts] or [options.prompts]
    kept = {kind: side(pool, f"{kind}-0") for kind in KINDS}
    seeds = [side(pool, f"temperature-{seed}") for seed in SEEDS]

    def other_seed(n: int) -> bool:
        ids = sorted(draw(rng, seeds[0], n))
        of_each = [rng.choice(len(seeds), 2, replace=False) for _ in ids]  # for every prompt any two of the seeds
        one, other = (mixed(seeds, dict(zip(ids, side, strict=True))) for side in zip(*of_each, strict=True))
        return fails(one, other, rules, None)

    print("\nFalse alarms: the same strategies, another seed\n\n| |" + "".join(f" n = {n} |" for n in prompts))
    print("|---|" + "---|" * len(prompts))
    print("| another seed |" + "".join(f" {rate(other_seed, n, options.checks)} |" for n in prompts), flush=True)
    same = [fails(baseline, baseline, rules, None) for baseline in kept.values()]
    print(f"\nThe same seed and code: {sum(same)} of {len(same)} checks failed.")
    for caught, title in ((True, "Caught"), (False, "Called a regression although nothing is wrong")):
        print(f"\n{title}\n\n| |" + "".join(f" n = {n} |" for n in prompts) + "\n|---|" + "---|" * len(prompts))
        for name, scenario in SCENARIOS.items():
            if scenario.caught != caught:
                continue
            if not all((pool / "runs" / f"{slug(name)}-{kind}" / "manifest.json").exists() for kind in scenario.kinds):
                print(f"| {name} | not decoded |")
                continue
            before = merged([kept[kind] for kind in scenario.kinds])
            after = merged([side(pool, f"{slug(name)}-{kind}") for kind in scenario.kinds])

            def one(n: int, before: Any = before, after: Any = after) -> bool:
                return fails(before, after, rules, draw(rng, before, n))

            print(f"| {name} |" + "".join(f" {rate(one, n, options.draws)} |" for n in prompts), flush=True)


def side(pool: Path, run: str) -> Any:
    """A stored run as one side of a check."""
    from decodebench.regression.making import make_baseline

    return make_baseline(pool / "runs" / run)


def merged(sides: Sequence[Any]) -> Any:
    """The arms of several runs over the same prompts as one side."""
    return replace(sides[0], arms=tuple(arm for one in sides for arm in one.arms))


def draw(rng: np.random.Generator, baseline: Any, n: int) -> set[str]:
    """n of its prompts, each at most once."""
    ids = sorted(next(iter(baseline.prompts.values())))
    return {ids[at] for at in rng.choice(len(ids), min(n, len(ids)), replace=False)}


def mixed(seeds: Sequence[Any], seed_of: Mapping[str, int]) -> Any:
    """A side that has each of these prompts from any of the seeds: draws of one prompt say nothing of another's."""
    parts = [limited(one, {key for key, at in seed_of.items() if at == number}) for number, one in enumerate(seeds)]
    first = parts[0].arms[0]
    metrics = {}
    for name, metric in first.metrics.items():
        rows = {key: row for part in parts for key, row in part.arms[0].metrics[name].rows.items()}
        metrics[name] = valued(name, replace(metric, rows=rows))
    texts = {0: {key: of for part in parts for prompts in part.arms[0].texts.values() for key, of in prompts.items()}}
    prompts = {name: {k: v for part in parts for k, v in part.prompts[name].items()} for name in parts[0].prompts}
    return replace(parts[0], arms=(replace(first, texts=texts, metrics=metrics),), prompts=prompts)


def fails(before: Any, after: Any, rules: Sequence[Any], ids: set[str] | None) -> bool:
    """Whether the check of these prompts fails: a regression, or sides that cannot be compared."""
    from decodebench.regression.judging import judge

    pair = [one if ids is None else limited(one, ids) for one in (before, after)]
    return judge(pair[0], pair[1], rules).exit_code != 0


def limited(baseline: Any, ids: set[str]) -> Any:
    """A side with these prompts alone; the values of its metrics are computed anew from their rows."""
    arms = []
    for arm in baseline.arms:
        texts = {seed: {key: of for key, of in prompts.items() if key in ids} for seed, prompts in arm.texts.items()}
        metrics = {
            name: valued(name, replace(metric, rows={key: row for key, row in metric.rows.items() if key in ids}))
            for name, metric in arm.metrics.items()
        }
        arms.append(replace(arm, texts=texts, metrics=metrics))
    prompts = {name: {key: value for key, value in of.items() if key in ids} for name, of in baseline.prompts.items()}
    return replace(baseline, arms=tuple(arms), prompts=prompts)


def valued(name: str, metric: Any) -> Any:
    """The metric with the value that its rows give."""
    value = np.nan
    if metric.rows:
        with np.errstate(all="ignore"):
            value = finishes()[name](*np.mean(list(metric.rows.values()), axis=0))
    if not np.isfinite(value):
        return replace(metric, value=None, reason=metric.reason or "no value")
    return replace(metric, value=float(value))


@cache
def finishes() -> dict[str, Callable[..., Any]]:
    """What makes the value of each metric of the means of its rows."""
    from decodebench.metrics import METRICS, Metric

    return {metric.name: metric.finish for metric in METRICS if isinstance(metric, Metric)}


def rate(check: Callable[[int], bool], n: int, times: int) -> str:
    """How many of so many checks failed, in percent, with the ends of Wilson's interval."""
    from decodebench.stats import share_interval

    hits = sum(check(n) for _ in range(times))
    ends = share_interval(hits, times)
    said = "" if ends.low is None or ends.high is None else f" [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"
    return f"{100 * hits / times:.1f}%{said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "rates"))
    parser.add_argument("pool", type=Path)
    parser.add_argument("--model", help="a folder of save_pretrained in place of the packaged model")
    parser.add_argument("--prompts", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--part", default="1/1", help="make: 1/2 and 2/2 in two processes at once")
    parser.add_argument("--checks", type=int, default=2000, help="simulated checks for false alarms")
    parser.add_argument("--draws", type=int, default=200, help="simulated checks of each scenario")
    parser.add_argument("--quick", action="store_true", help="12 prompts, 6 tokens, 20 checks")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.tokens, options.checks, options.draws = 12, 6, 20, 10
    {"make": make, "rates": rates}[options.what](options.pool.resolve(), options)


if __name__ == "__main__":
    main()
