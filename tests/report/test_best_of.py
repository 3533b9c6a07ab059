"""The plot of what more settings would find: drawn of a choice, and of no other run."""

from typing import Any, cast

from decodebench.report.comparison import Comparison
from decodebench.report.plots import LeftOut, Plot, draw_all
from decodebench.report.plots.best_of import best_of_plot
from decodebench.store import StoredChoice


def choice(**curves: list[float]) -> StoredChoice:
    families: dict[str, Any] = {
        name: {
            "best": name,
            "default": name,
            "trials": len(curve),
            "optimism": 0.1,
            "curve": curve,
            "curve_low": [value - 0.1 for value in curve],
            "curve_high": [value + 0.1 for value in curve],
        }
        for name, curve in curves.items()
    }
    return cast("StoredChoice", {"by": "task", "families": families})


def test_a_line_for_each_family_and_one_across_for_a_single_setting() -> None:
    plot = best_of_plot(choice(top_p=[0.4, 0.5, 0.55], greedy=[0.3]))
    assert isinstance(plot, Plot)
    assert "Dotted: families of one setting." in plot.caption
    assert "Bands (95%) are over prompts." in plot.caption
    assert "Bands" not in cast("Plot", best_of_plot(choice(**{f"f{n}": [0.1, 0.2] for n in range(6)}))).caption
    one = best_of_plot(choice(greedy=[0.3], beam=[0.4]))
    assert isinstance(one, LeftOut)
    assert one.reason == "no family has several settings"


def test_only_a_choice_has_it() -> None:
    nothing = Comparison(rows=(), metrics=())
    assert "best_of_n" not in [plot.name for plot in draw_all(nothing)]
    assert draw_all(nothing, choice=choice(top_p=[0.4, 0.5]))[0].name == "best_of_n"
