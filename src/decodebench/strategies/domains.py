"""The numbers of the sampling rules: what each may be, and where it turns its rule off, as other engines have it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from decodebench.strategies.penalties import Penalties


class Domain(NamedTuple):
    """What a number may be, also in words, and the values at which its rule keeps every token."""

    allows: Callable[[Any], bool]
    words: str
    off: tuple[float, ...] = ()

    def has(self, value: Any) -> bool:
        """Whether a number may be this, on or off."""
        return value in self.off or self.allows(value)

    def in_words(self, *others: str) -> str:
        """What it may be; `others` turn it off, too."""
        off = [*(str(value) for value in self.off if not self.allows(value)), *others]
        return f"{self.words}, or {', '.join(off)} (off)" if off else self.words


DOMAINS: dict[str, Domain] = {
    "top_k": Domain(lambda k: k >= 1, "1 or more", (0, -1)),  # transformers has 0, vLLM -1, llama.cpp both
    "top_p": Domain(lambda p: 0 < p <= 1, "above 0, at most 1", (1,)),
    "min_p": Domain(lambda p: 0 < p <= 1, "above 0, at most 1", (0,)),
    "top_h": Domain(lambda h: 0 < h <= 1, "above 0, at most 1"),
    "typical_p": Domain(lambda p: 0 < p < 1, "above 0, below 1", (1,)),
    "epsilon_cutoff": Domain(lambda p: 0 < p < 1, "above 0, below 1", (0,)),
    "eta_cutoff": Domain(lambda p: 0 < p < 1, "above 0, below 1", (0,)),
    "top_n_sigma": Domain(lambda n: n > 0, "above 0", (0, -1)),  # llama.cpp has -1
    "tfs_z": Domain(lambda z: 0 < z < 1, "above 0, below 1", (1,)),
    "p_less": Domain(lambda kind: kind in ("plain", "norm"), "plain, norm"),
    "xtc_probability": Domain(lambda p: 0 < p <= 1, "above 0, at most 1", (0,)),
    # Of two tokens one has at most half of the mass: above it nothing would ever be dropped. llama.cpp has 1 for off.
    "xtc_threshold": Domain(lambda p: 0 < p <= 0.5, "above 0, at most 0.5", (1,)),
}


def require_domain(strategy: Penalties, name: str, *, null: bool = False) -> None:
    """Raise the error of a number that is neither in its domain nor off; with `null`, that is off, too."""
    value = getattr(strategy, name)
    ok = null if value is None else DOMAINS[name].has(value)
    strategy.require(name, ok, DOMAINS[name].in_words(*(["null"] if null else [])))


def if_on(strategy: Penalties, name: str) -> Any:
    """The number, or None where its rule is off."""
    value = getattr(strategy, name)
    return None if value in DOMAINS[name].off else value


def is_on(strategy: Penalties, name: str) -> bool:
    """Whether a number of a sampling rule does anything; any other number counts as on."""
    return name not in DOMAINS or (getattr(strategy, name) is not None and if_on(strategy, name) is not None)
