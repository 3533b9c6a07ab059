"""requests -> generations: what shares a model is decoded together, and stored as it finishes."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from decodebench.decoding.requests import Prepared
from decodebench.decoding.solo import decode_alone
from decodebench.engine import Decoder, Forward, Outcome, Request, Room, choose_rows, make_paired, room
from decodebench.errors import DecodebenchError, NoMemoryError, StoreError, guarded, some
from decodebench.models import LoadedModel, free_bytes, ids_sha256, load_second, peak_memory, vocabulary
from decodebench.plan import EngineConfig
from decodebench.records import Counts, Generation
from decodebench.store import RunStore
from decodebench.strategies.step import ending, text_of

log = logging.getLogger(__name__)

Failure = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the rows were estimated to take, and what the process (on CUDA: the allocator) took while they decoded.

    `halvings`: how often memory ran out and half as many rows went on.
    """

    room: Room
    measured_bytes: int | None
    measured_reason: str | None
    halvings: int


def waiting(prepared: Sequence[Prepared], store: RunStore) -> list[Request]:
    """The requests of which the store lacks a text."""
    return [r for p in prepared for r in p.requests if any(key not in store.generations for key in p.keys(r))]


def refuse_other_prompts(prepared: Sequence[Prepared], store: RunStore) -> None:
    """Raise StoreError where texts of these cells are stored that follow other token ids than the model makes of their
    prompts now: its templates may read a clock, its tokenizer's code may be another."""
    others: dict[str, None] = {}
    for cell in prepared:
        for request in cell.requests:
            fed = {store.generations[key].prompt_ids_sha256 for key in cell.keys(request) if key in store.generations}
            if fed - {None, ids_sha256(request.prompt_ids)}:
                others[request.prompt_id] = None
    if others:
        run_dir = store.run_dir
        raise StoreError(
            f"name={run_dir.name}: {run_dir} holds texts after other tokens of the prompts {some(others)} than are fed "
            f"for them now; to start afresh choose another name=, or delete {run_dir}"
        )


def rows_that_fit(todo: Sequence[Request], loaded: LoadedModel, forward: Forward, engine: EngineConfig) -> Room | None:
    """How many rows the memory has room for; None where no packed request is left to do.

    Raises ConfigError where `engine.memory_gb` is too little for one request.
    """
    packed = [request for request in todo if request.strategy.packs]
    if not packed:
        return None
    return room(
        packed,
        forward,
        vocabulary=vocabulary(loaded.model),
        logit_bytes=loaded.model.dtype.itemsize,
        free_bytes=free_bytes(loaded.device),
        memory_gb=engine.memory_gb,
        max_rows=engine.max_rows,
    )


def decode_cells(
    prepared: Sequence[Prepared],
    todo: Sequence[Request],
    fits: Room | None,
    loaded: LoadedModel,
    forward: Forward,
    *,
    store: RunStore,
    failure: Failure,
) -> tuple[Counts, Memory | None]:
    """Decode the waiting requests; every finished one goes to the store at once.

    Returns what was done, and the memory of the rows: None where there was nothing to do.
    """
    total = sum(p.job.strategy.returns * len(p.requests) for p in prepared)
    to_decode = sum(r.strategy.returns for r in todo)
    before = Counts(requests_total=total, requests_stored_before=total - to_decode)
    if not todo:
        return before, None
    with (
        peak_memory(loaded.device) as peak,
        logging_redirect_tqdm(),
        tqdm(total=sum(map(_expected, todo)), unit="tok", desc=f"decoding {to_decode} texts", disable=None) as bar,
    ):
        cells = {p.job.cell.id: p for p in prepared}
        decoding = _Decoding(cells, loaded, forward, store, bar, failure, before)
        start_bytes, _ = peak()
        if fits is not None:
            for requests in _batches(todo):
                decoding.together(requests, fits)
        peak_bytes, why = peak()
        decoding.alone([request for request in todo if not request.strategy.packs])
    if fits is None:
        return decoding.done, None
    measured = None if peak_bytes is None or start_bytes is None else peak_bytes - start_bytes
    return decoding.done, Memory(room=fits, measured_bytes=measured, measured_reason=why, halvings=decoding.halvings)


