"""`export` and `strategies`: what is exported gives, in plain transformers, the texts that the benchmark stored."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from decodebench.plan.catalogue import catalogue, entry
from decodebench.plan.config import conf_dir
from decodebench.records import Timing
from decodebench.store.tables import read_records
from launches import PROMPTS, launch, manifest, one_thread, texts, without_report, write_prompts
from tiny import EOS_ID, PAD_ID

OWN = ["strategy=greedy", "++strategy.name=third", "strategy._target_=own_strategies.EveryThirdSecond"]

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


_shipped: list[Path] = []


@pytest.fixture
def everything(good: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The run x of the whole catalogue on one prompt, decoded once: each test has a copy."""
    if not _shipped:
        assert launch("-m", *good, "strategy=glob(*)", "prompts.ids=[en]").code == 0
        _shipped.append(Path(shutil.copytree("results/x", tmp_path_factory.mktemp("shipped") / "x")))
    else:
        shutil.copytree(_shipped[0], "results/x")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    without_report(monkeypatch)
    write_prompts(tmp_path)


@pytest.fixture
def good(tiny_dirs: dict[str, Path]) -> list[str]:
    """The arguments of a small run, without a strategy."""
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8", "name=x"]


@pytest.fixture
def paste(tiny_dirs: dict[str, Path]) -> Callable[..., list[list[int]]]:
    """Run what `export` printed, as a user would, on one prompt; returns the new tokens of each text."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_dirs["llama"])

    def paste(code: str, prompt: str, **settings: Any) -> list[list[int]]:
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_dirs["llama"])
        for name, value in settings.items():
            setattr(model.generation_config, name, value)
        inputs = tokenizer(prompt, return_tensors="pt")
        names: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "inputs": inputs}
        exec(code, names)
        return [_without_padding(ids) for ids in names["out"][:, inputs["input_ids"].shape[1] :].tolist()]

    return paste


def _without_padding(ids: list[int]) -> list[int]:
    while ids and ids[-1] == PAD_ID:
        ids.pop()
    return ids


def exported(cell: str, *options: str) -> str:
    """What `export` prints of a cell of the run x."""
    done = launch("export", "results/x", cell, *options)
    assert (done.code, done.err) == (0, "")
    return done.out


def exported_as_stored(strategy: str) -> str:
    """The same with as many texts as the run has of a prompt."""
    return exported(strategy, f"--texts={len(stored('en', strategy))}")


def stored(prompt_id: str, strategy: str) -> list[list[int]]:
    found = [g for g in texts() if (g.prompt_id, g.strategy) == (prompt_id, strategy)]
    return [list(g.token_ids) for g in sorted(found, key=lambda g: g.sample)]


LEAKS = {"do_sample": True, "temperature": 0.3, "bad_words_ids": [[n] for n in range(9, 200)], "eos_token_id": None}
"""What the generation_config.json of another's checkpoint may say."""


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["strategy.eos=none"],
        ["strategy.repetition_penalty=1.3", "strategy.min_new_tokens=5"],
        ["strategy.max_new_tokens=null", "strategy.max_total_tokens=40"],
        ["strategy.max_total_tokens=40"],
    ],
    ids=" ".join,
)
def test_a_search_gives_the_stored_texts(
    strategy: str, rules: list[str], good: list[str], paste: Callable[..., list[list[int]]]
) -> None:
    """Token for token, though the checkpoint has settings of its own. Of `long` (34 tokens and <bos>) 40 leave 5."""
    assert launch(*good, f"strategy={strategy}", *rules).code == 0
    code = exported_as_stored(strategy)
    assert ("custom_generate" in code) == (rules == ["strategy.max_total_tokens=40"])
    for prompt in PROMPTS:
        assert paste(code, prompt["text"], **LEAKS) == stored(prompt["id"], strategy)


