"""What more trials would find: the expected best of N settings of each family on the prompts that chose."""

from matplotlib.ticker import MaxNLocator

from decodebench.report.fonts import drawable
from decodebench.report.plots.drawing import LeftOut, Plot, beside_a_legend, finished, looks
from decodebench.store import StoredChoice

NAME, TITLE = "best_of_n", "The best of N settings"
MOST_BANDS = 5
"""Bands of more families would cover each other; they are in choice.json."""


def best_of_plot(choice: StoredChoice) -> Plot | LeftOut:
    """A line for each family over the number of its settings, with its band; one of a single setting goes across."""
    families = choice["families"]
    longest = max((len(family["curve"]) for family in families.values()), default=0)
    if longest < 2:
        return LeftOut(name=NAME, title=TITLE, reason="no family has several settings")
    banded = len(families) <= MOST_BANDS
    figure = beside_a_legend(len(families))
    panel = figure.subplots()
    for at, (name, family) in enumerate(families.items()):
        colour, marker = looks(at)
        if len(family["curve"]) == 1:
            panel.axhline(family["curve"][0], color=colour, linewidth=1.2, linestyle=":", label=drawable(name))
            continue
        trials = range(1, len(family["curve"]) + 1)
        panel.plot(trials, family["curve"], color=colour, marker=marker, markersize=3.5, label=drawable(name))
        low, high = family["curve_low"], family["curve_high"]
        if banded and low is not None and high is not None:
            panel.fill_between(trials, low, high, color=colour, alpha=0.1, linewidth=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("settings tried")
    panel.set_ylabel(f"expected best {choice['by']}")
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5)
    caption = [
        "The best value among N settings of a family, expected over all subsets of those that were tried, on the "
        "prompts that chose: it contains their luck, and says what more trials are worth, not how good the best is. "
        "A line that still rises says that more trials would find more."
    ]
    if any(len(family["curve"]) == 1 for family in families.values()):
        caption.append("Dotted: families of one setting.")
    if banded:
        caption.append("Bands (95%) are over prompts.")
    return finished(figure, name=NAME, title=TITLE, caption=caption)
