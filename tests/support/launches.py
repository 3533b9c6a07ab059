"""What the tests of whole runs share: launches in this process, and the files that they leave."""

import contextlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from decodebench.__main__ import main
from decodebench.plan.config import conf_dir
from decodebench.records import Generation
from decodebench.report import Report
from decodebench.store.tables import read_records

PROMPTS = (
    {"id": "ko", "text": "오늘은 비가"},
    {"id": "en", "text": "The old boat"},
    {"id": "long", "text": "야! 너는 AI지? 정말로 말을 알아듣니?"},
)
"""Of 10, 7 and 34 tokens of the tiny tokenizer (one more with <bos>)."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a command line gave."""

    code: int
    out: str
    err: str


def launch(*arguments: str) -> Launch:
    """`python -m decodebench ARGUMENTS` in this process, but a key takes its last value: tests vary a good launch."""
    return launch_as_typed(*last_of_each_key(arguments))


def last_of_each_key(arguments: Iterable[str]) -> list[str]:
    """The arguments, a key that comes again in its first place and with its last value; a command line that has both
    is refused.
    """
    found: dict[str | int, str] = {}
    for place, word in enumerate(arguments):
        found[word.split("=")[0].lstrip("+") if re.match(r"[^-=]+=", word) else place] = word
    return list(found.values())


def launch_as_typed(*arguments: str) -> Launch:
    """`python -m decodebench ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return Launch(code=code, out=out.getvalue(), err=err.getvalue())


def write_prompts(folder: Path) -> None:
    """PROMPTS as prompts.jsonl in a folder."""
    lines = "".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in PROMPTS)
    (folder / "prompts.jsonl").write_text(lines, encoding="utf-8")


@cache
def compose(*overrides: str) -> DictConfig:
    """One job as Hydra composes it; do not change it."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return hydra.compose(config_name="config", overrides=["name=x", *overrides])


def node_of(name: str, **numbers: Any) -> dict[str, Any]:
    """The strategy of a yaml as it is composed, with other numbers."""
    node: Any = OmegaConf.to_container(compose(f"strategy={name}").strategy, resolve=True)
    return node | numbers


def one_thread() -> Iterator[None]:
    """Threads only get in each other's way with matrices as small as those of the tiny models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out, which takes longer than a tiny run."""
    monkeypatch.setattr("decodebench.report.render", lambda run_dir: Report(table="", html=run_dir / "report.html"))


def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the report without its plots, which take most of its time."""
    monkeypatch.setattr("decodebench.report.writing.draw_all", lambda *_: [])


def manifest(name: str = "x") -> dict[str, Any]:
    """The manifest of results/<name>."""
    found: dict[str, Any] = json.loads(Path("results", name, "manifest.json").read_text(encoding="utf-8"))
    return found


def texts(name: str = "x") -> list[Generation]:
    """The generations of results/<name>."""
    return read_records(Path("results", name, "generations.parquet"), Generation)