def test_what_transformers_lacks_gives_the_stored_texts(good: list[str], paste: Callable[..., list[list[int]]]) -> None:
    """A strategy of a user's own; the timed pass of the run went the same way."""
    times = ["latency=quick", "latency.rounds=3", "latency.new_tokens=4", "latency.prompts=1"]
    assert launch(*good, *times, *OWN, "strategy.eos=[40,1]", "++strategy.offset=1").code == 0
    code = exported_as_stored("third")
    assert "EveryThirdSecond(" in code
    assert "offset=1" in code
    assert "eos=[40, 1]" in code
    for prompt in PROMPTS:
        assert paste(code, prompt["text"], **LEAKS) == stored(prompt["id"], "third")
    timings = read_records(Path("results/x/latency.parquet"), Timing)
    assert [(t.strategy, t.new_tokens, t.ttft_reason) for t in timings] == [("third", 4, None)] * 3


def test_what_drafts_gives_the_stored_texts(
    good: list[str], paste: Callable[..., list[list[int]]], tiny_dirs: dict[str, Path]
) -> None:
    """By lookup, by the model's own first layers, and with a model beside it."""
    for rule in (["strategy=prompt_lookup"], ["strategy=assisted"], [f"strategy.draft={tiny_dirs['llama']}"]):
        name = "prompt_lookup" if "lookup" in rule[0] else "assisted"
        assert launch(*good, f"strategy={name}", *rule, f"name={len(rule[0])}").code == 0
        Path(f"results/{len(rule[0])}").replace("results/x")
        code = exported_as_stored(name)
        assert ("assistant_model=draft" in code) == ("draft" in rule[0])
        for prompt in PROMPTS:
            assert paste(code, prompt["text"], **LEAKS) == stored(prompt["id"], name)
        Path("results/x").replace(f"results/done {len(rule[0])}")


@pytest.mark.parametrize(
    "arguments", [["strategy=best_of_n", "strategy.n=3"], ["strategy=contrastive_search"]], ids=" ".join
)
def test_shipped_strategies_that_transformers_lacks(
    arguments: list[str], good: list[str], paste: Callable[..., list[list[int]]]
) -> None:
    """Choices among samples too: the lines carry the seed of the cell."""
    assert launch(*good, *arguments, "seed=5").code == 0
    name = arguments[0].removeprefix("strategy=")
    code = exported_as_stored(name)
    assert "tokenizer, seed=5))" in code
    for prompt in PROMPTS:
        assert paste(code, prompt["text"], **LEAKS) == stored(prompt["id"], name)


@pytest.mark.usefixtures("everything")
def test_the_whole_catalogue_exports(paste: Callable[..., list[list[int]]]) -> None:
    """Every strategy as it comes: what does not draw and our own engine's token for token; what transformers draws
    gives as many texts (test_a_sampler_gives_the_stored_distribution has the rest)."""
    strategies = catalogue()
    shipped = {cell["strategy"] for cell in manifest()["cells"]}
    assert shipped == set(strategies)
    for name in sorted(shipped):
        code = exported_as_stored(name)
        new, kept = paste(code, PROMPTS[1]["text"], **LEAKS), stored("en", name)
        if "custom_generate" in code or not strategies[name].strategy.generation_config()["do_sample"]:
            assert new == kept, name
        else:
            assert len(new) == len(kept), name


@pytest.mark.usefixtures("everything")
def test_every_exported_file_passes_transformers_strict_validation() -> None:
    """top_k=0, which is off, is an issue to it where nothing samples."""
    files = 0
    for cell in manifest()["cells"]:
        done = launch("export", "results/x", cell["id"], "-o", cell["id"])
        if "no GenerationConfig says" not in done.err:
            assert done.code == 0, done.err
            config: Any = GenerationConfig.from_pretrained(cell["id"])
            config.validate(strict=True)
            assert config.num_return_sequences == 1
            files += 1
    assert files > 8


