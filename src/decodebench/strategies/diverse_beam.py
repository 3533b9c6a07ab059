"""Diverse beam search: groups of beams that avoid each other's tokens (Vijayakumar et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from decodebench.strategies.beam import Advance, Beam, best_of_beams, rows_of, top_logprobs
from decodebench.strategies.step import EMPTY, Moves, State, View


@dataclass(frozen=True, kw_only=True)
class DiverseBeam(Beam):
    """`num_beam_groups` beam searches of equal size, which choose in turn within each step.

    A token with which n beams of earlier groups go on at this step costs a later group n x diversity_penalty (Hamming
    diversity), after the penalties that every strategy has. As in the group beam search of transformers 4, what it
    costs stays in the score, and of all groups' texts the best are returned, which may hold a text twice.

    Each group stops by itself, as a beam search of its size would, and rests while others go on. A request owns
    2 x num_beams rows: first those that run, group by group, then the finished ones in the same order.
    """

    num_beam_groups: int = 5
    diversity_penalty: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        divides = self.num_beam_groups >= 1 and self.num_beams % self.num_beam_groups == 0
        self.require("num_beam_groups", divides, f"a divisor of strategy.num_beams={self.num_beams}")
        alone = self.num_beam_groups == 1
        fits = self.diversity_penalty == 0 if alone else self.diversity_penalty > 0
        self.require("diversity_penalty", fits, "above 0 (with strategy.num_beam_groups=1: 0)")

    @property
    def in_transformers(self) -> bool:
        return False

    @property
    def _group_size(self) -> int:
        return self.num_beams // self.num_beam_groups

    def start(self, requests: int, device: torch.device) -> State:
        state = super().start(requests, device)
        groups = self.num_beam_groups
        first = state["running"][:, : self._group_size]
        return state | {
            "running": first.repeat(1, groups),
            "improvable": state["improvable"].repeat(1, groups),
            "stopped": torch.zeros(requests, groups, dtype=torch.bool, device=device),
        }

    def step(self, view: View, state: State) -> Moves:
        size, groups = self._group_size, self.num_beam_groups
        requests = len(view.physical_B) // self.rows
        # The rows of a stopped group rest: they have no logits, and their texts are shorter. The group is computed with
        # the rows of one that runs, and nothing comes of it.
        live_R1 = state["stopped"].to(torch.int8).argmin(1, keepdim=True)
        first_R1 = torch.arange(requests, device=view.device)[:, None] * self.rows

        chosen: list[Tensor] = []
        advances: list[Advance] = []
        for group in range(groups):
            own = _of_group(state, group, size)
            stopped_R1 = own.pop("stopped")
            at_R1 = torch.where(stopped_R1, live_R1, group) * size
            rows = view.select((first_R1 + at_R1 + torch.arange(size, device=view.device)).flatten())
            candidates = self._group_candidates(rows, own["running"], chosen)
            advance = self._advance(rows, own, candidates)
            chosen.append(torch.where(stopped_R1, EMPTY, _best_unfinished(rows, candidates, size)))
            advances.append(_resting(advance, own, stopped_R1))
        return self._moves(first_R1, advances)

    def _group_candidates(self, rows: View, running: Tensor, chosen: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of one group, after what the earlier ones chose: score, beam, token, [R, C]."""
        count = self._candidate_count(rows.eos_ids.numel())
        if not chosen:
            return best_of_beams(*top_logprobs(self, rows, count), running, count)
        chosen_RN = torch.cat(chosen, dim=1)
        # At most N tokens lose, so the best `count` are among the count + N that are best before the penalty.
        score_BC, token_BC = top_logprobs(self, rows, count + chosen_RN.shape[1])
        times_BC = (token_BC.reshape(len(running), -1, 1) == chosen_RN[:, None]).sum(-1).view_as(token_BC)
        score_BC = score_BC - self.diversity_penalty * times_BC
        return best_of_beams(score_BC, token_BC, running, count)

    def _moves(self, first_R1: Tensor, advances: list[Advance]) -> Moves:
        """The moves of all groups: the rows that run, then the finished ones."""
        size = self._group_size
        source_RB = torch.stack([a.source for a in advances], dim=1)
        offset_G1 = torch.arange(len(advances), device=first_R1.device)[:, None] * size
        source_RB = source_RB + offset_G1 + (source_RB >= size) * (self.num_beams - size) + first_R1[:, :, None]
        halves = [source_RB, *(torch.stack([getattr(a, name) for a in advances], dim=1) for name in ("emit", "feed"))]
        parent_B, emit_B, feed_B = (
            torch.cat([t[:, :, :size].flatten(1), t[:, :, size:].flatten(1)], dim=1).flatten() for t in halves
        )
        state = {name: torch.cat([a.state[name] for a in advances], dim=1) for name in advances[0].state}
        state["stopped"] = torch.cat([a.stop for a in advances], dim=1)
        return Moves(parent_B=parent_B, emit_B=emit_B, feed_B=feed_B, state=state)

    def _candidate_count(self, eos_count: int) -> int:
        return max(2, 1 + eos_count) * self._group_size

    def ranking(self, view: View, state: State) -> tuple[Tensor, Tensor | None]:
        score, order = state["finished"].sort(dim=1, descending=True, stable=True)
        return (self.num_beams + order[:, : self.returns]).cpu(), score[:, : self.returns].cpu()


def _of_group(state: State, group: int, size: int) -> State:
    """The columns of one group."""
    columns = {"running": size, "finished": size, "is_finished": size, "improvable": 1, "stopped": 1}
    return {name: state[name][:, group * wide : (group + 1) * wide] for name, wide in columns.items()}


def _best_unfinished(rows: View, candidates: tuple[Tensor, Tensor, Tensor], size: int) -> Tensor:
    """What a group is said to choose: the tokens of its best candidates that finish no text, at the limit too."""
    _, beam_RC, token_RC = candidates
    order = rows.finishes(token_RC, rows_of(beam_RC, size)).to(torch.int8).argsort(dim=1, stable=True)
    return token_RC.gather(1, order[:, :size])


def _resting(advance: Advance, before: State, stopped_R1: Tensor) -> Advance:
    """The advance of a group, where it has not stopped before; there it stays as it is."""
    nothing = torch.full_like(advance.emit, EMPTY)
    stay = torch.arange(advance.source.shape[1], device=stopped_R1.device)
    return Advance(
        source=torch.where(stopped_R1, stay, advance.source),
        emit=torch.where(stopped_R1, nothing, advance.emit),
        feed=torch.where(stopped_R1, nothing, advance.feed),
        stop=stopped_R1 | advance.stop,
        state={name: torch.where(stopped_R1, before[name], now) for name, now in advance.state.items()},
    )
