"""Early exits: what a model would say if it ended after one of its layers.

What a model does behind its layers (a norm, a projection, a transform, a scale, a cap) differs from one to the next. So
none of it is written down here: the model is run once more, and in the place of its layers it meets states that are
given. `find_layers` finds out at the start whether it can be.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from decodebench.errors import ModelError, one_line

UNUSABLE = (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, LookupError)
"""What a model may raise on a path that is not for it."""

_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
_TOLERANCE_HALF = 4e-3
_UNKNOWN = "the layers of the model were not looked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Where the layers of a model lie, and what can be read behind each of them.

    `path` is the name of their list within the model; a layer returns a state alone (`returns` 0) or so many things,
    the state first, in a list (`as_list`) or a tuple. `no_hidden` says why hidden states cannot be read, `no_exit` why
    the model cannot be run on from them; None where they can.
    """

    path: str = ""
    returns: int = 0
    as_list: bool = False
    no_hidden: str | None = _UNKNOWN
    no_exit: str | None = _UNKNOWN


NOT_LOOKED_FOR = Layers()


def find_layers(model: Any, device: torch.device, vocabulary: int) -> Layers:
    """Run a few tokens to find the layers, and know that the exit at the last of them gives the model's own logits."""
    ids_NT = torch.randint(0, vocabulary, (2, 7), generator=torch.Generator().manual_seed(0)).to(device)
    kind = f"model type {model_type(model)}"
    with torch.inference_mode():
        try:
            with _watched(model) as said:
                out = model(input_ids=ids_NT, output_hidden_states=True, return_dict=True)
            hidden = [h_NTH.to(device) for h_NTH in out.hidden_states]
        except UNUSABLE as error:
            why = f"{kind} gives no hidden states: {one_line(error, 160)}"
            return Layers(no_hidden=why, no_exit=why)
        for h_NTH in hidden:
            if h_NTH.ndim != 3 or h_NTH.shape[:2] != ids_NT.shape:
                why = f"{kind} gives hidden states of shape {list(h_NTH.shape)} for 2 texts of 7 tokens; "
                why += "allowed is [2, 7, width]"
                return Layers(no_hidden=why, no_exit=why)
        whys = []
        for path, outputs in said.items():
            if len(outputs) == len(hidden) - 1:  # others are parts of a layer, or of what sees images
                try:
                    return _checked(model, path, outputs, hidden, out.logits)
                except (ModelError, *UNUSABLE) as error:
                    whys.append(one_line(error, 160))
    why = whys[0] if whys else "no list of its layers was found"
    return Layers(no_hidden=None, no_exit=f"{kind} cannot be left after an early layer: {why}")


def _checked(model: Any, path: str, outputs: Sequence[Any], hidden: Sequence[Tensor], logits_NTV: Tensor) -> Layers:
    """The layers of this path, known to be all that is in front of an exit. Raises ModelError where they are not."""
    device = hidden[0].device
    *states, last_NTH = [_state(output).to(device) for output in outputs]
    if not all(map(torch.equal, states, hidden[1:-1])):
        raise ModelError("its hidden states are not those between its layers")
    form = outputs[-1]
    several = isinstance(form, (tuple, list))
    returns = len(form) if several else 0
    found = Layers(path=path, returns=returns, as_list=isinstance(form, list), no_hidden=None, no_exit=None)
    logits_PV = logits_NTV.to(device, torch.float32).flatten(0, 1)
    distance = logits_distance(exit_logits(model, found, last_NTH.flatten(0, 1)), logits_PV)
    allowed = product_tolerance(model)
    if not distance <= allowed:
        raise ModelError(
            f"after its last one, logits would differ by {distance:.1e} of their range (allowed: {allowed:.0e})"
        )
    return found


