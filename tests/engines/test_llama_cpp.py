"""llama.cpp's table against llama.cpp itself: every row on models whose next-token probabilities are known.

Draws are held against an oracle of the rules' definitions (known_law). Seeds are fixed, so that a result is the same
each time; the kept sets are off their boundaries.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decodebench.deploy.engines import Translation, asked, translate
from decodebench.deploy.engines.llama_cpp import ENGINE
from decodebench.deploy.engines.running import run_engine
from decodebench.errors import ConfigError
from decodebench.strategies import Beam, Greedy, Mirostat, Sample, Strategy
from known_gguf import write_known_gguf
from known_law import Rules, after, law, misfit, probabilities
from known_logits import BIGRAM, CONSTANT, EOS, ID, TIE, always, ids

pytestmark = pytest.mark.engine("llama_cpp")
PYTHON = os.environ.get("DECODEBENCH_LLAMA_CPP_PYTHON", sys.executable)
DRAWS = 800


def sample(rules: Rules = (), **numbers: Any) -> Sample:
    """One new token, by these rules in this order."""
    told: dict[str, Any] = {"top_k": None, "top_p": None, "max_new_tokens": 1}
    for name, number in rules:
        if name == "xtc":
            told |= {"xtc_probability": 1.0, "xtc_threshold": number}
        elif name == "dynatemp":
            told |= {"dynatemp_range": number[0], "dynatemp_exponent": number[1]}
        else:
            told[name] = number
    order = [name.replace("dynatemp", "temperature") for name, _ in rules]
    order += [] if "temperature" in order else ["temperature"]
    return Sample(**(told | numbers), order=order)


def greedy(**numbers: Any) -> Greedy:
    return Greedy(**({"max_new_tokens": 6} | numbers))


def told(strategy: Strategy) -> Translation:
    return translate(ENGINE, asked(strategy, texts=1, longest=128))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("known")
    tables = {"const": always(CONSTANT), "tie": always(TIE), "bigram": BIGRAM}
    return {name: write_known_gguf(folder / f"{name}.gguf", table) for name, table in tables.items()}


def texts(model: Path, settings: Mapping[str, Any], prompt: str, draws: int = DRAWS, seed: int = 5) -> list[list[int]]:
    [made] = run_engine("llama_cpp", model, settings, [ids(prompt)], draws, seed, python=PYTHON).texts
    return [list(text) for text in made]


CHAINS: dict[str, Rules] = {
    "nothing": [],
    "temperature": [("temperature", 0.5)],
    "dynamic temperature": [("dynatemp", (0.5, 1.0))],
    "dynamic temperature, squared": [("dynatemp", (0.8, 2.0))],
    "top_k": [("top_k", 3)],
    "top_k of more than there are": [("top_k", 100)],
    "top_p": [("top_p", 0.75)],
    "min_p": [("min_p", 0.3)],
    "typical_p": [("typical_p", 0.25)],
    "typical_p, wider": [("typical_p", 0.65)],
    "top_n_sigma without D": [("top_n_sigma", 0.27)],
    "top_n_sigma with D": [("top_n_sigma", 0.272)],
    "xtc": [("xtc", 0.12)],
    "temperature, top_p": [("temperature", 2.0), ("top_p", 0.7)],
    "top_p, temperature": [("top_p", 0.65), ("temperature", 2.0)],
    "temperature, min_p": [("temperature", 2.0), ("min_p", 0.55)],
    "min_p, temperature": [("min_p", 0.55), ("temperature", 2.0)],
    "top_k, top_p": [("top_k", 3), ("top_p", 0.72)],
    "top_p, top_k": [("top_p", 0.72), ("top_k", 3)],
    "typical_p, top_p": [("typical_p", 0.8), ("top_p", 0.78)],
    "top_p, typical_p": [("top_p", 0.68), ("typical_p", 0.65)],
    "top_k, dynamic temperature": [("top_k", 3), ("dynatemp", (0.5, 1.0))],
    "top_k, top_n_sigma": [("top_k", 4), ("top_n_sigma", 1.0)],
    "temperature, xtc": [("temperature", 2.0), ("xtc", 0.2)],
    "xtc, temperature": [("xtc", 0.2), ("temperature", 2.0)],
    "top_n_sigma, min_p, typical_p": [("top_n_sigma", 0.272), ("min_p", 0.01), ("typical_p", 0.65)],
    "top_n_sigma, top_p, dynamic temperature": [("top_n_sigma", 0.272), ("top_p", 0.999), ("dynatemp", (0.5, 1.0))],
    "transformers' order": [("temperature", 2.0), ("top_k", 4), ("top_p", 0.8), ("min_p", 0.6), ("typical_p", 0.7)],
    "llama.cpp's order": [
        *[("top_k", 4), ("typical_p", 0.9), ("top_p", 0.97), ("min_p", 0.2), ("xtc", 0.2), ("temperature", 0.7)]
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_draws_follow_the_law_of_the_rules(name: str, models: dict[str, Path]) -> None:
    translation = told(sample(CHAINS[name]))
    assert translation.missing == ()
    drawn = texts(models["const"], translation.settings, "A")
    assert misfit(drawn, law(CHAINS[name], probabilities(CONSTANT))) == ""


LOGIT = {token: math.log(p) + 5 for token, p in CONSTANT.items()}
FAR = "BC" + "A" * 70  # llama.cpp's own windows end before its beginning

PENALTIES: dict[str, tuple[dict[str, Any], str, dict[str, float]]] = {
    "repetition, counted once": ({"repetition_penalty": 1.5}, "AAAB", {t: LOGIT[t] / 3 for t in "AB"}),
    "repetition, a likely token": ({"repetition_penalty": 0.8}, "E", {"E": -LOGIT["E"] / 4}),
    "repetition, far back": ({"repetition_penalty": 1.5}, FAR, {t: LOGIT[t] / 3 for t in "ABC"}),
    "dry": ({"dry_multiplier": 0.8}, "ABCAB", {"C": 0.8}),
    "dry, one longer": ({"dry_multiplier": 0.8}, "DABCDAB", {"C": 0.8 * 1.75}),
    "dry, far back": ({"dry_multiplier": 0.8}, "ABC" + "Z" * 70 + "AB", {"C": 0.8}),
    "dry, base and length": (
        {"dry_multiplier": 0.5, "dry_base": 2.0, "dry_allowed_length": 1},
        "ABCAB",
        {"C": 0.5 * 2.0},
    ),
    "dry, broken": ({"dry_multiplier": 0.8, "dry_sequence_breakers": ["A"]}, "ABCAB", {}),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_lower_the_logits_of_the_whole_text(name: str, models: dict[str, Path]) -> None:
    numbers, prompt, lowered = PENALTIES[name]
    translation = told(sample(**numbers))
    assert translation.missing == ()
    assert misfit(texts(models["const"], translation.settings, prompt), probabilities(CONSTANT, **lowered)) == ""


def test_a_penalty_comes_before_the_rules(models: dict[str, Path]) -> None:
    rules: Rules = [("temperature", 2.0), ("top_k", 3)]
    translation = told(sample(rules, repetition_penalty=1.5))
    expected_V = law(rules, probabilities(CONSTANT, A=LOGIT["A"] / 3, B=LOGIT["B"] / 3))
    assert misfit(texts(models["const"], translation.settings, "AB"), expected_V) == ""


def test_xtc_throws_a_coin(models: dict[str, Path]) -> None:
    translation = told(sample([("xtc", 0.12)], xtc_probability=0.3))
    p_V = probabilities(CONSTANT)
    drawn = texts(models["const"], translation.settings, "A")
    assert misfit(drawn, 0.7 * p_V + 0.3 * after(p_V, "xtc", 0.12)) == ""


def test_mirostat_follows_the_text(models: dict[str, Path]) -> None:
    """2 bits at first: A (.571, so .807 bits of surprise) or B (.429, 1.222). After A 2 + 5 x .193 = 2.96 bits, that is
    a probability of .128; after B 2 - 5 x .222 = .89 bits, more than any token has: the likeliest alone."""
    translation = told(Mirostat(mirostat_tau=1.0, mirostat_eta=5.0, max_new_tokens=2))
    assert translation.missing == ()
    pairs = texts(models["const"], translation.settings, "A")
    p_V = probabilities(CONSTANT)
    assert misfit(pairs, after(p_V, "top_k", 2)) == ""
    second = {token: [[pair[1]] for pair in pairs if pair[0] == ID[token]] for token in "AB"}
    assert misfit(second["A"], after(p_V, "top_k", 3)) == ""
    assert misfit(second["B"], after(p_V, "top_k", 1)) == ""


def test_mirostat_at_a_temperature(models: dict[str, Path]) -> None:
    """At temperature 2 the square roots are .300 .260 .184 .150 .106: 1.74 1.95 2.44 bits."""
    translation = told(Mirostat(mirostat_tau=1.0, temperature=2.0, max_new_tokens=1))
    expected_V = law([("temperature", 2.0), ("top_k", 2)], probabilities(CONSTANT))
    assert misfit(texts(models["const"], translation.settings, "A"), expected_V) == ""


TEXTS: dict[str, tuple[Strategy, str, str, list[int]]] = {
    "the likeliest": (greedy(max_new_tokens=4), "const", "B", ids("AAAA")),
    "of tokens that tie": (greedy(repetition_penalty=2.0, max_new_tokens=4), "tie", "A", ids("BCDE")),
    "an end token": (greedy(), "bigram", "D", [*ids("GHI"), EOS]),
    "a stop string": (greedy(stop=["ZZ", "BA"]), "bigram", "A", ids("BA")),
    "a stop string with its beginning in the prompt": (greedy(stop=["AB"]), "bigram", "A", ids("BAB")),
    # seen ones by 1.5: A 2.722, B 2.531, C 2.069, D 1.798, E 1.336; unseen C 3.103, D 2.697, E 2.004
    "a penalty": (greedy(repetition_penalty=1.5), "const", "AB", ids("CAAAAA")),
    # after C once more A, then D: 2.697 is less than 2.722
    "a penalty on a repetition": (greedy(dry_multiplier=2.0, max_new_tokens=4), "const", "A", ids("AABA")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_equal_token_for_token(name: str, models: dict[str, Path]) -> None:
    strategy, model, prompt, text = TEXTS[name]
    translation = told(strategy)
    assert translation.missing == ()
    assert texts(models[model], translation.settings, prompt, 2) == [text, text]


P_V = probabilities(CONSTANT)
FIVE_V = after(P_V, "top_k", 5)
END_V = probabilities(BIGRAM["D"])
NO_END_V = probabilities({"G": 1.0})
FOUR_V, THREE_V = after(P_V, "top_n_sigma", 0.272), after(P_V, "top_n_sigma", 0.27)
LOST: dict[str, tuple[Strategy, str, dict[str, Any], str, np.ndarray, np.ndarray]] = {
    # the strategy, what is lost, the fields that one would tell it by; the prompt, the engine's law, ours
    "epsilon": (sample([("epsilon_cutoff", 0.12)]), "epsilon_cutoff", {}, "A", P_V, after(P_V, "min_p", 0.3)),
    # sqrt(.5) exp(-1.392) = .176
    "eta": (sample([("eta_cutoff", 0.5)]), "eta_cutoff", {}, "A", P_V, after(P_V, "top_k", 2)),
    "n-grams": (sample(no_repeat_ngram_size=1), "no_repeat_ngram_size", {}, "A", P_V, probabilities(CONSTANT, A=99)),
    "a least length": (sample(min_new_tokens=1), "min_new_tokens", {"min_tokens": 1}, "D", END_V, NO_END_V),
    "no end": (sample(eos="none"), "eos", {"ignore_eos": True}, "D", NO_END_V, END_V),
    "presence": (sample(presence_penalty=1.0), "presence_penalty", {}, "AAB", probabilities(CONSTANT, A=1, B=1), P_V),
    "frequency": (
        sample(frequency_penalty=0.5),
        *("frequency_penalty", {}, "AAB", probabilities(CONSTANT, A=1, B=0.5), P_V),
    ),
    "typical_p behind top_n_sigma": (
        sample([("top_n_sigma", 0.272), ("typical_p", 0.65)]),
        *("typical_p", {}, "A", FOUR_V, after(FOUR_V, "typical_p", 0.65)),
    ),
    # of three tokens of entropy 1.031 the temperature is .5 + 1.031 / ln 64 = .748, not .5 + 1.031 / ln 3
    "dynamic temperature behind top_n_sigma": (
        sample([("top_n_sigma", 0.27), ("dynatemp", (0.5, 1.0))]),
        *("dynatemp_range", {}, "A", after(THREE_V, "temperature", 0.748), after(THREE_V, "dynatemp", (0.5, 1.0))),
    ),
    "repetition with mirostat": (
        Mirostat(mirostat_tau=3.0, repetition_penalty=1.5, max_new_tokens=1),
        *(
            "repetition_penalty",
            {"repeat_penalty": 1.5},
            "A",
            FIVE_V,
            after(probabilities(CONSTANT, A=1.36), "top_k", 5),
        ),
    ),
    "dry with mirostat": (
        Mirostat(mirostat_tau=3.0, dry_multiplier=2.0, max_new_tokens=1),
        *("dry_multiplier", {}, "CACA", FIVE_V, after(probabilities(CONSTANT, C=2.0), "top_k", 5)),
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_not_translatable_differs(name: str, models: dict[str, Path]) -> None:
    strategy, key, fields, prompt, theirs_V, ours_V = LOST[name]
    translation = told(strategy)
    assert [line.key for line in translation.missing] == [key]
    windows = {"repeat_last_n": 128, "dry_penalty_last_n": 128}
    settings = {**translation.settings, **windows, **(fields or {key: getattr(strategy, key)})}
    drawn = texts(models["bigram" if prompt == "D" else "const"], settings, prompt)
    assert misfit(drawn, theirs_V) == ""
    assert misfit(drawn, ours_V) != ""


def test_exactly_k_are_kept_where_tokens_tie(models: dict[str, Path]) -> None:
    rules: Rules = [("top_k", 2)]
    drawn = texts(models["tie"], told(sample(rules)).settings, "A")
    assert len({token for [token] in drawn}) == 2  # as the notes say: by our definition B and C are both kept
    assert np.count_nonzero(law(rules, probabilities(TIE))) == 3


def test_a_length_with_the_prompt_is_not_read(models: dict[str, Path]) -> None:
    translation = told(greedy(max_total_tokens=3))
    assert [line.key for line in translation.missing] == ["max_total_tokens"]
    assert texts(models["bigram"], {**translation.settings, "max_total_tokens": 3}, "D", 1) == [[*ids("GHI"), EOS]]


def test_there_is_no_beam_search(models: dict[str, Path]) -> None:
    assert [line.key for line in told(Beam()).missing] == ["strategy"]
    drawn = texts(models["const"], {**told(sample()).settings, "num_beams": 4}, "A")
    assert misfit(drawn, P_V) == ""


def test_no_breakers_at_all_are_refused_there(models: dict[str, Path]) -> None:
    translation = told(sample(dry_multiplier=0.8, dry_sequence_breakers=[]))
    assert [line.key for line in translation.missing] == ["dry_sequence_breakers"]
    with pytest.raises(ConfigError, match="dry_sequence_breakers must be a non-empty array"):
        texts(models["const"], {**translation.settings, "dry_sequence_breakers": []}, "A", 1)


def test_every_row_is_held() -> None:
    exact = [sample(rules) for rules in CHAINS.values()] + [sample(**numbers) for numbers, *_ in PENALTIES.values()]
    held = {line.key for one in [*exact, Mirostat()] for line in told(one).lines}
    held |= {line.key for strategy, *_ in TEXTS.values() for line in told(strategy).lines}
    lost = {key for _, key, *_ in LOST.values()}
    assert set(ENGINE.rows) - held == {"presence_penalty", "frequency_penalty"}
    assert set(ENGINE.rows) | set(ENGINE.lacks) <= held | lost | {"max_total_tokens", "stop_keep"}


def test_what_a_model_file_says_of_sampling_is_overruled(tmp_path: Path) -> None:
    says = {"general.sampling.temp": 0.5, "general.sampling.top_k": 2, "general.sampling.penalty_repeat": 3.0}
    model = write_known_gguf(tmp_path / "says.gguf", always(CONSTANT), says)
    assert misfit(texts(model, told(sample()).settings, "A"), P_V) == ""
    untold = texts(model, {"n_predict": 1, "repeat_penalty": 1.0}, "A")
    assert misfit(untold, law([("top_k", 2), ("temperature", 0.5)], P_V)) == ""


def test_several_texts_are_several_draws(models: dict[str, Path]) -> None:
    settings = translate(ENGINE, asked(sample(), texts=3, longest=64)).settings
    assert settings["n_cmpl"] == 3
    [first, second] = run_engine("llama_cpp", models["const"], settings, [ids("A"), ids("B")], DRAWS, 1, PYTHON).texts
    for left, right in ((first, second), (first[:-1], first[1:]), (first[:-16], first[16:])):
        behind_a = [list(b) for a, b in zip(left, right, strict=True) if a == (ID["A"],)]
        assert misfit(behind_a, P_V) == ""


def test_a_seed_repeats(models: dict[str, Path]) -> None:
    settings = told(sample(max_new_tokens=5)).settings
    one, again, other = (texts(models["const"], settings, "A", 20, seed) for seed in (1, 1, 2))
    assert one == again != other


SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 512
params.warmup = False
params.verbosity = 0
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
exec(sys.argv[2].replace("http://localhost:8080", server.listening_address))
"""


def test_the_printed_lines_decode_by_the_written_file(models: dict[str, Path], tmp_path: Path) -> None:
    """As a user has it: the file and the lines of `export`. A stop string is not in the text that is printed."""
    strategy = greedy(stop=["I"], stop_keep=True)
    assert [line.key for line in told(strategy).missing] == ["stop_keep"]
    settings = told(strategy).settings
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    lines = "\n".join(['prompt = "DG"', *ENGINE.usage(settings)[1:], "print(text)"])
    command = [PYTHON, "-c", SERVER, str(models["bigram"]), lines]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["H"], done.stderr
