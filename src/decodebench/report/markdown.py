"""report.md: the run as a page that reads well as plain text and on a code host."""

from collections.abc import Iterator, Sequence

from decodebench.report import summary
from decodebench.report.comparison import Comparison
from decodebench.report.figures import LeftOut, Plot
from decodebench.report.folder import Run
from decodebench.report.formats import markdown_fence, markdown_inline, superscript
from decodebench.report.notes import footnotes, no_interval
from decodebench.report.tables import markdown_all_metrics, markdown_table
from decodebench.report.texts import PromptTexts, by_prompt, facts, heading


def markdown(run: Run, comparison: Comparison, plots: Sequence[Plot | LeftOut]) -> str:
    """The whole page. Images are linked relative to the run folder."""
    blocks = [
        *_opening(run),
        *_comparison(comparison),
        *_failed(comparison),
        *_plots(plots),
        *_details(run, comparison),
        "## Texts",
        *(block for prompt in by_prompt(run, comparison) for block in _texts(prompt)),
    ]
    return "\n\n".join(blocks) + "\n"


def _opening(run: Run) -> Iterator[str]:
    yield f"# {markdown_inline(str(run.manifest.get('name') or run.path.name))}"
    if command := run.manifest.get("command"):
        yield markdown_fence(str(command))
    yield _list([*summary.models(run.manifest), *summary.prompt_sets(run.manifest)])


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield "## Comparison"
    metrics = comparison.headline
    yield markdown_table(comparison, metrics)
    arrows = "↑ higher is better, ↓ lower is better; [low, high] is the interval."
    lines = [f"{superscript(note.mark)} {note.reason} ({note.where})" for note in footnotes(comparison, metrics).notes]
    yield "  \n".join(markdown_inline(line) for line in [arrows, *lines, *no_interval(comparison, metrics)])


def _failed(comparison: Comparison) -> Iterator[str]:
    failed = [(row.label, row.error) for row in comparison.rows if row.error]
    if failed:
        yield "## Failed cells"
        yield _list(failed)


def _plots(plots: Sequence[Plot | LeftOut]) -> Iterator[str]:
    yield "## Plots"
    for plot in plots:
        if isinstance(plot, LeftOut):
            yield markdown_inline(f"{plot.title}: left out, {plot.reason}.")
        else:
            yield f"![{markdown_inline(plot.title)}](plots/{plot.name}.png)"
            yield f"*{markdown_inline(f'{plot.title}. {plot.caption}')}*"


def _details(run: Run, comparison: Comparison) -> Iterator[str]:
    if facts := summary.work(run):
        yield "## What the run did"
        yield _list(facts)
    if comparison.metrics:
        yield "## Every metric"
        yield markdown_all_metrics(comparison)
        notes = footnotes(comparison, comparison.metrics).notes
        if notes:
            yield "  \n".join(markdown_inline(f"{superscript(n.mark)} {n.reason} ({n.where})") for n in notes)
    if facts := summary.setting(run.manifest):
        yield "## Setting"
        yield _list(facts)


def _texts(prompt: PromptTexts) -> Iterator[str]:
    yield f"### {markdown_inline(f'{prompt.prompts} · {prompt.prompt_id}')}"
    yield markdown_fence(prompt.prompt)
    for row, texts in prompt.columns:
        yield f"#### {markdown_inline(row.label)}"
        for text in texts:
            yield f"*{heading(text)} · {facts(text)}*"
            yield markdown_fence(text.text)


def _list(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{markdown_inline(name)}**: {markdown_inline(text)}" for name, text in facts)
