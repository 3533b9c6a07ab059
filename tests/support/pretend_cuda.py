"""A GPU that is none: tensors that say they are on `cuda`, and are computed by the CPU.

What goes wrong on a GPU and not on a CPU is mostly one of three things: tensors of two devices meet, the host waits for
the device where it need not, or a captured graph holds what was true of one step only. Here all three can be seen
without a GPU: two devices that meet are an error as they are there, every wait is counted with the line that causes it,
and a captured graph is the list of operations that were recorded, run again on the same memory. What it cannot see:
the arithmetic and the speed of a GPU (tests/engine/test_cuda.py is for those).
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

_INSIDE = torch.device("meta")
"""Where torch's own code believes a pretended tensor to be: it does not let a build without CUDA say `cuda`."""

WAITS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "equal",
    "allclose",
    "nonzero",
    "nonzero_numpy",
    "argwhere",
    "masked_select",
    "isin",
    "one_hot",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
}
"""Operations whose result the host has to know before it goes on."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class OnDevice(Tensor):
    """A tensor that says it is on `cuda:0`; `elem` has its numbers."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> "OnDevice":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device=_INSIDE,
            requires_grad=False,
        )
        made.elem = elem
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnDevice({self.elem!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended device outside of it")


def _plain(leaf: Any) -> Any:
    """What the CPU computes with."""
    if isinstance(leaf, OnDevice):
        return leaf.elem
    return CPU if isinstance(leaf, torch.device) else leaf


# What torch's pytrees do, for operations, whose arguments are leaves and lists of leaves: far faster, where the
# general ones took most of the time of a test.


def _leaves(given: Any) -> list[Any]:
    found: list[Any] = []
    for one in given:
        if isinstance(one, list | tuple):
            found += _leaves(one)
        else:
            found.append(one)
    return found


def _mapped(change: Callable[[Any], Any], given: Any) -> Any:
    """The same with each leaf changed."""
    if isinstance(given, list | tuple):
        return type(given)([_mapped(change, one) for one in given])
    return change(given)


class PretendCuda(TorchDispatchMode):
    """Computes what is asked of `cuda` on the CPU; `waits` are the places where the host waited for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.recording: list[tuple[Any, Any, Any, Any]] | None = None
        self.replays = 0
        self._pinned: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat = _leaves((*args, *kwargs.values()))
        name = func.overloadpacket.__name__
        there = any(isinstance(leaf, OnDevice) for leaf in flat)
        devices = [leaf.type for leaf in flat if isinstance(leaf, torch.device)]
        asked = {"meta": "cuda"}.get(devices[0], devices[0]) if devices else None
        if name in ("_to_copy", "to") and asked == "cpu" and there:
            self._wait(name)
        elif name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            if isinstance(args[1], OnDevice) or not self._goes_by_itself(args[1], args[2:3] == (True,)):
                self._wait(name)
        elif asked == "cuda" and not there and any(isinstance(leaf, Tensor) for leaf in flat):
            if not self._goes_by_itself(args[0], bool(kwargs.get("non_blocking"))):
                self._wait(name)
        elif there:
            self._check(name, flat)
        result_there = there if asked is None else asked == "cuda"
        if name == "copy_":
            result_there = isinstance(args[0], OnDevice)
        plain = (_mapped(_plain, args), {key: _mapped(_plain, value) for key, value in kwargs.items()})
        out = func(*plain[0], **plain[1])
        if self.recording is not None and (there or result_there):
            self.recording.append((func, *plain, out))
        if not result_there:
            return out
        own = {id(leaf.elem): leaf for leaf in flat if isinstance(leaf, OnDevice)}

        def placed(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return own[id(leaf)] if id(leaf) in own else OnDevice(leaf)

        return _mapped(placed, out)

    def _goes_by_itself(self, source: Any, non_blocking: bool) -> bool:
        """Whether a copy to the device needs nobody to wait: from pinned memory, and told not to block."""
        return non_blocking and id(source) in self._pinned

    def _check(self, name: str, flat: list[Any]) -> None:
        """What a GPU would refuse (tensors of two devices), and what it would wait for."""
        masks = [leaf for leaf in flat if isinstance(leaf, OnDevice) and leaf.dtype in (torch.bool, torch.uint8)]
        if name in WAITS or (name in INDEXING and any(m is not flat[0] for m in masks)):
            self._wait(name)
        here = [leaf for leaf in flat if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice) and leaf.ndim]
        if here and name in INDEXING and isinstance(flat[0], OnDevice):
            self._wait(name)  # an index of the CPU is copied over
        elif here:
            raise RuntimeError(f"{name}: tensors of the CPU and of the device: {[tuple(t.shape) for t in here]}")

    def _wait(self, name: str) -> None:
        frame = sys._getframe()
        while frame is not None and not re.search("decodebench|transformers", frame.f_code.co_filename):
            frame = frame.f_back
        place = "?" if frame is None else f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        if self.recording is not None:
            raise RuntimeError(f"{name} at {place}: not permitted while a graph is captured")
        self.waits.append(f"{name} at {place}")

    @torch.inference_mode()
    def put(self, module: nn.Module) -> nn.Module:
        """Put a module's parameters and buffers on the device; tied ones stay tied."""
        moved: dict[int, Any] = {}
        for part in module.modules():
            for store in (part._parameters, part._buffers):
                for name, tensor in store.items():
                    if tensor is not None:
                        there = moved.get(id(tensor))
                        if there is None:
                            there = OnDevice(tensor.detach())
                            is_parameter = isinstance(tensor, nn.Parameter)
                            there = nn.Parameter(there, requires_grad=False) if is_parameter else there
                            moved[id(tensor)] = there
                        store[name] = there
        return module

    def pin(self, tensor: Tensor) -> Tensor:
        """What `Tensor.pin_memory` would give; kept for ever, so that its id stays its own."""
        copy = tensor.clone()
        self._pinned.add(id(copy))
        _KEPT.append(copy)
        return copy


_KEPT: list[Tensor] = []


class PretendGraph:
    """A captured graph: what was recorded, run again on the memory that it was recorded with."""

    mode: PretendCuda

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        self.mode.replays += 1
        for func, args, kwargs, outs in self.steps:
            again = func(*args, **kwargs)
            for new, old in zip(_leaves([again]), _leaves([outs]), strict=True):
                if isinstance(new, Tensor) and new.untyped_storage().data_ptr() != old.untyped_storage().data_ptr():
                    old.copy_(new)

    def pool(self) -> tuple[int, int]:
        return (0, 0)


@contextmanager
def pretend_cuda(monkeypatch: pytest.MonkeyPatch, mode: Any = None) -> Iterator[Any]:
    """Within the block torch has a device `cuda:0`, which is the CPU in disguise; `mode` is a PretendCuda."""
    mode = mode or PretendCuda()

    @contextmanager
    def capture(graph: PretendGraph, **options: Any) -> Iterator[None]:
        mode.recording = graph.steps
        try:
            yield
        finally:
            mode.recording = None

    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: mode.recording is not None)
    for name, answer in (
        ("synchronize", None),
        ("Stream", "a stream"),
        ("current_stream", "the stream"),
        ("set_stream", None),
        ("device", nullcontext()),
        ("get_sync_debug_mode", 0),
        ("set_sync_debug_mode", None),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *given, answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", type("CUDAGraph", (PretendGraph,), {"mode": mode}))
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, device=None: mode.pin(self))
    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: tolist(self.cpu()))
    tensor = torch.tensor

    def tensor_there(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        return tensor(data, **options) if device is None else tensor(data, **options).to(device)

    monkeypatch.setattr(torch, "tensor", tensor_there)
    with mode:
        yield mode
