"""Which arms of a run and of its baseline belong together, what differs in how they were made, and what forbids to
compare them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from decodebench.errors import allowed_names, some
from decodebench.records import HUMAN
from decodebench.regression.baseline import Baseline, BaselineArm, BaselineText
from decodebench.store import both_known, differences, flat

Key = tuple[str, str, str]
"""Model (empty where neither side has several), prompt set, strategy: by these labels arms are matched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedArm:
    """A cell of a run that could not be decoded, by the labels of its arm."""

    model: str
    prompts: str
    strategy: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An arm of the baseline and the same one of the run; None where all of its cells failed, with their `errors`.

    `fed_otherwise` are the prompts for which other token ids were fed: what follows them says nothing of decoding."""

    key: Key
    baseline: BaselineArm
    run: BaselineArm | None
    errors: tuple[str, ...] = ()
    fed_otherwise: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, Any]:
        """The fields of a finding that say where it was made."""
        return dict(zip(("model", "prompts", "strategy"), self.key, strict=True))

    @property
    def name(self) -> str:
        """The labels in one line, for errors."""
        return " / ".join(filter(None, self.key))

    @cached_property
    def seeds(self) -> tuple[tuple[int, int], ...]:
        """Which seeds belong together, of the baseline and of the run: those that both have, else the first of each."""
        if self.run is None:
            return ()
        shared = tuple((seed, seed) for seed in self.baseline.texts if seed in self.run.texts)
        return shared or ((next(iter(self.baseline.texts)), next(iter(self.run.texts))),)

    @cached_property
    def identical(self) -> bool:
        """Whether all texts of all seeds are the same, so that there is nothing to test."""
        return (
            self.run is not None
            and self.run.texts.keys() == self.baseline.texts.keys()
            and all(_same(self.baseline.texts[a], self.run.texts[b]) for a, b in self.seeds)
        )


def _same(a: Mapping[str, Sequence[BaselineText]], b: Mapping[str, Sequence[BaselineText]]) -> bool:
    return a.keys() == b.keys() and all(
        [(t.token_ids, t.sha256, t.finish_reason) for t in texts]
        == [(t.token_ids, t.sha256, t.finish_reason) for t in b[prompt_id]]
        for prompt_id, texts in a.items()
    )


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The arms of both sides. `new` are those that the run alone has; `incomparable` says, a line each, why nothing can
    be said: arms that are missing, other prompts."""

    pairs: tuple[Pair, ...]
    new: tuple[Key, ...]
    incomparable: tuple[str, ...]


def match(baseline: Baseline, run: Baseline, failed: Sequence[FailedArm] = ()) -> Matched:
    """Match the arms of both by prompt set and strategy, and by model where either side has several of them."""
    sides = (baseline.arms, run.arms)
    with_model = any(len({arm.model for arm in arms}) > 1 for arms in sides)
    with_model = with_model or len({*(arm.model for arm in run.arms), *(one.model for one in failed)}) > 1
    before, now = ({_key(arm, with_model): arm for arm in arms if arm.strategy != HUMAN} for arms in sides)
    errors: dict[Key, list[str]] = {}
    for one in failed:
        errors.setdefault(_key(one, with_model), []).append(one.error)
    pairs, missing = [], []
    for key, arm in before.items():
        if key in now or key in errors:
            fed = _fed_otherwise(baseline, run, arm, now.get(key))
            pairs.append(
                Pair(key=key, baseline=arm, run=now.get(key), errors=tuple(errors.get(key, ())), fed_otherwise=fed)
            )
        else:
            there = [_name(other) for other in now]
            missing.append(f"{_name(key)}: the run has no such cells; it has: {_named(_name(key), there)}")
    incomparable = (*_prompts(baseline, run, pairs), *missing, *_texts(baseline, pairs))
    return Matched(
        pairs=tuple(pairs),
        new=tuple(key for key in now if key not in before),
        incomparable=tuple(dict.fromkeys(incomparable)),
    )


def _fed_otherwise(baseline: Baseline, run: Baseline, before: BaselineArm, now: BaselineArm | None) -> tuple[str, ...]:
    if now is None:
        return ()
    then, today = (side.fed.get((arm.model, arm.prompts), {}) for side, arm in ((baseline, before), (run, now)))
    return tuple(id_ for id_, sha256 in then.items() if today.get(id_, sha256) != sha256)


