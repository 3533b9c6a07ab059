"""How well drafted tokens served: what was accepted of them, and what a forward pass of the model gave."""

from decodebench.records import Generation


def accepted_counts(generation: Generation) -> tuple[float, float] | None:
    """Accepted tokens and drafted tokens of one text; None where the strategy drafts none."""
    if generation.accepted_tokens is None or generation.drafted_tokens is None:
        return None
    return float(generation.accepted_tokens), float(generation.drafted_tokens)


def delivered_counts(generation: Generation) -> tuple[float, float] | None:
    """Delivered tokens and forward passes of the model for one text; None where the strategy drafts no tokens."""
    if generation.target_forwards is None:
        return None
    return float(generation.delivered_tokens), float(generation.target_forwards)