def test_one_text_is_exported_unless_more_are_asked_for(good: list[str], paste: Callable[..., list[list[int]]]) -> None:
    """What a folder's generation_config.json says holds for everybody who loads it: pipelines want one text."""
    assert launch("-m", *good, "strategy=beam,top_p,mirostat,best_of_n", "prompts.ids=[en]").code == 0
    for name in ("beam", "top_p", "mirostat"):
        code = exported(name)
        assert f"one prompt gives 1 of the {len(stored('en', name))} texts of the run" in code
        assert len(paste(code, PROMPTS[1]["text"], **LEAKS)) == 1
    assert len(paste(exported("beam", "--texts", "2", "-o", "two"), PROMPTS[1]["text"])) == 2
    assert paste(exported("mirostat", "--texts", "2"), PROMPTS[1]["text"]) == stored("en", "mirostat")[:2]
    assert "one prompt gives" not in exported("best_of_n")
    done = launch("export", "results/x", "best_of_n", "--texts", "2")
    assert (done.code, done.out) == (3, "")
    assert "--texts=2: allowed is 1, this strategy gives no other number" in done.err


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1.5", "1" * 30, "²"])
def test_a_number_of_texts_that_is_none(value: str) -> None:
    done = launch("export", "results/x", "greedy", f"--texts={value}")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert f"--texts={value}: allowed is a number of texts from 1" in done.err


COUNT = 1000


def test_a_sampler_gives_the_stored_distribution(
    good: list[str], paste: Callable[..., list[list[int]]], tiny_dirs: dict[str, Path]
) -> None:
    """The first tokens of 1000 stored texts and of 1000 by the exported file, each against the model's own numbers.

    Both draw from the exact top-k set alone. Their distribution functions (tokens in order of probability) lie within
    DKW's bound of the exact one: sqrt(ln(2 / a) / 2n) = 0.085 for n = 1000 and a = 1e-6, so both together raise a false
    alarm once in 500,000 runs, and a shift of mass by 0.17 is seen with near certainty.
    """
    numbers = ["strategy=top_k", "strategy.top_k=6", "strategy.temperature=1.4", "strategy.max_new_tokens=1"]
    assert (
        launch(*good, *numbers, f"strategy.num_return_sequences={COUNT}", "prompts.ids=[en]", "strategy.eos=none").code
        == 0
    )
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_dirs["llama"])
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_dirs["llama"])
    with torch.inference_mode():
        logits_V = model(**tokenizer(PROMPTS[1]["text"], return_tensors="pt")).logits[0, -1]
    top = logits_V.topk(6)
    exact = torch.softmax(top.values / 1.4, -1).cumsum(-1)
    assert float(exact[0]) < 0.9, "the draws must mean something"
    torch.manual_seed(0)
    for drawn in (stored("en", "top_k"), paste(exported_as_stored("top_k"), PROMPTS[1]["text"], **LEAKS)):
        assert len(drawn) == COUNT
        counts = torch.tensor([sum(ids == [token] for ids in drawn) for token in top.indices.tolist()])
        assert int(counts.sum()) == COUNT
        assert float((counts.cumsum(-1) / COUNT - exact).abs().max()) < 0.085


def test_the_file_has_every_field_and_is_loaded_by_transformers(good: list[str]) -> None:
    assert launch(*good, "strategy=top_p", "strategy.top_p=0.8").code == 0
    code = exported("top_p", "-o", "winner", "--texts", "3")
    assert "GenerationConfig.from_pretrained('winner')" in code
    config: Any = GenerationConfig.from_pretrained("winner")
    fields = manifest()["cells"][0]["generation_config"]
    assert fields["top_k"] == 0, "transformers' default of 50 must not come back"
    assert {name: getattr(config, name) for name in fields} == fields
    assert (config.top_p, config.eos_token_id, config.pad_token_id) == (0.8, [EOS_ID], PAD_ID)


def test_a_file_that_differs_is_never_overwritten(good: list[str]) -> None:
    assert launch("-m", *good, "strategy=greedy,beam").code == 0
    assert exported("greedy", "-o", "winner") == exported("greedy", "-o", "winner")
    before = Path("winner/generation_config.json").read_bytes()
    done = launch("export", "results/x", "beam", "-o", "winner")
    assert done.code == 3
    there = "winner/generation_config.json: is there, and says something else; allowed is a new folder (-o FOLDER)"
    assert there in done.err
    assert Path("winner/generation_config.json").read_bytes() == before
    cell = manifest()["cells"][1]["id"]
    assert f"wrote results/x/export/{cell}/generation_config.json" in exported("beam")


