"""What was chosen: the records of choice.json (docs/choosing.md), and the sentence that says it."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from decodebench.records import Direction, Verdict

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A setting on the prompts that confirm: the best of its family there, or the family's default. What is said of it
    is relative to the `winner` of the other half; `chance_of_best` is the share of resampled prompts in which no other
    contender is better. `cost` may be None: not measured."""

    strategy: str
    family: str
    default: bool
    value: float
    ci_low: float | None
    ci_high: float | None
    difference: float | None
    p_holm: float | None
    verdict: Verdict
    chance_of_best: float
    cost: float | None
    meets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family: its best setting on the prompts that choose, and its default. `select` and `confirm` are the values of
    the best on either half, `optimism` by how much the first one is too good. `curve` is the expected best after 1, 2,
    ... trials, `curve_low` and `curve_high` its band (None: too few prompts)."""

    best: str
    default: str
    trials: int
    select: float
    confirm: float
    confirm_low: float | None
    confirm_high: float | None
    optimism: float
    curve: tuple[float, ...]
    curve_low: tuple[float, ...] | None
    curve_high: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """The prompts of both halves by id; `limits` says what they cannot show."""

    kind: Literal["half", "none"]
    select: tuple[str, ...]
    confirm: tuple[str, ...]
    limits: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """The number of prompts in each round; the settings that left, each with the number of prompts it was decoded on;
    the texts of the prompts that choose, and how many of these were not decoded."""

    rounds: tuple[int, ...]
    dropped: dict[str, int]
    texts: int
    texts_saved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """All of it. `recommended` is the strategy to take, and `cell` the id of one of its cells, `winner` the best on the
    prompts that choose, `tied` those that cannot be told from the best on the others, `left_out` what has no value,
    with the reason. `prompts_needed` would show a difference as large as the one seen, where none could be shown."""

    sentence: str
    recommended: str
    cell: str
    winner: str
    tied: tuple[str, ...]
    by: str
    unit: str
    direction: Direction
    cost: str
    split: Halves
    families: dict[str, Family]
    contenders: tuple[Contender, ...]
    require: tuple[str, ...]
    left_out: dict[str, str]
    prompts_needed: int | None
    race: Race | None = None

    def said(self, keep: str, lead: str, *, nothing_shown: bool) -> "Choice":
        """The same with its sentence. `keep` is the default, `lead` what the others were compared with."""
        return replace(self, sentence=self._nothing(keep, lead) if nothing_shown else self._recommend(keep, lead))

    def _nothing(self, keep: str, lead: str) -> str:
        where = f"on {len(self.split.confirm)} prompts"
        sentence = (
            f"No difference in {self.by} could be shown between {len(self.contenders)} settings {where}: keep the "
        )
        sentence += f"default, {keep}."
        if self.prompts_needed is not None:
            seen = abs(self._of(lead).value - self._of(keep).value)
            sentence += (
                f" One as large as that seen between it and {lead} ({seen:.3g}) would take about "
                f"{self.prompts_needed} prompts to show."
            )
        return sentence

    def _recommend(self, keep: str, lead: str) -> str:
        chosen, others = self._of(self.recommended), len(self.tied) - 1
        never = "that the choice never saw" if self.split.kind == "half" else "that also chose it"
        range_ = "" if chosen.ci_low is None else f" [{chosen.ci_low:.3g}, {chosen.ci_high:.3g}]"
        sentence = (
            f"Take {chosen.strategy}: {self.by} {chosen.value:.3g}{range_} on {len(self.split.confirm)} prompts {never}"
        )
        if others:
            cheap = "none of them costs less" if self.recommended == lead else "it costs least"
            sentence += f"; {others} other{'s' if others > 1 else ''} cannot be told from the best, and {cheap}."
        elif len(self.contenders) == 1:
            sentence += "; no other meets choose.require." if self.require else "; no other has a value."
        else:
            sentence += "; no other can keep up with it."
        default = next((one for one in self.contenders if one.strategy == keep), None)
        if default is not None and default.verdict == "worse" and default.difference is not None:
            best = "" if lead == chosen.strategy else f" of the best, {lead}"
            sentence += f" The default, {keep}, is behind{best} by {abs(default.difference):.3g}."
        return sentence

    def _of(self, strategy: str) -> Contender:
        return next(one for one in self.contenders if one.strategy == strategy)

    def as_json(self) -> dict[str, Any]:
        """Plain containers, for choice.json."""
        return {"schema": SCHEMA, **asdict(self)}
