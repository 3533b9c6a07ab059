"""The start-up probe: may this model use the cache, and do its products depend on the batch?

Instead of a list of architectures, a few tokens are decoded both ways and the logits compared. A model for which the
packed cache does not give what its plain forward pass gives is decoded without a cache, and the run says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodebench.engine.cached_rows import CachedRows
from decodebench.engine.exits import NOT_LOOKED_FOR, UNUSABLE, Layers, find_layers, logits_distance, product_tolerance
from decodebench.engine.head import OwnHead
from decodebench.engine.rows import Rows
from decodebench.engine.whole_rows import WholeRows
from decodebench.errors import one_line

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_TOLERANCE_HALF = 0.1
"""How far cached logits may be from plain ones, as a share of the plain logits' range in that row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """How the model is run: `path` is "cached" or "whole sequence", with the reason and the measured errors.

    `kv_bytes_per_token` is what a token takes in the cache; None without one. `own_head`: the output head runs apart
    from the model, which is faster. `graphs`: decode steps are captured as CUDA graphs, with the reason. `layers`: what
    can be read behind the model's layers.
    """

    path: str
    reason: str
    cache_error: float | None
    batch_error: float | None
    kv_bytes_per_token: int | None = None
    own_head: bool = False
    graphs: bool = False
    graphs_reason: str = "no CUDA device"
    layers: Layers = NOT_LOOKED_FOR

    def make_rows(self, model: Any, device: torch.device, hidden_layers: Iterable[int] = ()) -> Rows:
        """New, empty physical rows of this kind."""
        if self.path == "cached":
            return CachedRows(model, device, hidden_layers, self.layers, self.own_head, self.graphs)
        return WholeRows(model, device, hidden_layers, self.layers)

    @property
    def exactness(self) -> str:
        """One line for the manifest on what the batch may change."""
        if self.batch_error is None:
            return "whole sequences, right-padded"
        if self.batch_error == 0:
            return "logits do not depend on the batch (probed)"
        return f"logits depend on the batch by up to {self.batch_error:.1e} of their range (probed)"


def choose_rows(model: Any, device: torch.device, vocabulary: int, cuda_graphs: bool = True) -> Forward:
    """Probe the cached path against plain forward passes, rows alone against rows together, captured steps too, and
    what can be read behind the layers."""
    layers = find_layers(model, device, vocabulary)
    generator = torch.Generator().manual_seed(0)
    draw = torch.randint(0, vocabulary, (24,), generator=generator).tolist()
    prompts = [tuple(draw[:3]), tuple(draw[3:12])]
    steps = [tuple(draw[12:18]), tuple(draw[18:24])]
    with torch.inference_mode():
        cached = CachedRows(model, device)
        try:
            together = _forked(cached, prompts, steps)
        except UNUSABLE as error:
            why = f"no usable cache: {one_line(error, 160)}"
            return Forward(path="whole sequence", reason=why, cache_error=None, batch_error=None, layers=layers)
        own_head = _own_head_holds(model, device, prompts, steps, together)
        plain = _plain(model, device, prompts, steps)
        pairs = zip(prompts, steps, strict=True)
        alone = torch.cat([_forked(CachedRows(model, device), [prompt], [step]) for prompt, step in pairs])
        graphs, graphs_reason = False, "engine.cuda_graphs=false"
        if cuda_graphs:
            graphs, graphs_reason = _graphs_hold(model, device, prompts, steps, together)
    cache_error = logits_distance(together, plain)
    tolerance = _tolerance(model)
    if not cache_error <= tolerance:
        reason = f"cached logits differ from plain ones by {cache_error:.1e} of their range (allowed: {tolerance:.0e})"
        return Forward(path="whole sequence", reason=reason, cache_error=cache_error, batch_error=None, layers=layers)
    reason = f"cached logits equal plain ones within {cache_error:.1e} of their range"
    return Forward(
        path="cached",
        reason=reason,
        cache_error=cache_error,
        batch_error=logits_distance(together, alone),
        kv_bytes_per_token=cached.kv_bytes_per_token,
        own_head=own_head,
        graphs=graphs,
        graphs_reason=graphs_reason,
        layers=layers,
    )


def _graphs_hold(
    model: Any, device: torch.device, prompts: list[tuple[int, ...]], steps: list[tuple[int, ...]], logits: Tensor
) -> tuple[bool, str]:
    """Whether captured steps give the logits of steps that are run as they are, and why (not)."""
    if device.type != "cuda":
        return False, "no CUDA device"
    rows = CachedRows(model, device, graphs=True)
    try:
        captured = _forked(rows, prompts, steps)
    except UNUSABLE as error:
        return False, f"steps of fixed shape fail: {one_line(error, 160)}"
    if rows.capture_failure:
        return False, f"steps cannot be captured: {rows.capture_failure}"
    distance, tolerance = logits_distance(captured, logits), _tolerance(model)
    if not distance <= tolerance:
        return False, f"captured steps differ by {distance:.1e} of the logits' range (allowed: {tolerance:.0e})"
    return True, f"captured steps equal others within {distance:.1e} of the logits' range"


def _own_head_holds(
    model: Any, device: torch.device, prompts: list[tuple[int, ...]], steps: list[tuple[int, ...]], logits: Tensor
) -> bool:
    """Whether hidden states times the head's weight are the model's logits: nothing is scaled, capped or added."""
    try:
        apart = _forked(CachedRows(model, device, own_head=True), prompts, steps)
    except UNUSABLE:
        return False  # another kind of head, or a base that takes other inputs
    return apart.shape == logits.shape and logits_distance(apart, logits) <= product_tolerance(model)


def own_head(model: Any, device: torch.device, vocabulary: int) -> OwnHead | None:
    """The output head apart from the model, for whole texts; None where the model does more to its logits than that."""
    ids = torch.randint(0, vocabulary, (1, 8), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        plain = model(input_ids=ids).logits[0].to(device=device, dtype=torch.float32)
        try:
            head = OwnHead(model, device)
            apart = head.logits(head.base(input_ids=ids).last_hidden_state[0].to(device)).to(torch.float32)
        except UNUSABLE:
            return None
    return head if logits_distance(apart, plain) <= product_tolerance(model) else None


def _forked(rows: Rows, prompts: list[tuple[int, ...]], steps: list[tuple[int, ...]]) -> Tensor:
    """Logits after prompts and forced steps, each prompt forked into three rows on the way, [prompts, V]."""
    at = rows.admit(rows.prefill(prompts))
    fork = [(row, token) for row, step in zip(at, steps, strict=True) for token in (step[-1], step[0], step[1])]
    slots = rows.advance([p for p, _ in fork], [t for _, t in fork])
    at = [slots[3 * n + 1] for n in range(len(prompts))]
    for i in range(1, len(steps[0])):
        at = rows.advance(at, [step[i] for step in steps])
    return rows.scores.rows(torch.tensor(at, device=rows.device))


def _plain(model: Any, device: torch.device, prompts: list[tuple[int, ...]], steps: list[tuple[int, ...]]) -> Tensor:
    logits = []
    for prompt, step in zip(prompts, steps, strict=True):
        ids = torch.tensor([prompt + step], device=device)
        logits.append(model(input_ids=ids).logits[0, -1].to(device=device, dtype=torch.float32))
    return torch.stack(logits)


def _tolerance(model: Any) -> float:
    return _TOLERANCE.get(next(model.parameters()).dtype, _TOLERANCE_HALF)
