"""mlx-lm's table against mlx-lm itself: every row on models whose next-token probabilities are known.

All cases are decoded in one process, since mlx-lm takes seconds to import. Kept sets and texts were computed by hand;
draws are held against them by `known_law.misfit`, with fixed seeds. No set is on its boundary.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decodebench.deploy.engines import Translation, asked, translate
from decodebench.deploy.engines.mlx_lm import ENGINE
from decodebench.deploy.engines.running import DRIVERS, run_engine
from decodebench.errors import ConfigError
from decodebench.strategies import (
    Beam,
    DynamicTemperature,
    Greedy,
    Mirostat,
    Sample,
    Strategy,
    Temperature,
)
from known_law import misfit
from known_logits import BIGRAM, CONSTANT, EOS, ID, TIE, UNK, VOCABULARY, always, build_known, ids, logits_of

pytestmark = pytest.mark.engine("mlx_lm")
PYTHON = os.environ.get("DECODEBENCH_MLX_LM_PYTHON", sys.executable)
DRAWS = 4000
ALL = "".join(token for token in ID if len(token) == 1)
ABCDE = CONSTANT


def law(kept: str = "", temperature: float = 1.0, *, table: Mapping[str, float] = ABCDE, **minus: float) -> np.ndarray:
    """Probabilities `[64]` of the kept tokens (none named: all) at a temperature, some logits lowered before it."""
    logits_V = np.array(logits_of(table))
    for token, by in minus.items():
        logits_V[ID[token]] -= by
    weights_V = np.exp((logits_V - logits_V.max()) / temperature)
    if kept:
        weights_V[[number for token, number in ID.items() if token not in kept]] = 0.0
    return weights_V / weights_V.sum()


def sample(**numbers: Any) -> Sample:
    """One new token, by these rules alone."""
    told = {"temperature": 1.0, "top_k": None, "top_p": None, "max_new_tokens": 1} | numbers
    return Sample(**told)


def entropy(p_V: np.ndarray) -> float:
    return float(-sum(p * math.log(p) for p in p_V))


@dataclass(frozen=True)
class Drawn:
    """One-token texts of a sampler after a prompt, and their law."""

    strategy: Strategy
    law_V: np.ndarray
    prompt: str = "A"
    model: str = "const"


LOGIT = {token: math.log(p) + 5 for token, p in CONSTANT.items()}
HALF = law() / 2

# Surprisals in nats: A .916, B 1.204, C 1.897, D 2.303, E 2.996; the entropy is 1.392.
SAMPLERS = {
    "temperature": Drawn(sample(temperature=0.5), law(temperature=0.5)),
    # 1 - 0.5 + entropy / log 64
    "dynamic temperature": Drawn(
        DynamicTemperature(dynatemp_range=0.5, dynatemp_exponent=1.0, max_new_tokens=1),
        law(temperature=0.5 + entropy(law()) / math.log(VOCABULARY)),
    ),
    "dynamic temperature, squared": Drawn(
        sample(dynatemp_range=0.8, dynatemp_exponent=2.0),
        law(temperature=0.2 + 1.6 * (entropy(law()) / math.log(VOCABULARY)) ** 2),
    ),
    "top_k": Drawn(sample(top_k=3), law("ABC")),
    "top_k of tokens that tie": Drawn(sample(top_k=2), law("ABC", table=TIE), model="tie"),
    "top_k of more than there are": Drawn(sample(top_k=100), law()),
    "top_p": Drawn(sample(top_p=0.75), law("ABC")),  # A, B have .7
    "top_p of tokens that tie": Drawn(sample(top_p=0.5), law("AB", table=TIE), model="tie"),  # .4 and one of .2
    "min_p": Drawn(sample(min_p=0.3), law("ABC")),  # .12
    "typical_p": Drawn(sample(typical_p=0.25), law("B")),  # nearest to the entropy: B, A, C, D, E
    "typical_p, wider": Drawn(sample(typical_p=0.8), law("ABC")),
    "epsilon": Drawn(sample(epsilon_cutoff=0.12), law("ABC")),
    "epsilon above all": Drawn(sample(epsilon_cutoff=0.5), law("A")),
    "eta": Drawn(sample(eta_cutoff=0.2), law("ABC")),  # sqrt(.2) exp(-1.392) = .111
    # terms of the entropy: .367 .361 .285 .230 .150, as running shares .263 .523 .727 .892 1
    "top_h": Drawn(sample(top_h=0.6), law("AB")),
    "top_h below the first": Drawn(sample(top_h=0.1), law("A")),
    "top_n_sigma": Drawn(sample(top_n_sigma=0.25), law("ABC")),  # D comes in at .2709
    # second differences .05 .10 0 0 .05, as running shares .25 .75 .75 .75 1
    "tfs": Drawn(sample(tfs_z=0.9), law("ABCD")),
    "tfs, below the second": Drawn(sample(tfs_z=0.5), law("A")),
    # of .421 .316 .158 .105 the squares add up to .313; (4 x .313 - 1) / 3 = .084
    "p_less": Drawn(sample(top_k=4, p_less="plain"), law("AB")),
    "p_less, norm": Drawn(sample(top_k=4, p_less="norm"), law("ABCD")),
    "xtc": Drawn(sample(xtc_probability=1.0, xtc_threshold=0.12), law(ALL.replace("A", "").replace("B", ""))),
    "xtc with a coin": Drawn(
        sample(xtc_probability=0.5, xtc_threshold=0.12), HALF + law(ALL.replace("A", "").replace("B", "")) / 2
    ),
    "mirostat, at first": Drawn(Mirostat(mirostat_tau=1.0, max_new_tokens=1), law("AB")),  # 2 bits: p of .25
    # Square roots, normalised: .300 .260 .184 .150 .106 with the tail
    "temperature, then top_p": Drawn(sample(temperature=2.0, top_p=0.7), law("ABC", 2.0)),
    "top_p, then temperature": Drawn(
        sample(temperature=2.0, top_p=0.65, order=["top_p", "temperature"]), law("AB", 2.0)
    ),
    "temperature, then min_p": Drawn(sample(temperature=2.0, min_p=0.3), law("ABCDE", 2.0)),
    "min_p, then temperature": Drawn(
        sample(temperature=2.0, min_p=0.3, order=["min_p", "temperature"]), law("ABC", 2.0)
    ),
    "top_k, then top_p": Drawn(sample(top_k=3, top_p=0.72), law("AB")),  # .471 .353 .176
    "top_p, then top_k": Drawn(sample(top_k=3, top_p=0.72, order=["temperature", "top_p", "top_k"]), law("ABC")),
    # at temperature 2 of four: .336 .291 .206 .168; of three .403 .349 .247; min_p .6 keeps all of these
    "four rules": Drawn(sample(temperature=2.0, top_k=4, top_p=0.8, min_p=0.6), law("ABC", 2.0)),
    # A is 31 tokens back, where mlx-lm's own penalty does not look; positive logits are divided
    "repetition penalty": Drawn(
        sample(repetition_penalty=1.5), law(A=LOGIT["A"] / 3, C=LOGIT["C"] / 3), prompt="A" + "C" * 30
    ),
    "presence of the prompt": Drawn(sample(presence_penalty=1.0), law(), prompt="AAB"),
    "frequency of the prompt": Drawn(sample(frequency_penalty=1.0), law(), prompt="AAB"),
    "no repeated bigram": Drawn(sample(no_repeat_ngram_size=2), law(ALL.replace("B", "")), prompt="ABA"),
    "no token twice": Drawn(sample(no_repeat_ngram_size=1), law(ALL.replace("A", "").replace("B", "")), prompt="ABA"),
    "dry": Drawn(sample(dry_multiplier=0.8), law(C=0.8), prompt="ABCAB"),
    "dry, one longer": Drawn(sample(dry_multiplier=0.8), law(C=0.8 * 1.75), prompt="DABCDAB"),
    "dry, base and length": Drawn(
        sample(dry_multiplier=0.5, dry_base=2.0, dry_allowed_length=1), law(C=1.0), prompt="ABCAB"
    ),
    "dry, broken": Drawn(sample(dry_multiplier=0.8, dry_sequence_breakers=["A"]), law(), prompt="ABCAB"),
    "sequence bias": Drawn(sample(sequence_bias={"AB": -1.0, "C": 0.5, "BA": 9.0}), law(B=1.0, C=-0.5)),
    "bad words": Drawn(sample(bad_words=["AB", "D", "BC"]), law(ALL.replace("B", "").replace("D", ""))),
    "an end token may come": Drawn(Temperature(max_new_tokens=1), law(table=BIGRAM["D"]), prompt="D", model="bigram"),
    "an end token must wait": Drawn(
        Temperature(max_new_tokens=1, min_new_tokens=1), law(ALL, table=BIGRAM["D"]), prompt="D", model="bigram"
    ),
}


def greedy(**numbers: Any) -> Greedy:
    return Greedy(**({"max_new_tokens": 4} | numbers))


TEXTS: dict[str, tuple[Strategy, str, str, list[int]]] = {
    "greedy": (greedy(), "const", "B", ids("AAAA")),
    "greedy, of tokens that tie": (greedy(bad_words=["A"]), "tie", "A", ids("BBBB")),
    "ends": (greedy(), "bigram", "H", [*ids("I"), EOS]),
    "goes on after the end token": (greedy(eos="none"), "bigram", "H", [*ids("I"), EOS, *ids("AB")]),
    "ends at another token": (greedy(eos=[ID["H"], ID["Z"]]), "bigram", "D", ids("GH")),
    "prompt and text": (greedy(max_total_tokens=3), "bigram", "D", ids("GH")),
    "prompt and text alone": (greedy(max_new_tokens=None, max_total_tokens=5), "const", "BB", ids("AAA")),
    # nats below A: B .288, C .981; an A costs .2 each time
    "frequency": (greedy(frequency_penalty=0.2, max_new_tokens=8), "const", "AAAA", ids("AABABABA")),
    "presence": (greedy(presence_penalty=0.5, max_new_tokens=6), "const", "AAAA", ids("ABAAAA")),
    "presence and frequency": (
        greedy(presence_penalty=0.4, frequency_penalty=0.3, max_new_tokens=5),
        "const",
        "A",
        ids("ABACB"),
    ),
    "no repeated bigram": (greedy(no_repeat_ngram_size=2, max_new_tokens=7), "const", "AB", ids("AACADAE")),
    # all but the end token tie after I: the first of them is <unk>
    "min_new_tokens": (greedy(min_new_tokens=4, max_new_tokens=5), "bigram", "D", [*ids("GHI"), UNK, *ids("A")]),
    # after G: EOS ln .3 + 5 = 3.796 x 1.25 = 4.745, H ln .7 + 5 = 4.643
    "decay": (greedy(exponential_decay_length_penalty=[0, 1.25]), "bigram", "D", [*ids("G"), EOS]),
    # 3.796 x 1.2 = 4.555; after H: EOS 3.391 x 1.44 = 4.883, I 4.777
    "slower decay": (greedy(exponential_decay_length_penalty=[0, 1.2]), "bigram", "D", [*ids("GH"), EOS]),
    "later decay": (greedy(exponential_decay_length_penalty=[1, 1.25]), "bigram", "D", [*ids("GHI"), EOS]),
}

GUIDED_V = 3 * np.array(logits_of(BIGRAM["A"])) - 2 * np.array(logits_of(BIGRAM["D"]))
"""After A, guided three times away from what D says."""
LOST: dict[str, tuple[Strategy, str, str, set[str]]] = {
    "guidance": (sample(guidance_scale=3.0, negative_prompt="D"), "bigram", "A", {"guidance_scale", "negative_prompt"}),
    "stop": (greedy(stop=["AA"]), "const", "A", {"stop"}),
    "stop_keep": (greedy(stop=["AA"], stop_keep=True), "const", "A", {"stop", "stop_keep"}),
}
"""What is not translatable, and the numbers that are lost."""
NO_TEXT = "TypeError: prompt: allowed are token ids, as tokenizer.encode(text) gives them"
SECOND = Mirostat(mirostat_tau=1.0, mirostat_eta=5.0, max_new_tokens=2)
PAIRS = 150


def told(strategy: Strategy) -> Translation:
    return translate(ENGINE, asked(strategy, texts=1, longest=64))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("known")
    tables = {"const": {}, "tie": always(TIE), "bigram": BIGRAM}
    return {name: build_known(folder / name, table) for name, table in tables.items()}


@pytest.fixture(scope="module")
def texts(models: dict[str, Path]) -> dict[str, list[list[int]]]:
    """The texts of every case, by its name."""
    asks: dict[str, tuple[Strategy, str, str, int]] = {
        **{f"draws: {name}": (case.strategy, case.model, case.prompt, DRAWS) for name, case in SAMPLERS.items()},
        **{f"text: {name}": (strategy, model, prompt, 2) for name, (strategy, model, prompt, _) in TEXTS.items()},
        **{
            f"lost: {name}": (strategy, model, prompt, DRAWS if strategy.max_new_tokens == 1 else 1)
            for name, (strategy, model, prompt, _) in LOST.items()
        },
        "pairs": (SECOND, "const", "A", PAIRS),
    }
    requests = [
        {
            "model": str(models[model]),
            "settings": told(strategy).settings,
            "prompts": [ids(prompt)],
            "draws": n,
            "seed": 7,
        }
        for strategy, model, prompt, n in asks.values()
    ]
    code = (
        "import json, runpy, sys; answered = runpy.run_path(sys.argv[1])['answered']; "
        "print(json.dumps([answered(one)['texts'][0] for one in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [PYTHON, "-P", "-c", code, DRIVERS["mlx_lm"]],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(asks, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_the_law_of_the_rule(name: str, texts: dict[str, list[list[int]]]) -> None:
    assert told(SAMPLERS[name].strategy).missing == ()
    assert misfit(texts[f"draws: {name}"], SAMPLERS[name].law_V) == ""


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_equal_token_for_token(name: str, texts: dict[str, list[list[int]]]) -> None:
    strategy, _, _, text = TEXTS[name]
    assert told(strategy).missing == ()
    assert texts[f"text: {name}"] == [text, text]


def test_mirostat_follows_the_text(texts: dict[str, list[list[int]]]) -> None:
    """At first 2 bits: A of .571 and B of .429, with .807 and 1.222 bits. Then 2.96 bits after A, a p of .128, and .89
    after B, which no token has: the likeliest alone."""
    pairs = texts["pairs"]
    after = {token: [second for first, second in pairs if first == ID[token]] for token in "AB"}
    assert len(after["A"]) + len(after["B"]) == PAIRS
    assert set(after["B"]) == {ID["A"]}
    counts = np.bincount(after["A"], minlength=VOCABULARY)
    assert counts[[ID[token] for token in "ABC"]].sum() == len(after["A"])
    assert counts[ID["C"]] > 0  # 15 are expected
    assert misfit([[first] for first, _ in pairs], law("AB")) == ""  # drawn one by one


@pytest.mark.parametrize("name", LOST)
def test_what_is_not_translatable_differs(name: str, texts: dict[str, list[list[int]]]) -> None:
    strategy, _, _, keys = LOST[name]
    assert {line.key for line in told(strategy).missing} == keys
    made = texts[f"lost: {name}"]
    if name == "guidance":
        guided_V = np.exp(GUIDED_V - GUIDED_V.max())
        assert misfit(made, guided_V / guided_V.sum()) != ""
        assert misfit(made, law(table=BIGRAM["A"])) == ""
    else:
        assert made[0] == ids("AAAA")  # ours ends at the second A


def test_every_row_is_held_against_the_engine() -> None:
    held = {line.key for case in SAMPLERS.values() for line in told(case.strategy).lines}
    held |= {line.key for strategy, *_ in TEXTS.values() for line in told(strategy).lines}
    assert set(ENGINE.rows) - held == set()
    assert set(ENGINE.lacks) == set().union(*(keys for *_, keys in LOST.values()))


def test_the_printed_lines_decode_by_the_written_files(models: dict[str, Path], tmp_path: Path) -> None:
    """As a user has it: a folder with the two files, and the lines of `export`; there is no beam search."""
    strategy = greedy(repetition_penalty=1.5, no_repeat_ngram_size=2, max_new_tokens=6)
    settings = told(strategy).settings
    for file, text in ENGINE.files(settings).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    lines = [
        f"MODEL, TEXT = {str(models['const'])!r}, 'AB'",
        *ENGINE.usage(settings),
        "import inspect",
        "from mlx_lm.generate import generate_step",
        "print(out, 'num_beams' in inspect.signature(generate_step).parameters)",
        "options(tokenizer, TEXT)",
    ]
    done = subprocess.run([PYTHON, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=False)
    # A 4.084, B 3.796, C 3.103, D 2.697, E 2.004; seen ones A 2.722, B 2.531, C 2.069: C, then A twice, then D since AA
    # and AB have been, A, and C since AD has been too
    assert (done.stdout.split(), done.stderr.splitlines()[-1:]) == (["CAADAC", "False"], [NO_TEXT])
    assert (
        done.stderr.splitlines()[-1] == "TypeError: prompt: allowed are token ids, as tokenizer.encode(text) gives them"
    )
    assert [line.key for line in told(Beam()).missing] == ["strategy"]


def test_what_the_engine_raises_is_one_line(models: dict[str, Path]) -> None:
    settings = told(greedy(max_total_tokens=3)).settings
    with pytest.raises(ConfigError, match=r"max_total_tokens=3: allowed is more than the 4 tokens of the prompt"):
        run_engine("mlx_lm", models["const"], settings, [ids("AAAA")], 1, 0, python=PYTHON)


def test_two_prompts_have_the_draws_that_were_asked_for(models: dict[str, Path]) -> None:
    ran = run_engine("mlx_lm", models["bigram"], told(sample()).settings, [ids("A"), ids("GI")], 300, 3, python=PYTHON)
    assert ran.version == ENGINE.version
    first, second = ran.texts
    assert misfit([list(text) for text in first], law(table=BIGRAM["A"])) == ""
    assert second == ((EOS,),) * 300
