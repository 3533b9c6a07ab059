"""What a run will not measure, as far as that is known before a model is loaded: nothing can be ranked by it."""

from collections.abc import Sequence

from decodebench.errors import ConfigError
from decodebench.metrics import MAUVE_LEAST, WITHOUT, MetricsConfig, TimingMetric, read_name, row_name
from decodebench.models import ScorerConfig
from decodebench.plan.config import LatencyConfig
from decodebench.records import Prompt
from decodebench.strategies import Strategy
from decodebench.tasks import TaskConfig

_OF_DRAFTS = ("acceptance_rate", "tokens_per_forward")


def refuse_too_many(task: TaskConfig, strategies: Sequence[Strategy]) -> None:
    """Raise ConfigError for a number of `task.k` above that of the texts that any strategy gives for a prompt."""
    most = max(strategy.samples * strategy.returns for strategy in strategies)
    for k in task.k or ():
        if k > most:
            raise ConfigError(
                f"task.k={k}: no strategy gives so many texts for a prompt, the most are {most}; allowed is {most} or "
                f"less, or strategy.num_return_sequences={k} or more"
            )


def refuse_unmeasured(
    metrics: MetricsConfig,
    scorer: ScorerConfig,
    task: TaskConfig,
    latency: LatencyConfig,
    cells: Sequence[tuple[Strategy, Sequence[Prompt]]],
    key: str = "metrics.rank_by",
) -> None:
    """Raise ConfigError for a metric of `metrics.rank_by` that no cell of the run will have. `key` is what the error
    names."""
    for name in metrics.rank_by or ():
        if why := _unmeasured(name, metrics, scorer, task, latency, cells):
            raise ConfigError(
                f"{key}={name}: this run will not measure it ({why}); allowed are metrics that it measures"
            )


def _unmeasured(
    name: str,
    metrics: MetricsConfig,
    scorer: ScorerConfig,
    task: TaskConfig,
    latency: LatencyConfig,
    cells: Sequence[tuple[Strategy, Sequence[Prompt]]],
) -> str | None:
    known = read_name(name)
    if isinstance(known.row, TimingMetric):
        return "nothing is timed: latency.rounds=0" if latency.rounds == 0 else None
    if known.row is None:
        return None
    if "judged" in known.row.needs:
        return _unjudged(name, task, max(strategy.samples * strategy.returns for strategy, _ in cells))
    if "reading" in known.row.needs and scorer.id is None:
        return WITHOUT["reading"]
    referenced = max(sum(prompt.reference is not None for prompt in prompts) for _, prompts in cells)
    if (known.is_distance or "human" in known.row.needs) and not referenced:
        return WITHOUT["human"]
    if known.row.name == "mauve" and referenced < MAUVE_LEAST:
        return f"{referenced} prompts have references, MAUVE needs at least {MAUVE_LEAST}"
    if known.row.level == "samples" and all(strategy.samples * strategy.returns == 1 for strategy, _ in cells):
        return "every strategy gives one text for a prompt"
    if known.row.name in _OF_DRAFTS and all(strategy.packs for strategy, _ in cells):
        return "no strategy drafts tokens"
    limits = [strategy.max_new_tokens for strategy, _ in cells]
    longest = None if None in limits else max(limit for limit in limits if limit is not None)
    if known.plain.endswith(f"_first{metrics.leading}") and metrics.unit == "tokens":
        too_short = longest is not None and longest < metrics.leading
        return f"no text has {metrics.leading} tokens: strategy.max_new_tokens={longest}" if too_short else None
    return None


def _unjudged(name: str, task: TaskConfig, most: int) -> str | None:
    """Why a metric of the task is not measured: it is none of its k, say."""
    ks = task.k or sorted({1, most})
    _, k = row_name(name)
    if task.name == "none":
        return "no text is judged: task=none"
    return None if k is None or k in ks else f"task.k has {', '.join(map(str, ks))}"
