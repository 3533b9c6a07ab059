"""Whole choices on a tiny model: decoded, killed, gone on with, made again of what is stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from decodebench.choosing import choose_stored, configured, flow
from decodebench.models.loading import release
from launches import launch, manifest, one_thread, texts, without_plots
from tiny import build_tiny

MODEL = ("model=local", "model.path=model", "prompts=file", "prompts.path=prompts.jsonl")
CHOICE = (
    *("-m", "experiment=choose", *MODEL, "choose.by=diversity", "strategy.max_new_tokens=12", "metrics.leading=0"),
    *("choose.families=[greedy,top_p]", "choose.trials=2", "name=x"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    build_tiny("llama", tmp_path / "model")
    prompts = [{"id": f"p{n}", "text": f"the cat {n} sat on mat {n * 7}", "reference": "b"} for n in range(20)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    yield from one_thread()
    release()


def choice(name: str = "x") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("results", name, "choice.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.usefixtures("here")
def test_a_choice_from_its_families_to_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    done = launch(*CHOICE)
    assert done.code == 0, done.err
    found = choice()
    # 1 setting of greedy and 2 of top_p on 10 prompts; on the 10 others greedy, top_p's default and its best
    assert {family: each["trials"] for family, each in found["families"].items()} == {"greedy": 1, "top_p": 2}
    assert sorted([*found["split"]["select"], *found["split"]["confirm"]]) == sorted(f"p{n}" for n in range(20))
    cells = {cell["id"]: cell for cell in manifest()["cells"]}
    side = {cell: "select" if cells[cell]["prompts"].endswith("(select)") else "confirm" for cell in cells}
    for text in texts():
        assert text.prompt_id in found["split"][side[text.cell]]
    assert list(side.values()).count("select") == 3
    assert {cells[cell]["strategy"] for cell in cells if side[cell] == "confirm"} == {
        one["strategy"] for one in found["contenders"]
    }
    assert {cell["seed"] for cell in cells.values()} == {0, 1}
    assert cells[found["cell"]]["strategy"] == found["recommended"]
    assert "prompts confirm: only large differences can be shown" in found["split"]["limits"]
    # the sentence comes first, wherever one looks
    assert done.out.split("\n\n")[0].replace("\n", " ").endswith(found["sentence"].replace("\n", " "))
    page = Path("results/x/report.html").read_text(encoding="utf-8")
    assert page.index('<p class="choice">') < page.index('id="comparison"')
    assert "## Choice by diversity" in Path("results/x/report.md").read_text(encoding="utf-8")

    # Stopped after the first half, it goes on to the same end. (Its plots were drawn above.)
    without_plots(monkeypatch)
    whole = flow._execute
    with monkeypatch.context() as patched:
        patched.setattr(flow, "_execute", lambda jobs, *rest: whole(jobs, *rest) if len(jobs) == 3 else stop())
        with pytest.raises(RuntimeError, match="stopped here"):
            launch(*CHOICE, "name=y")
    assert not Path("results/y/choice.json").exists()
    assert launch(*CHOICE, "name=y").code == 0
    assert choice("y") == found


@pytest.mark.usefixtures("here")
def test_a_race_decodes_less_and_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plots(monkeypatch)
    prompts = [{"id": f"p{n}", "text": f"the cat {n} sat on mat {n * 7}"} for n in range(80)]
    Path("prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    # where one token is kept, the three samples of a prompt are equal
    ranges = "choose.search={top_p: {top_p: [0.01, 1.0]}, top_k: {top_k: [1, 9]}}"
    race = (*CHOICE, "choose.race=true", "choose.families=[top_p,top_k]", "choose.trials=3", ranges)
    race = (*race, "choose.by=self_bleu", "strategy.max_new_tokens=6")
    assert launch(*race).code == 0
    found = choice()
    assert (len(found["split"]["select"]), found["race"]["rounds"]) == (40, [16, 24])
    assert found["race"]["dropped"] == {"top_p top_p=0.01": 16, "top_k top_k=1": 16}
    assert (found["race"]["texts"], found["race"]["texts_saved"]) == (3 * (6 * 16 + 4 * 24), 3 * 2 * 24)
    selecting = {cell["id"] for cell in manifest()["cells"] if "(select" in cell["prompts"]}
    assert sum(text.cell in selecting for text in texts()) == found["race"]["texts"]
    # each family's curve is over the prompts that all of it saw
    assert {len(family["curve"]) for family in found["families"].values()} == {3}
    page = Path("results/x/report.md").read_text(encoding="utf-8")
    assert "A race in rounds of 16, 24 prompts: 144 of 720 texts to choose by were not decoded." in page

    whole = flow._execute
    with monkeypatch.context() as patched:
        patched.setattr(flow, "_execute", lambda jobs, *rest: whole(jobs, *rest) if len(jobs) == 6 else stop())
        with pytest.raises(RuntimeError, match="stopped here"):
            launch(*race, "name=y")
    assert launch(*race, "name=y").code == 0
    assert choice("y") == found
    choose_stored(Path("results/y"), configured(Path("results/y")))
    assert choice("y") == found


def stop() -> Any:
    raise RuntimeError("stopped here")


@pytest.mark.usefixtures("here")
def test_a_choice_among_the_strategies_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plots(monkeypatch)
    run = (*MODEL, "latency=skip", "strategy.max_new_tokens=12", "name=r", "task=contains")
    assert launch("-m", "strategy=greedy,top_k", *run).code == 0
    done = launch("choose", "results/r", "--by", "diversity", "--cost", "computed_tokens", "--export", "winner")
    assert done.code == 0, done.err
    found = choice("r")
    assert set(found["families"]) == {"greedy", "top_k"}
    assert all(each["best"] == each["default"] for each in found["families"].values())
    assert len(found["split"]["confirm"]) == 10
    assert json.loads(Path("winner/generation_config.json").read_text())["do_sample"] == (
        found["recommended"] != "greedy"
    )
    # by the task, where nothing else is said
    folder = Path("results/r")
    assert choose_stored(folder, configured(folder)).by == "task"
    none = choose_stored(folder, configured(folder, split="none", by="diversity"))
    assert none.split.select == none.split.confirm
    assert "Nothing is confirmed" in choice("r")["split"]["limits"]

    for words, line in (
        (("--by", "divrsity"), "choose.by=divrsity: was not measured"),
        (("--require", "empty_share<=-1"), "choose.require=empty_share<=-1: no setting meets it; the closest is"),
        (("--require", "nonsense"), "choose.require=nonsense: allowed is a metric"),
        (("--split", "third"), "choose.split=third: allowed: half, none"),
    ):
        refused = launch("choose", "results/r", *words)
        assert refused.code != 0
        assert line in refused.err
        assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("choose.by=null",), "choose.by=null: there is no task to choose by"),
        (("choose.by=diversty",), "choose.by=diversty: no such metric"),
        (("choose.by=length",), "choose.by=length: neither more nor less"),
        (("choose.by=e2e_s",), "choose.by=e2e_s: this run will not measure it"),
        (("choose.families=[greedy,topp]",), "choose.families=topp: allowed: "),
        (("choose.families=[greedy]",), "there is nothing to choose"),
        (("prompts.limit=19",), "choose.split=half: 19 prompts make halves of 9 and 10"),
        (("choose.search={top_p: {top_p: {low: 0.5, high: 2.0}}}",), "choose.families=top_p: a range leaves"),
        (("seed=1,2",), "choose.families: nothing else can be swept"),
        (("hydra/launcher=basic",), "choose.families: needs a launcher that sees all cells"),
        (("choose.race=true", "choose.split=none"), "choose.race=true: the prompts that report are those that choose"),
        (("choose.require=[empty_share]",), "choose.require=empty_share: allowed is a metric"),
    ],
)
def test_bad_input_gets_one_line(words: tuple[str, ...], line: str) -> None:
    refused = launch(*CHOICE, *words)
    assert refused.code == 3
    assert line in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert not Path("results/x").exists()
