"""conf/ -> typed configuration: every yaml can be used, and what is wrong in one is said in one line."""

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from decodebench import strategies
from decodebench.errors import ConfigError
from decodebench.plan.config import GROUPS, LatencyConfig, build_strategy, conf_dir, job_config, typed
from decodebench.plan.served import settled
from decodebench.strategies import Greedy, Strategy, TopP
from launches import compose

CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((conf_dir() / group).glob("*.yaml"))]
NEEDED = {
    ("model", "hub"): "model.id=owner/name",
    ("model", "local"): "model.path={model}",
    ("prompts", "file"): "prompts.path=prompts.jsonl",
    ("prompts", "hub"): "prompts.id=owner/name",
}
"""What a choice asks of its user."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A config with a field of each kind."""

    whole: int
    real: float = 1.0
    flag: bool = False
    text: str = "a"
    maybe: int | None = None
    choice: Literal["a", "b"] = "a"
    anything: Any = None


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=[f"{group}={choice}" for group, choice in CHOICES])
def test_every_choice_of_conf_is_a_valid_job(
    group: str, choice: str, tiny_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decodebench.models.packaged.check_available", lambda: None)
    needed = NEEDED.get((group, choice))
    extra = [needed.format(model=tiny_dirs["llama"])] if needed else []
    cfg = compose(f"{group}={choice}", *extra)
    job = job_config(cfg)
    if group not in ("engine", "metrics", "scorer"):
        assert job.resolved[group]["name"] == choice, "a yaml is named as its file"
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    assert plain | {"strategy": settled(plain["strategy"], {})} == job.resolved


def test_every_strategy_class_has_a_yaml_with_all_of_its_numbers_and_no_other() -> None:
    found = {}
    for path in (conf_dir() / "strategy").glob("*.yaml"):
        node = compose(f"strategy={path.stem}").strategy
        kind = getattr(strategies, str(node._target_).removeprefix("decodebench.strategies."))
        if "do_sample" in node and kind is strategies.Sample:  # read from the model: what then holds is another class
            node = {key: value for key, value in node.items() if key != "do_sample"}
        found[kind] = sorted(set(node) - {"name", "_target_"})
    public = [getattr(strategies, name) for name in strategies.__all__]
    concrete = [
        kind for kind in public if inspect.isclass(kind) and issubclass(kind, Strategy) and not inspect.isabstract(kind)
    ]
    assert found == {kind: sorted(f.name for f in fields(kind)) for kind in concrete}


def test_the_numbers_of_the_issue() -> None:
    def numbers(name: str, *keys: str) -> list[Any]:
        node = compose(f"strategy={name}").strategy
        return [node[key] for key in keys]

    beam = ("num_beams", "no_repeat_ngram_size", "num_return_sequences", "early_stopping")
    assert numbers("beam", *beam) == [5, 2, 5, True]
    assert numbers("sample", "top_k", "top_p", "temperature", "num_return_sequences") == [50, 0.95, 0.75, 3]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"whole": "abc"}, "key.whole=abc: must be a whole number"),
        ({"whole": 1.5}, "key.whole=1.5: must be a whole number"),
        ({"whole": None}, "key.whole=None: must be a whole number"),
        ({"whole": 1, "real": "x"}, "key.real=x: must be a number"),
        ({"whole": 1, "flag": "maybe"}, "key.flag=maybe: must be true or false"),
        ({"whole": 1, "maybe": "x"}, "key.maybe=x: must be a whole number or null"),
        ({"whole": 1, "text": [1]}, "key.text=[1]: must be a text"),
        ({"whole": 1, "wole": 2}, "key.wole=2: has no effect with key=default; allowed: "),
        ({}, "missing 1 required keyword-only argument: 'whole'"),
    ],
)
def test_what_typed_refuses(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        typed(Numbers, node, "key")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_typed_keeps_defaults_and_turns_whole_numbers_into_real_ones() -> None:
    assert typed(Numbers, {"whole": 3, "real": 2, "anything": [1, {"a": 2}]}, "key") == Numbers(
        whole=3, real=2.0, anything=[1, {"a": 2}]
    )


@settings(max_examples=50, deadline=None)
@given(
    whole=st.integers(-(2**53), 2**53),
    real=st.floats(allow_nan=False),
    flag=st.booleans(),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="${}\\?")),
    maybe=st.none() | st.integers(-9, 9),
)
def test_typed_gives_back_what_is_of_the_right_type(
    whole: int, real: float, flag: bool, text: str, maybe: int | None
) -> None:
    node: dict[str, Any] = {"whole": whole, "real": real, "flag": flag, "text": text, "maybe": maybe}
    assert typed(Numbers, node, "key") == Numbers(**node)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"name": "x"}, "a strategy's yaml has `name` and `_target_`"),
        ({"_target_": "decodebench.strategies.Greedy"}, "a strategy's yaml has `name` and `_target_`"),
        ({"name": "x", "_target_": "no.such.module.X"}, "strategy._target_=no.such.module.X: cannot be imported"),
        ({"name": "x", "_target_": "decodebench.strategies.Gredy"}, "strategy._target_=decodebench.strategies.Gredy:"),
        ({"name": "x", "_target_": "Greedy"}, "strategy._target_=Greedy: cannot be imported"),
        ({"name": "x", "_target_": "pathlib.Path"}, "is no subclass of decodebench.strategies.Strategy"),
        (
            {"name": "nucleus", "_target_": "decodebench.strategies.TopP", "top_q": 0.9},
            "strategy.top_q=0.9: has no effect with strategy=nucleus; allowed: ",
        ),
    ],
)
def test_what_is_no_strategy(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build_strategy(node)
    assert message in str(raised.value)


def test_a_strategy_is_built_from_its_yaml() -> None:
    assert build_strategy({"name": "x", "_target_": "decodebench.strategies.TopP", "top_p": 0.5}) == TopP(top_p=0.5)
    assert job_config(compose("strategy=greedy")).strategy == Greedy()


@pytest.mark.parametrize(
    ("key", "value", "allowed"), [("rounds", 2, 3), ("warmups", 0, 1), ("prompts", 0, 1), ("new_tokens", 1, 2)]
)
def test_the_least_that_can_be_timed(key: str, value: int, allowed: int) -> None:
    enough = {"warmups": 1, "rounds": 3, "prompts": 1, "new_tokens": 2}
    LatencyConfig(name="enough", **enough)
    with pytest.raises(ConfigError, match=f"latency.{key}={value}: allowed is {allowed} or more"):
        LatencyConfig(name="too_little", **(enough | {key: value}))


def test_rounds_0_leave_the_timed_pass_out() -> None:
    assert LatencyConfig(name="skip", warmups=0, rounds=0, prompts=0, new_tokens=0).rounds == 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "", "name=: allowed is one folder name, created below results=results"),
        ("name", "..", "name=..: allowed is one folder name"),
        ("name", "a\\b", "name=a\\b: allowed is one folder name"),
        ("name", None, "name=None: allowed is one folder name"),
        ("results", "", "results=: allowed is the path of a folder"),
        ("results", ["a"], "results=['a']: allowed is the path of a folder"),
        ("seed", -1, "seed=-1: allowed is a whole number, 0 or more"),
        ("seed", True, "seed=True: allowed is a whole number, 0 or more"),
        ("seed", 1.0, "seed=1.0: allowed is a whole number, 0 or more"),
        ("latency", None, "latency=None: is missing; allowed is a name of conf/latency"),
        ("latncy", {"a": 1}, "latncy={'a': 1}: unknown key; allowed: "),
    ],
)
def test_keys_of_the_run(key: str, value: Any, message: str) -> None:
    cfg = compose().copy()
    OmegaConf.set_struct(cfg, False)
    cfg[key] = value
    with pytest.raises(ConfigError) as raised:
        job_config(cfg)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("key", ["seed", "name", "results", "latency"])
