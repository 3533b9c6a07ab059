"""What texts were to keep to: forbidden and forced texts on byte-level tokenizers, ids without a text."""

import json
from pathlib import Path
from typing import Any

import pytest

from decodebench.errors import ConfigError
from decodebench.metrics import Rules, broken_rules, corpus, score
from decodebench.metrics.options import MetricsConfig
from decodebench.models.loading import release
from decodebench.records import Generation
from decodebench.strategies import ConstrainedBeam, Greedy
from launches import launch, manifest, one_thread, texts, without_plots
from metrics_data import generation
from tiny import build_model, build_tiny, build_tokenizer


def measured(found: list[Generation], rules: Rules) -> dict[str, tuple[float | None, str | None]]:
    scored = score(corpus(found, rules=rules), MetricsConfig(leading=0))
    return {each.name: (each.value, each.reason) for each in scored}


TEXTS = [
    generation([1, 70], prompt_id="a", text="합니다"),
    generation([70, 71, 2], prompt_id="b", text="비가 온다", finish_reason="eos"),
    generation([3], prompt_id="c", text="비"),
]
RULES = Rules(bad_words=("다", "눈"), force_words=("비",), unused_ids=((64, 95),))


def test_texts_that_break_a_rule_are_counted() -> None:
    found = measured(TEXTS, RULES)
    assert found["bad_words_share"][0] == pytest.approx(2 / 3)
    assert found["lacks_force_words_share"][0] == pytest.approx(1 / 3)
    # 1 of 2, 2 of 2 (the EOS is left out) and 0 of 1 tokens; sums are averaged over the prompts: 3 / 5
    assert found["unused_token_share"][0] == pytest.approx(3 / 5)


def test_without_a_rule_there_is_no_value_and_the_reason_is_said() -> None:
    found = measured(TEXTS, Rules())
    for name in ("bad_words_share", "lacks_force_words_share", "unused_token_share"):
        value, reason = found[name]
        assert value is None
        assert reason


def test_broken_rules_are_lines_with_counts_for_each_word() -> None:
    lines = {each.metric: each.line for each in broken_rules(corpus(TEXTS, rules=RULES))}
    assert lines["bad_words_share"].startswith("2 of 3 texts contain what strategy.bad_words forbids ('다' 2)")
    assert lines["lacks_force_words_share"].startswith("1 of 3 texts lack what strategy.force_words forces ('비' 1)")
    assert lines["unused_token_share"].startswith("2 of 3 texts have tokens")
    assert "ids 64 to 95" in lines["unused_token_share"]
    assert "model.mask_unused=true" in lines["unused_token_share"]
    kept = Rules(bad_words=("눈",), force_words=(), unused_ids=((96, 99),))
    assert broken_rules(corpus(TEXTS, rules=kept)) == []


def test_of_a_search_the_best_text_is_held_to_the_rules() -> None:
    ranked = [generation([1], sample=n, text=text, is_search=True) for n, text in enumerate(("비", "온다"))]
    assert [each.metric for each in broken_rules(corpus(ranked, rules=RULES))] == []


# --- an empty entry is named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "key", "value"),
    [
        (Greedy, "bad_words", ["다", ""]),
        (Greedy, "bad_words", ["다", 3]),
        (ConstrainedBeam, "force_words", ["다", ""]),
        (Greedy, "sequence_bias", {"다": 1.0, "": 2.0}),
    ],
)
def test_an_empty_entry_is_named(make: Any, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"strategy\.{key}: entry 2 of 2 is ('|3)"):
        make(**{key: value})


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    without_plots(monkeypatch)
    prompts = [
        {"id": str(n), "text": text} for n, text in enumerate(("오늘은 비가", "고양이는", "우리는 주말", "할머니"))
    ]
    lines = "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)
    (tmp_path / "prompts.jsonl").write_text(lines, encoding="utf-8")
    yield from one_thread()
    release()


def run(*arguments: str, name: str = "x") -> list[Generation]:
    where = ("model=local", "model.path=model", "prompts=file", "prompts.path=prompts.jsonl", "latency=skip")
    done = launch("-m", *where, f"name={name}", *arguments)
    assert done.code == 0, done.err
    return texts(name)


def warnings(name: str = "x") -> list[str]:
    return [entry["warning"] for entry in manifest(name)["warnings"]]


@pytest.mark.usefixtures("here")
def test_ids_without_a_text_are_drawn_counted_said_and_masked(tmp_path: Path) -> None:
    # a head of 432 rows over 400 tokens, all as likely: what pads a head is not always small
    tokenizer = build_tokenizer("llama")
    build_model("llama", 432).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    many = ("strategy=temperature", "strategy.temperature=2", "strategy.num_return_sequences=8")
    drawn = [token for text in run(*many) for token in text.token_ids]
    assert any(token >= 400 for token in drawn)
    assert manifest()["models"]["local"]["unused_ids"] == [[400, 431]]
    (warning,) = warnings()
    assert "ids 400 to 431" in warning
    assert warning in Path("results/x/report.md").read_text(encoding="utf-8").replace("\\", "")
    # said once, however often the run is scored again
    assert launch("score", "results/x").code == 0
    assert warnings() == [warning]

    every = "greedy,temperature,beam,dola,contrastive_search,assisted,stochastic_beam,mbr"
    masked = run(f"strategy={every}", "strategy.max_new_tokens=8", "model.mask_unused=true", name="y")
    assert len({text.cell for text in masked}) == 8
    assert all(token < 400 for text in masked for token in text.token_ids)
    assert warnings("y") == []
    # what is deployed masks them too
    assert all(cell["generation_config"]["suppress_tokens"] == [*range(400, 432)] for cell in manifest("y")["cells"])


@pytest.mark.usefixtures("here")
def test_a_forbidden_text_in_other_tokens_is_said(tmp_path: Path) -> None:
    build_tiny("llama", tmp_path / "model")
    found = run(
        *("strategy=temperature", "strategy.bad_words=['\uc740','\ub294']", "strategy.max_new_tokens=48"),
        "strategy.num_return_sequences=8",
    )
    containing = sum("은" in text.text or "는" in text.text for text in found)
    assert [warning.split(" texts")[0] for warning in warnings()] == ([f"{containing} of 32"] if containing else [])
    assert containing
