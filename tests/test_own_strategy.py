"""docs/own_strategy.md, run as it stands: a strategy in a folder of one's own, launched, resumed and exported."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from launches import PROMPTS, launch, manifest, one_thread, texts, without_report, write_prompts

PAGE = (Path(__file__).parents[1] / "docs/own_strategy.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
SWEEP, NUMBERS, EXPORT = (shlex.split(line) for line in re.findall(r"^python -m decodebench (.*)$", PAGE, re.M))

threads = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with the page's files, where `python -m` would find the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECODEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    without_report(monkeypatch)
    write_prompts(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "my_pkg"]:
        del sys.modules[name]


@pytest.fixture
def small(tiny_dirs: dict[str, Path]) -> list[str]:
    """What makes the page's commands small."""
    model = ["model=local", f"model.path={tiny_dirs['llama']}", "model.device=cpu", "latency=skip"]
    return [*model, "prompts=file", "prompts.path=prompts.jsonl", "strategy.max_new_tokens=8"]


def decoded() -> tuple[int, int]:
    """Texts stored before, and texts decoded by the last command."""
    counts = manifest("mine")["counts"]
    return counts["requests_stored_before"], counts["requests_decoded"]


def test_the_sweep_of_the_page(small: list[str]) -> None:
    assert launch(*SWEEP, *small).code == 0
    assert {
        (cell["strategy"], cell["id"] in {g.cell for g in texts("mine")}) for cell in manifest("mine")["cells"]
    } == {
        ("top_p", True),
        ("sure_or_draw", True),
    }
    assert decoded() == (0, 2 * 3 * len(PROMPTS))


def test_a_sweep_of_its_numbers(small: list[str]) -> None:
    assert launch(*NUMBERS, *small).code == 0
    cells = manifest("how_sure")["cells"]
    assert [cell["strategy"] for cell in cells] == ["sure_or_draw sure=0.4", "sure_or_draw sure=0.8"]
    low, high = ([g.token_ids for g in texts("how_sure") if g.cell == cell["id"]] for cell in cells)
    assert low != high


def test_it_resumes_and_grows(small: list[str]) -> None:
    alone = [word.replace("top_p,", "") for word in SWEEP if word != "-m"]
    assert launch(*alone, *small).code == 0
    first = {(g.prompt_id, g.sample): g.token_ids for g in texts("mine")}
    assert decoded() == (0, 9)
    assert launch(*SWEEP, *small).code == 0
    assert decoded() == (9, 9)
    own = next(cell["id"] for cell in manifest("mine")["cells"] if cell["strategy"] == "sure_or_draw")
    assert {(g.prompt_id, g.sample): g.token_ids for g in texts("mine") if g.cell == own} == first


@pytest.mark.parametrize("launcher", ["packed", "basic"])
def test_a_search_path_does_as_well(launcher: str, small: list[str]) -> None:
    """By both launchers, and with the same texts as by the flag."""
    words = [word for word in SWEEP if word not in ("--config-dir", "my_conf")]
    path = f"hydra.searchpath=[file://{Path('my_conf').absolute()}]"
    assert launch(*words, *small, path, f"hydra/launcher={launcher}", "name=by_path").code == 0
    assert launch(*SWEEP, *small).code == 0
    assert [g.token_ids for g in texts("by_path")] == [g.token_ids for g in texts("mine")]


def test_the_export_of_the_page_gives_the_texts_of_the_run(small: list[str], tiny_dirs: dict[str, Path]) -> None:
    assert launch(*SWEEP, *small).code == 0
    first = [g for g in texts("mine") if g.prompt_id == PROMPTS[0]["id"] and g.strategy == "sure_or_draw"]
    done = launch(*EXPORT, f"--texts={len(first)}")  # as many as the run has; by default one
    assert done.code == 0
    assert "from my_pkg.sure_or_draw import SureOrDraw" in done.out
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_dirs["llama"])
    for prompt in PROMPTS:
        names: dict[str, Any] = {
            "model": AutoModelForCausalLM.from_pretrained(tiny_dirs["llama"]),
            "tokenizer": tokenizer,
            "inputs": tokenizer(prompt["text"], return_tensors="pt"),
        }
        exec(done.out, names)  # what a user would paste
        new = names["out"][:, names["inputs"]["input_ids"].shape[1] :]
        stored = [g for g in texts("mine") if g.prompt_id == prompt["id"] and g.strategy == "sure_or_draw"]
        assert [ids[: len(g.token_ids)] for ids, g in zip(new.tolist(), stored, strict=True)] == [
            list(g.token_ids) for g in stored
        ]


def test_a_bad_number_of_it_gets_one_line(small: list[str]) -> None:
    done = launch(*SWEEP[:2], "strategy=sure_or_draw", *small, "strategy.sure=2")
    assert (done.code, done.err) == (
        3,
        "decodebench: error: strategy.sure=2.0: allowed is above 0, at most 1\n",
    )


def test_a_name_that_decodebench_has_is_an_error(small: list[str]) -> None:
    """Hydra would take decodebench's own file, and the user's would have no effect."""
    Path("my_conf/strategy/sure_or_draw.yaml").rename("my_conf/strategy/top_p.yaml")
    for words in (["--config-dir", "my_conf"], [f"hydra.searchpath=[file://{Path('my_conf').absolute()}]"]):
        done = launch(*words, "strategy=top_p", *small, "name=x")
        assert done.code == 3
        hidden = (
            "my_conf/strategy/top_p.yaml: has the name of a file of decodebench, which comes first; allowed is another"
        )
        assert hidden in done.err