def test_a_key_that_was_deleted_is_missed(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=None: "):
        job_config(compose(f"~{key}"))


def test_a_name_may_be_a_number() -> None:
    assert job_config(compose("name=2024")).name == "2024"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("scorer.id=./nowhere", r"^scorer\.id=\./nowhere: there is no such file or folder; allowed is null, self "),
        ("scorer.id=model.gguf", r"^scorer\.id=model\.gguf: there is no such file or folder; allowed is null, self "),
        ("scorer.id=.", r"^scorer\.id=\.: the folder has no weights"),
        ("scorer.id=prompts.jsonl", r"^scorer\.id=prompts\.jsonl: not a GGUF file"),
        ("scorer.dtype=float32", r"^scorer\.dtype=float32: has no effect with scorer\.id=null; allowed is auto"),
        ("scorer.id=self scorer.dtype=float32", r"^scorer\.dtype=float32: has no effect with scorer\.id=self; allowed"),
        (
            "scorer.id=a/b scorer.dtype=float31",
            r"^scorer\.dtype=float31: unknown; allowed: auto, bfloat16, .* float32\?",
        ),
        ("++scorer.device=cpu", r"^scorer\.device=cpu: has no effect with scorer=default; allowed: dtype, id"),
    ],
)
def test_what_is_no_scorer(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dirs: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        job_config(compose("model=local", f"model.path={tiny_dirs['llama']}", *arguments.split()))