def test_cells_by_id_label_and_strategy(good: list[str]) -> None:
    grid = ["strategy=top_p", "strategy.top_p=0.5,0.9", "seed=1,2"]
    assert launch("-m", *good, *grid).code == 0
    cells = {(cell["strategy"], cell["seed"]): cell["id"] for cell in manifest()["cells"]}
    by_id = exported(cells["top_p top_p=0.9", 2])
    assert exported("top_p top_p=0.9 · seed=2") == by_id
    done = launch("export", "results/x", "top_p top_p=0.9")
    assert (done.code, done.out) == (3, "")
    assert "export top_p top_p=0.9: names 2 cells; allowed is one of " in done.err
    assert cells["top_p top_p=0.9", 1] in done.err
    done = launch("export", "results/x", "top_p top_p=0.7")
    assert "export top_p top_p=0.7: no such cell; allowed: " in done.err
    assert "did you mean top_p top_p=0." in done.err


def test_a_cell_that_failed_has_no_export(good: list[str]) -> None:
    broken = ["strategy=greedy", "++strategy.name=broken", "strategy._target_=own_strategies.Broken"]
    assert launch("-m", *good, "strategy=greedy,beam", "strategy.num_beams=3").code == 3
    assert launch("-m", *good, *broken).code == 1
    file = Path("results/x/manifest.json")
    said = json.loads(file.read_text(encoding="utf-8"))
    said["cells"][0]["generation_config"] = None
    file.write_text(json.dumps(said), encoding="utf-8")
    done = launch("export", "results/x", "broken")
    assert done.code == 3
    assert "export results/x broken: this cell was not decoded; allowed is one that did not fail" in done.err


def test_a_folder_without_effect_is_an_error(good: list[str]) -> None:
    assert launch(*good, *OWN).code == 0
    done = launch("export", "results/x", "third", "-o", "winner")
    assert (done.code, done.err) == (
        3,
        "decodebench: error: -o winner: has no effect, no GenerationConfig says third; allowed is no -o\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "export: takes a run folder and a cell, as in: export results/NAME CELL [-o FOLDER] [--texts N]"),
        (["export", "results/x"], "export: takes a run folder and a cell"),
        (["export", "results/x", "greedy", "-o"], "export -o: must have one value after it (see export --help)"),
        (["export", "results/x", "greedy"], "results/x: there is no such folder; allowed: the folder of a run"),
        (["strategies", "topp"], "strategies topp: allowed: "),
        (["strategies", "a", "b"], "strategies: takes one name or none, as in: strategies top_p"),
    ],
)
def test_bad_arguments_get_one_line(arguments: list[str], message: str) -> None:
    done = launch(*arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert done.err.startswith(f"decodebench: error: {message}")


# --- strategies -----------------------------------------------------------------------------------------------------

TABLES = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")


def test_the_list_has_every_strategy_and_fits_120_columns() -> None:
    done = launch("strategies")
    assert (done.code, done.err) == (0, "")
    shown = re.findall(r"^(\w+)  ", done.out, re.M)
    assert shown[1:] == sorted(catalogue())
    assert max(map(len, done.out.splitlines())) <= 120
    assert re.search(
        r"^top_p +temperature 1.0, top_p 0.9, num_return_sequences 3 +Holtzman et al. 2020$", done.out, re.M
    )


def test_sources_are_those_of_the_docs() -> None:
    """Every paper that the page names for a strategy, its class names too (or the yaml of a rule without a class)."""
    page = {
        name: re.findall(r"[A-Z][\w-]+(?: and [A-Z]\w+| et al\.)? \d{4}", row.split("|")[3])
        for name, row in re.findall(r"^\| `(\w+)` (\|.*)$", TABLES.split("\n## ")[0], re.M)
    }
    for name, one in catalogue().items():
        assert [cited for cited in page[name] if cited not in "; ".join(one.sources)] == [], name


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "strategy").glob("*.yaml")))
def test_one_in_full(name: str) -> None:
    done = launch("strategies", name)
    assert (done.code, done.err) == (0, "")
    shown = entry(name)
    assert shown.text in done.out
    keys = re.findall(r"^  strategy\.(\w+)=", done.out, re.M)
    assert keys == [*shown.numbers, *shown.rules]
    assert "\ngenerate: " in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 120