def other_prompts(pairs: Iterable[Pair]) -> tuple[str, ...]:
    """Which prompts were fed as other tokens, a line for each prompt set (and model, where there are several)."""
    places = {pair.key[:2]: pair.fed_otherwise for pair in pairs if pair.fed_otherwise}
    return tuple(
        f"the prompts' tokens differ: {' / '.join(filter(None, place))}: {some(ids)}" for place, ids in places.items()
    )


def _key(arm: BaselineArm | FailedArm, with_model: bool) -> Key:
    return (arm.model if with_model else "", arm.prompts, arm.strategy)


def _name(key: Key) -> str:
    return " / ".join(filter(None, key))


def _named(wrong: str, names: Sequence[str]) -> str:
    return allowed_names(wrong, names).removeprefix("allowed: ")


def _prompts(baseline: Baseline, run: Baseline, pairs: Sequence[Pair]) -> Iterator[str]:
    """Prompt sets that both have, with other prompts in them."""
    for name in dict.fromkeys(pair.key[1] for pair in pairs if pair.run is not None):
        before, now = baseline.prompts.get(name, {}), run.prompts.get(name, {})
        yield from _listed(f"prompts {name}: missing in the run", [id_ for id_ in before if id_ not in now])
        yield from _listed(f"prompts {name}: not in the baseline", [id_ for id_ in now if id_ not in before])
        changed = [id_ for id_, sha256 in before.items() if now.get(id_, sha256) != sha256]
        yield from _listed(f"prompts {name}: another text", changed)


def _texts(baseline: Baseline, pairs: Sequence[Pair]) -> Iterator[str]:
    """Arms that lack the texts of a prompt."""
    for pair in pairs:
        known = baseline.prompts.get(pair.key[1], {}).keys()
        for side, arm in (("the baseline", pair.baseline), ("the run", pair.run)):
            for seed, texts in ({} if arm is None else arm.texts).items():
                lacking = [id_ for id_ in known if not texts.get(id_)]
                yield from _listed(f"{pair.name}: no text in {side} with seed {seed} for prompt", lacking)


def _listed(what: str, names: Sequence[str]) -> Iterator[str]:
    """One line for any number of names; none for none."""
    if names:
        yield f"{what}: {some(names)}"


def changes(baseline: Baseline, run: Baseline, pairs: Iterable[Pair]) -> tuple[str, ...]:
    """What was made otherwise, a line each: models, versions, the numbers of the strategies, seeds."""
    pairs = [pair for pair in pairs if pair.run is not None]
    found = [*_models(baseline, run, pairs)]
    whole = all("second_identities" in side.made for side in (baseline, run))
    for what in ("versions", "machine", "second_identities" if whole else "second_models", "scorer", "task"):
        before, now = both_known(*(side.made.get(what) or {} for side in (baseline, run)))
        found += [f"{what} {line}" for line in differences(flat(before), flat(now))]
    by_line: dict[str, list[str]] = {}
    for pair in pairs:
        for line in _of_arm(pair):
            by_line.setdefault(line, []).append(pair.name)
    for line, names in by_line.items():
        everywhere = len(names) == len(pairs) and len(pairs) > 1
        found.append(line if everywhere else f"{', '.join(names)}: {line}")
    return tuple(dict.fromkeys(found))


def _models(baseline: Baseline, run: Baseline, pairs: Sequence[Pair]) -> Iterator[str]:
    for before, now in dict.fromkeys((pair.baseline.model, pair.run.model) for pair in pairs if pair.run is not None):
        a, b = model_facts(baseline, before), model_facts(run, now)
        if before != now:
            yield f"model {before} -> {now}"
        for line in differences(*map(flat, both_known(a, b))):
            yield f"model {now}: {line}"


def model_facts(side: Baseline, model: str) -> Mapping[str, Any]:
    """What a baseline says of a model: its dtype, the fingerprint of its weights."""
    return {
        k: v for k, v in (side.made.get("models", {}).get(model) or {}).items() if k != "exactness"
    }  # that is a probe's


def _of_arm(pair: Pair) -> Iterator[str]:
    """What differs in the resolved configurations, and in the seeds. How the run is timed changes no text, and its task
    is that of its judgements."""
    if pair.run is None:
        return
    before, now = (
        flat({key: value for key, value in arm.config.items() if key not in ("seed", "latency", "task")})
        for arm in (pair.baseline, pair.run)
    )
    yield from differences(before, now)
    a, b = (sorted(arm.texts) for arm in (pair.baseline, pair.run))
    if a != b:
        yield f"seed {_list(a)} -> {_list(b)}"


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
