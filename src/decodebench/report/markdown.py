"""report.md: the run as a page that reads well as plain text and on a code host."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tabulate import tabulate

from decodebench.errors import one_line
from decodebench.records import Generation
from decodebench.report import summary
from decodebench.report.claims import Claim, Claims, choice_claims, claims
from decodebench.report.comparison import Comparison, Metric, Row, reporting
from decodebench.report.folder import Run
from decodebench.report.formats import interval, markdown_fence, markdown_inline, superscript
from decodebench.report.notes import Footnotes, certainty, footnotes, warnings
from decodebench.report.plots import LeftOut, Plot
from decodebench.report.texts import OPEN_PROMPTS, PromptTexts, by_prompt, facts, more


def markdown(run: Run, comparison: Comparison, plots: Sequence[Plot | LeftOut]) -> str:
    """The whole page. Images are linked relative to the run folder."""
    shown = reporting(comparison, run.choice)
    blocks = [
        *_opening(run),
        *_failed(comparison),
        *_claims(list(choice_claims(run))),
        *_warnings(shown),
        *_comparison(shown),
        *_claims(claims(run, comparison)),
        *_texts(list(by_prompt(run, comparison))),
        *_plots(plots),
        *_details(run, comparison),
    ]
    return "\n\n".join(blocks) + "\n"


def _opening(run: Run) -> Iterator[str]:
    yield f"# {markdown_inline(str(run.manifest.get('name') or run.path.name))}"
    if command := run.manifest.get("command"):
        yield markdown_fence(str(command))
    if run.choice:
        yield f"**{markdown_inline(str(run.choice['sentence']))}**"
    if opening := summary.opening(run.manifest):
        yield markdown_inline(opening)


def _failed(comparison: Comparison) -> Iterator[str]:
    failed = [(row.label, row.error) for row in comparison.rows if row.error]
    if failed:
        yield "## Failed cells"
        yield _list(failed)


def _warnings(comparison: Comparison) -> Iterator[str]:
    if found := warnings(comparison):
        yield "## Warnings"
        yield _list(found)


def _comparison(comparison: Comparison) -> Iterator[str]:
    metrics = comparison.headline
    yield "## Comparison"
    yield _table(comparison, metrics)
    legend = (
        "↑ higher is better, ↓ lower is better, \\[low, high\\] is the interval, "
        "**bold**: better than all others, the intervals apart."
    )
    yield _lines([legend], _notes(comparison, metrics))


def _claims(tables: Sequence[Claims]) -> Iterator[str]:
    for table in tables:
        yield f"## {markdown_inline(table.title)}"
        body = [[markdown_inline(label), *map(_claim, cells)] for label, cells in table.rows]
        yield _pipe_table(["strategy", *map(markdown_inline, table.header)], body)
        yield _lines([markdown_inline(note) for note in table.notes])


def _claim(claim: Claim) -> str:
    text = f"**{markdown_inline(claim.text)}**" if claim.strong else markdown_inline(claim.text)
    return f"{text} {markdown_inline(claim.small)}".rstrip()


def _notes(comparison: Comparison, metrics: Sequence[Metric]) -> list[str]:
    lines = [f"{superscript(note.mark)} {note.reason} ({note.where})" for note in footnotes(comparison, metrics).notes]
    return [markdown_inline(line) for line in (*certainty(comparison, metrics), *lines)]


def _lines(*parts: Sequence[str]) -> str:
    """Lines of one paragraph, each on its own."""
    return "  \n".join(line for part in parts for line in part)


def _texts(prompts: Sequence[PromptTexts]) -> Iterator[str]:
    yield "## Texts"
    yield "Each text continues its prompt. ↵: a newline at its end; cut: by the limit of length; ended: by itself."
    for number, prompt in enumerate(prompts):
        if number < OPEN_PROMPTS:
            yield f"### {markdown_inline(prompt.title)}"
            yield from _texts_of(prompt)
        else:
            yield from _folded(prompt.title, _texts_of(prompt))


def _texts_of(prompt: PromptTexts) -> Iterator[str]:
    yield markdown_fence(prompt.prompt)
    if prompt.accepted:
        yield markdown_inline(prompt.accepted)

    def facts_of(text: Generation) -> str:
        return " · ".join(filter(None, (facts(text), markdown_inline(prompt.said(text)))))

    for row, texts in prompt.columns:
        yield f"**{markdown_inline(row.label)}** · {facts_of(texts[0])}"
        yield markdown_fence(texts[0].text)
        others = [block for text in texts[1:] for block in (facts_of(text), markdown_fence(text.text))]
        if others:
            yield from _folded(f"{row.label}: {more(texts)}", others)


def _folded(title: str, blocks: Iterable[str]) -> Iterator[str]:
    yield f"<details><summary>{escape(one_line(title))}</summary>"
    yield from blocks
    yield "</details>"


def _plots(plots: Sequence[Plot | LeftOut]) -> Iterator[str]:
    yield "## Plots"
    for plot in plots:
        if isinstance(plot, LeftOut):
            yield markdown_inline(f"{plot.title}: left out, {plot.reason}.")
        else:
            yield f"![{markdown_inline(plot.title)}](plots/{plot.name}.png)"
            yield f"*{markdown_inline(f'{plot.title}. {plot.caption}')}*"


def _details(run: Run, comparison: Comparison) -> Iterator[str]:
    if comparison.metrics:
        yield "## Every metric"
        yield _every_metric(comparison)
        notes = _notes(comparison, comparison.measured)
        notes += [
            markdown_inline(f"Not measured: {', '.join(names)} ({reason}).")
            for reason, names in comparison.unmeasured.items()
        ]
        if notes:
            yield _lines(notes)
    for title, known in summary.details(run):
        yield f"## {title}"
        yield _list(known)


def _table(comparison: Comparison, metrics: Sequence[Metric]) -> str:
    """The cells as rows, the metrics as columns; a failed cell with its error."""
    marks = footnotes(comparison, metrics)
    body = []
    for row in comparison.rows:
        if row.error:
            cells = [markdown_inline(f"failed: {row.error}"), *[""] * (len(metrics) - 1)]
        else:
            cells = [_value(comparison, row, metric, marks) for metric in metrics]
        body.append([markdown_inline(row.label), *cells])
    headers = [_title(metric) for metric in metrics] or ["result"]
    return _pipe_table(["strategy", *headers], body)


def _every_metric(comparison: Comparison) -> str:
    """Every metric as a row, the cells that did not fail as columns."""
    rows = [row for row in comparison.rows if not row.error]
    marks = footnotes(comparison, comparison.measured)
    body = [
        [_title(metric), *(_value(comparison, row, metric, marks) for row in rows)] for metric in comparison.measured
    ]
    return _pipe_table(["metric", *(markdown_inline(row.label) for row in rows)], body)


def _title(metric: Metric) -> str:
    return markdown_inline(f"{metric.title} ({metric.unit_shown})" if metric.unit_shown else metric.title)


def _value(comparison: Comparison, row: Row, metric: Metric, marks: Footnotes) -> str:
    text, found = marks.value(row, metric), row.measured.get(metric.name)
    if found is None or found.value is None:
        return text
    value = f"**{text}**" if found.value == comparison.best(metric) else text
    return f"{value} {interval(found.ci_low, found.ci_high, metric.unit)}".rstrip()


def _pipe_table(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    aligned = ["left", *("right" for _ in headers[1:])]
    return tabulate(body, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=aligned if body else None)


def _list(known: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{markdown_inline(name)}**: {markdown_inline(text)}" for name, text in known)
