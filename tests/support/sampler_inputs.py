"""Logits for the tests of samplers: drawn ones that find the corners, and four that can be worked out by hand."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

# p = (0.5, 0.25, 0.125, 0.125): logits are their log2, and the entropy is 1.75 bits.
BITS = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125]]))


@st.composite
def logits(draw: Any) -> Tensor:
    """Logits [1, V]: a handful in steps of 1/4 (many ties); or up to 3,000 (more than the sampler looks at first, 64,
    and second, 1,024), flat to peaked, some in steps of 1/4, some banned, one far above all others."""
    if draw(st.booleans()):
        return torch.tensor([draw(st.lists(st.integers(-24, 24), min_size=1, max_size=40))]) / 4
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    vocabulary = draw(st.sampled_from([63, 65, 300, 1023, 1500, 3000]))
    scores = torch.randn(1, vocabulary, generator=generator) * draw(st.sampled_from([0.0, 0.01, 0.5, 2.0, 8.0]))
    scores = (scores * 4).round() / 4 if draw(st.booleans()) else scores
    adversary = draw(st.sampled_from(["none", "none", "banned", "one above all"]))
    if adversary == "banned":
        scores[torch.rand(1, vocabulary, generator=generator) < draw(st.sampled_from([0.1, 0.97]))] = -torch.inf
        scores[0, 1] = 0.0
    elif adversary == "one above all":
        scores[0, vocabulary // 2] = scores.max() + 25
    return scores