@dataclass
class _Decoding:
    """Decoding under way: where finished texts and failed cells go, and what was done so far."""

    cells: dict[str, Prepared]
    loaded: LoadedModel
    forward: Forward
    store: RunStore
    bar: Any
    failure: Failure
    done: Counts
    halvings: int = 0
    _finished: set[tuple[str, str, int]] = field(default_factory=set)
    _failed: set[str] = field(default_factory=set)

    def together(self, requests: Sequence[Request], fits: Room) -> None:
        """Decode requests in packed batches.

        What the batch as a whole raises, such as a model that lacks what one strategy reads, may be the fault of one
        cell: the cells go on in halves, down to those that fail alone.
        """
        raised: list[DecodebenchError] = []
        with guarded(raised.append):
            self._packed(requests, fits)
        if not raised:
            return
        left = self._left(requests)
        cells = list(dict.fromkeys(request.cell for request in left))
        if not cells:
            raise raised[0]  # everything was done: no cell is at fault
        if len(cells) == 1:
            self._fail(cells[0], str(raised[0]))
            return
        for half in (cells[: len(cells) // 2], cells[len(cells) // 2 :]):
            self.together([request for request in left if request.cell in half], fits)

    def _left(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are neither finished nor of a cell that failed."""
        return [r for r in requests if r.cell not in self._failed and _key(r) not in self._finished]

    def _packed(self, requests: Sequence[Request], fits: Room) -> None:
        """One batch; where memory runs out, half as many rows go on with what is left."""
        widest = max(request.strategy.width for request in requests)
        max_rows = fits.max_rows if requests[0].strategy.second_model is None else max(widest, fits.max_rows // 2)
        while True:
            left = self._left(requests)
            rows = self._rows_for(left)
            try:
                Decoder(rows, max_rows=max_rows, sink=self._sink, failure=self._fail).run(left, tick=self._tick)
                return
            except (torch.OutOfMemoryError, MemoryError) as error:
                self._halve(max_rows, widest, error)
                max_rows = max(widest, max_rows // 2)
            finally:
                if rows.capture_failure:
                    log.warning("steps were not captured as CUDA graphs any more: %s", rows.capture_failure)
                self._count(rows.prefills, rows.forward_passes, rows.tokens_computed)
                del rows  # before new ones are made

    def alone(self, requests: Sequence[Request]) -> None:
        """Decode what does not pack, one request after the other."""
        try:
            solo = decode_alone(requests, self.loaded, sink=self._sink, failure=self._fail, tick=self._tick)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._no_memory(1) from error
        self._count(solo.prefills, solo.forward_passes, solo.tokens_computed)

    def _halve(self, max_rows: int, widest: int, error: BaseException) -> None:
        """Say that memory ran out. Raises NoMemoryError where fewer rows cannot be."""
        if max_rows <= widest:
            raise self._no_memory(max_rows) from error
        self.halvings += 1
        log.warning("engine.max_rows=%d: out of memory; half as many rows go on", max_rows)

    def _no_memory(self, max_rows: int) -> NoMemoryError:
        return NoMemoryError(
            f"engine.max_rows={max_rows}: out of memory, and no request has fewer rows; finished texts are kept, "
            f"and the same command with name={self.store.run_dir.name} goes on where there is more"
        )

    def _rows_for(self, requests: Sequence[Request]) -> Any:
        """New rows, of two models where the strategies read a second one."""
        hidden_layers = {layer for request in requests for layer in request.strategy.hidden_layers(request.facts)}
        model, device = self.loaded.model, self.loaded.device
        place = requests[0].strategy.second_model if requests else None
        if place is None:
            return self.forward.make_rows(model, device, hidden_layers)
        second = load_second(place, self.loaded)
        forwards = self.forward, choose_rows(second, device, vocabulary(second), self.forward.graphs)
        return make_paired((model, second), forwards, device, hidden_layers)

    def _fail(self, cell: str, why: str) -> None:
        self._failed.add(cell)
        self.failure(cell, why)

    def _sink(self, outcomes: Sequence[Outcome]) -> None:
        self.store.append([_generation(o, self.cells[o.request.cell]) for o in outcomes])
        alone = sum(outcome.computed_tokens for outcome in outcomes)
        self.done = replace(
            self.done,
            requests_decoded=self.done.requests_decoded + len(outcomes),
            tokens_alone=self.done.tokens_alone + alone,
        )
        for outcome in (o for o in outcomes if o.rank == 0):  # a text that ended early: less is left to do
            self._finished.add(_key(outcome.request))
            self.bar.total = max(self.bar.n, (self.bar.total or 0) - _spared(outcome))

    def _tick(self, fed: int) -> None:
        self.bar.update(fed)

    def _count(self, prefills: int, forward_passes: int, tokens: int) -> None:
        self.done = replace(
            self.done,
            prefills=self.done.prefills + prefills,
            forward_passes=self.done.forward_passes + forward_passes,
            tokens_computed=self.done.tokens_computed + tokens,
        )


def _key(request: Request) -> tuple[str, str, int]:
    return request.cell, request.prompt_id, request.sample


def _batches(todo: Sequence[Request]) -> list[list[Request]]:
    """What is packed together: the requests that need the model alone, and those of each second model."""
    batches: dict[str | None, list[Request]] = {}
    for request in (request for request in todo if request.strategy.packs):
        batches.setdefault(request.strategy.second_model, []).append(request)
    return list(batches.values())


def _expected(request: Request) -> int:
    """Rows fed for a request that runs to its limit: its last token is not fed. Unpacked: the tokens of its text."""
    return request.strategy.width * (request.limit - 1) if request.strategy.packs else request.limit


def _spared(outcome: Outcome) -> int:
    """How much less than expected a request took."""
    request = outcome.request
    fed = outcome.computed_tokens - len(request.prompt_ids)
    return max(0, _expected(request) - (fed if request.strategy.packs else len(outcome.token_ids)))


def _generation(outcome: Outcome, prepared: Prepared) -> Generation:
    job = prepared.job
    request = outcome.request
    end = ending(request.facts, request.prompt_ids, outcome.token_ids)
    return Generation(
        cell=job.cell.id,
        model=job.cell.model,
        strategy=job.cell.strategy,
        seed=job.cell.seed,
        prompt_id=request.prompt_id,
        sample=request.sample * job.strategy.returns + outcome.rank,
        prompt=prepared.texts[request.prompt_id],
        text=text_of(request.facts, outcome.token_ids, end),
        token_ids=outcome.token_ids,
        token_logprobs=outcome.token_logprobs,
        finish_reason=end.reason,
        delivered_tokens=len(outcome.token_ids),
        computed_tokens=outcome.computed_tokens,
        score=outcome.score,
        token_margins=outcome.token_margins,
        is_search=job.strategy.is_search,
        prompt_ids_sha256=ids_sha256(request.prompt_ids),
        content_tokens=end.content if end.match else None,
        **({} if outcome.drafting is None else asdict(outcome.drafting)),
    )