def exit_logits(model: Any, layers: Layers, hidden_BH: Tensor) -> Tensor:
    """What the model says of these states in the place of what its last layer returns, float32 [B, V].

    Raises ModelError for a model that cannot be run on from them.
    """
    if layers.no_exit is not None:
        raise ModelError(layers.no_exit)
    ids_B1 = torch.zeros(len(hidden_BH), 1, dtype=torch.int64, device=hidden_BH.device)  # any token: it is not heard
    with _in_place_of_layers(model, layers, hidden_BH[:, None]):
        logits_B1V: Tensor = model(input_ids=ids_B1, output_hidden_states=False, return_dict=True).logits
    return logits_B1V[:, -1].to(hidden_BH.device, torch.float32)


def head_logits(model: Any, hidden_BH: Tensor) -> Tensor:
    """What the output head alone says of hidden states, float32 [B, V]: without norm, scale, cap or anything else.

    Raises ModelError for a model without an output head, or with one for states of another width.
    """
    head = model.get_output_embeddings()
    if head is None or head.weight.shape[1] != hidden_BH.shape[1]:
        has = "no output head" if head is None else f"an output head for states of width {head.weight.shape[1]}"
        raise ModelError(f"model type {model_type(model)} has {has}; its layers give width {hidden_BH.shape[1]}")
    device = hidden_BH.device
    hidden_BH = hidden_BH.to(head.weight.device)
    if hidden_BH.dtype == torch.float16 and head.bias is None:
        # States that no norm has been over grow to thousands: their logits may be more than float16 holds.
        scale_B1 = hidden_BH.abs().amax(-1, keepdim=True).clamp_min(1)
        logits_BV: Tensor = head(hidden_BH / scale_B1).to(torch.float32) * scale_B1
    else:
        logits_BV = head(hidden_BH)
    return logits_BV.to(device, torch.float32)


def model_type(model: Any) -> str:
    """The model type that the configuration names, else the class."""
    return str(getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__)


def product_tolerance(model: Any) -> float:
    """How far the same product, computed apart, may be from the model's own, as a share of its logits' range."""
    return _TOLERANCE.get(next(model.parameters()).dtype, _TOLERANCE_HALF)


def logits_distance(a_NV: Tensor, b_NV: Tensor) -> float:
    """The largest difference in a row, as a share of the range of its logits in `b_NV`; the largest over all rows."""
    spread = (b_NV.amax(-1) - b_NV.amin(-1)).clamp_min(1e-12)
    return float(((a_NV - b_NV).abs().amax(-1) / spread).max())


@contextmanager
def _watched(model: Any) -> Iterator[Mapping[str, list[Any]]]:
    """What the members of each list of modules return, in the order in which they are run, by the list's name."""
    said: dict[str, list[Any]] = {}
    with ExitStack() as hooks:
        for path, modules in model.named_modules():
            if isinstance(modules, nn.ModuleList):
                outputs = said.setdefault(path, [])
                for module in modules:
                    hook = module.register_forward_hook(lambda _, __, output, kept=outputs: kept.append(output))
                    hooks.callback(hook.remove)
        yield said


def _state(output: Any) -> Any:
    return output[0] if isinstance(output, (tuple, list)) else output


class _Given(nn.Module):
    """Stands where a layer stood: it returns the given state, in the form in which a layer returns its own."""

    def __init__(self, layer: nn.Module, layers: Layers, hidden_B1H: Tensor) -> None:
        super().__init__()
        self._of = (layer,)  # not as a module of this one
        output = [hidden_B1H, *[None] * (layers.returns - 1)] if layers.returns else hidden_B1H
        self._output: Any = output if layers.as_list or not layers.returns else tuple(output)

    def __getattr__(self, name: str) -> Any:
        """What a model asks its layers, as which kind of attention they have."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._of[0], name)

    def forward(self, *_: Any, **__: Any) -> Any:
        """The given state, whatever comes in."""
        return self._output


@contextmanager
def _in_place_of_layers(model: Any, layers: Layers, hidden_B1H: Tensor) -> Iterator[None]:
    """The model without its layers: what is behind them gets this state."""
    path, _, name = layers.path.rpartition(".")
    parent = model.get_submodule(path)
    real = getattr(parent, name)
    setattr(parent, name, nn.ModuleList(_Given(layer, layers, hidden_B1H) for layer in real))
    try:
        yield
    finally:
        setattr(parent, name, real)
