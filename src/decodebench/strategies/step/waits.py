"""How a step gets along without waiting for the device: numbers are handed over, and questions are left open.

A question is what a step must know of the device's numbers before it can go on. On a CPU an answer costs nothing, on
an accelerator a wait for all that it has been given to do. But the questions of decoding nearly always have the same
answer: the candidates looked at were enough, the logits are finite. So there the first answer is yes, and all that was
left open in a step is looked at in the one transfer that the step needs anyway. A step that went on wrongly is taken
again, by one who waits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST_ON_ACCELERATORS = 1024
"""So many of the largest scores cost an accelerator little more than 64 do, and are nearly always enough."""


class Questions:
    """The questions of one step: `patient` ones are answered at once, others are left open as if the answer were yes.

    `least` is how many of the largest scores are worth looking at.
    """

    def __init__(self, patient: bool = True, least: int = 0) -> None:
        self._patient = patient
        self.least = least
        self._open: list[Tensor] = []
        self._could_be_wider = False

    @classmethod
    def first(cls, device: torch.device, least: int = 0) -> "Questions":
        """Those of a step that is taken for the first time on a device."""
        if device.type == "cpu":
            return cls()
        return cls(patient=False, least=max(least, _LEAST_ON_ACCELERATORS))

    def all_true(self, yes: Tensor) -> bool:
        """Whether all values of a boolean tensor are true, or are taken to be for now."""
        if self._patient:
            return bool(yes.all())
        self._open.append(yes.all())
        return True

    def widths(self, widths: Sequence[int], vocabulary: int) -> list[int]:
        """How many of the largest scores to look at, one after the other: some of `widths`, at last all."""
        found = [*(width for width in widths if self.least <= width < vocabulary), vocabulary]
        self._could_be_wider |= len(found) > 1
        return found

    def again(self) -> "Questions":
        """Patient ones for the same step, which look at more if more would have helped."""
        return Questions(least=4 * self.least if self._could_be_wider else self.least)

    def answer(self, device: torch.device) -> Tensor:
        """Whether all that was left open was true: a boolean tensor without dimensions, still on the device."""
        if not self._open:
            return torch.ones((), dtype=torch.bool, device=device)
        return torch.stack(self._open).all()


def upload(values: Sequence[object], device: torch.device) -> Tensor:
    """Whole numbers as an int64 tensor on the device; nobody waits until they are there."""
    return handed_over(torch.tensor(values, dtype=torch.int64), device)


def handed_over(here: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; nobody waits until it is there."""
    if device.type == "cuda":  # from ordinary memory the copy would first wait for all that the device has to do
        return here.pin_memory().to(device, non_blocking=True)
    return here.to(device)


def among(values: Tensor, few: Tensor) -> Tensor:
    """Whether each value is one of a few, [n]: `torch.isin`, which waits for a device where it decides to sort."""
    return (values[..., None] == few).any(-1)


def true_or_all(mask_B: Tensor) -> Tensor:
    """The places of a mask that are true, [n]; on an accelerator all places, [B], because to know would be to wait.

    For work that may be done for nothing: whoever asks must not use what comes of the places that are not true.
    """
    if mask_B.device.type == "cpu":
        return mask_B.nonzero().squeeze(1)
    return torch.arange(len(mask_B), device=mask_B.device)
