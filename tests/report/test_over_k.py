"""The plot of a task against the number of samples: drawn where several samples were judged, and not without a task."""

from dataclasses import replace

import pytest

from decodebench.records import CurvePoint, Judgement, Measurement
from decodebench.report.comparison import Comparison, Metric, Row
from decodebench.report.plots import LeftOut, Plot, draw_all
from decodebench.report.plots.over_k import over_k_plot
from decodebench.report.texts import PromptTexts
from metrics_data import generation


def row(cell: str, value: float | None) -> Row:
    measured = Measurement(
        cell=cell,
        model="m",
        strategy=cell,
        metric="task",
        value=value,
        reason=None if value is not None else "no text could be judged",
        unit="1",
        direction="higher",
        n=20,
        ci_low=None,
        ci_high=None,
        version="1.r",
    )
    return Row(
        cell=cell,
        label=cell,
        model="m",
        prompts="p",
        strategy=cell,
        seed=0,
        error=None,
        measured={"task": measured},
    )


def points(cell: str, *values: float | None) -> list[CurvePoint]:
    return [
        CurvePoint(
            cell=cell,
            model="m",
            strategy=cell,
            curve=curve,
            unit="samples",
            start=k,
            stop=k + 1,
            value=value,
            reason=None,
            n=20,
            ci_low=None if value is None else value - 0.1,
            ci_high=None if value is None else value + 0.1,
            version="1.r",
        )
        for curve in ("pass_at_k", "majority_at_k")
        for k, value in enumerate(values, start=1)
    ]


TASK = Metric(name="task", unit="1", direction="higher")
TWO = Comparison(rows=(row("greedy", 0.5), row("sample", 0.4)), metrics=(TASK,))


def test_samples_are_lines_with_bands_and_one_sample_is_a_line_across() -> None:
    plot = over_k_plot(TWO, points("sample", 0.4, 0.6, None))
    assert isinstance(plot, Plot)
    assert plot.png.startswith(b"\x89PNG")
    assert "Dotted: cells of one sample." in plot.caption
    assert plot.caption.endswith("Bands are intervals.")
    many = Comparison(rows=tuple(row(f"t{n}", 0.4) for n in range(6)), metrics=(TASK,))
    crowded = over_k_plot(many, [point for n in range(6) for point in points(f"t{n}", 0.4, 0.6)])
    assert isinstance(crowded, Plot)
    assert "Bands" not in crowded.caption


def test_without_samples_it_is_left_out_and_without_a_task_nobody_speaks_of_it() -> None:
    left_out = over_k_plot(TWO, [])
    assert isinstance(left_out, LeftOut)
    assert left_out.reason == "no prompt has several judged samples"
    plain = Comparison(rows=TWO.rows, metrics=(Metric(name="diversity", unit="1", direction="higher"),))
    assert "task_samples" not in [plot.name for plot in draw_all(plain)]
    assert draw_all(TWO)[0].name == "task_samples"


@pytest.mark.parametrize(
    ("value", "answer", "reason", "said"),
    [
        (1.0, "Oslo", None, "right · answer: Oslo"),
        (0.0, "a\nb", None, "wrong · answer: a b"),
        (0.0, None, None, "wrong · no answer"),
        (0.25, "x", None, "task 0.250 · answer: x"),
        (None, None, "it raised", "not judged: it raised"),
    ],
)
def test_a_text_says_what_the_task_says_of_it(
    value: float | None, answer: str | None, reason: str | None, said: str
) -> None:
    text = generation([1], sample=1)
    judged = Judgement(cell="c1", prompt_id="p1", sample=1, answer=answer, value=value, reason=reason)
    prompt = PromptTexts(
        prompt_id="p1", prompts="set", prompt="?", columns=(), references=("Oslo", "오슬로"), judged={("c1", 1): judged}
    )
    assert prompt.said(text) == said
    assert prompt.said(replace(text, sample=0)) == ""
    assert prompt.accepted == "accepted: Oslo; 오슬로"


def test_a_prompt_says_how_many_of_its_texts_are_right() -> None:
    def titled(*values: float | None) -> str:
        judged = {
            ("c1", n): Judgement(cell="c1", prompt_id="p1", sample=n, answer="x", value=value, reason=None)
            for n, value in enumerate(values)
        }
        return PromptTexts(prompt_id="p1", prompts="set", prompt="?", columns=(), judged=judged).title

    assert titled(1, 0, 1, None) == "set · p1 · 2 of 3 right"
    assert titled(0.5, 1) == "set · p1 · task 0.750"
    assert titled() == titled(None) == "set · p1"
