"""A run from its plan to its report: load each model once, decode its cells together, time them, score, render."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from decodebench.decoding import Prepared, decode_cells, generate_call, prepare, references, rows_that_fit, waiting
from decodebench.deploy import exports, generation_config_fields
from decodebench.engine import choose_rows
from decodebench.errors import DecodebenchError, ModelError
from decodebench.latency import TimedCall, measure_latency
from decodebench.models import (
    SELF,
    LoadedModel,
    cpu_threads,
    fastest_exact_products,
    load,
    second_fingerprint,
    vocabulary,
)
from decodebench.plan import Job, LatencyConfig, Plan
from decodebench.reading import SecondPass, by_cell
from decodebench.records import Counts, Generation, Timing
from decodebench.run.manifest import Progress, manifest, memory_entry, model_entry
from decodebench.scoring import score_run
from decodebench.store import RunStore, locked

log = logging.getLogger(__name__)
_Record = TypeVar("_Record", Generation, Timing)


class RunFailedError(DecodebenchError):
    """Some cells of a finished run could not be decoded; the others are in its report."""

    exit_code = 1


def execute(plan: Plan, *, adds: bool = False, echo: Callable[[str], None] = print) -> Path:
    """Decode, time, score and report a plan; returns the run folder.

    `adds` is for launchers that hand over one cell after the other: cells already stored stay beside the plan's.
    Raises the error itself where no cell could be started (nothing is written then), RunFailedError where some failed.
    """
    from decodebench.report import render

    with locked(plan.run_dir):
        store = RunStore(plan.run_dir)
        if not adds:
            store.refuse_foreign(job.cell.id for job in plan.jobs)
        run = _Run(plan, store, adds)
        try:
            run.decode_and_time()
            run.finish()
        finally:
            store.close()
        score_run(plan.run_dir)
        report = render(plan.run_dir)
    echo(report.table)
    echo(f"\nreport: {report.html}")
    failed, cells = store.manifest["failed"], store.manifest["cells"]
    if run.progress.failed:
        so_far = " so far" if adds else ""
        raise RunFailedError(f"{len(failed)} of {len(cells)} cells{so_far} failed; the reasons are in {report.html}")
    if unread := run.progress.unread:
        why = next(iter(unread.values()))
        raise RunFailedError(f"the texts are in {plan.run_dir}, but not all could be read again: {why}")
    return plan.run_dir


class _Run:
    """A plan under way in its folder."""

    def __init__(self, plan: Plan, store: RunStore, adds: bool) -> None:
        self.plan = plan
        self.store = store
        self.adds = adds
        self.progress = Progress()
        self.timings: list[Timing] = []
        self.reading = SecondPass(plan.run_dir, plan.scorer)

    def decode_and_time(self) -> None:
        """Every model in turn. Raises the first error where no cell could be started."""
        by_model: dict[str, list[Job]] = {}
        for job in self.plan.jobs:
            by_model.setdefault(repr(job.model), []).append(job)
        with cpu_threads(self.plan.engine.threads):
            for jobs in by_model.values():
                self._one_model(jobs)  # which lets go of its model when it returns: there is room for one
            if self.progress.models and self.plan.scorer.id not in (None, SELF):
                self._read_by_another()
        if not self.progress.models:
            if self.progress.first_error is not None and not self.adds:
                raise self.progress.first_error
            self._begin()

    def _one_model(self, jobs: Sequence[Job]) -> None:
        """Load, check, decode, time."""
        progress = self.progress
        try:
            with progress.timed("load"):
                loaded = load(jobs[0].model, announce=log.info)
                self.store.refuse_other_weights((j.cell.id for j in jobs), loaded.fingerprint, loaded.dtype)
                with fastest_exact_products(loaded.device, loaded.model.dtype) as products:
                    cuda_graphs = self.plan.engine.cuda_graphs
                    forward = choose_rows(loaded.model, loaded.device, vocabulary(loaded.model), cuda_graphs)
            prepared = self._prepare(jobs, loaded)
            todo = waiting(prepared, self.store)
            fits = rows_that_fit(todo, loaded, forward, self.plan.engine)
        except DecodebenchError as error:
            for job in jobs:
                if job.cell.id not in progress.failed:  # one that failed already has a reason of its own
                    progress.fail(job.cell.id, error)
            return
        if not prepared:
            return
        if forward.path != "cached":
            log.warning("%s is decoded without a cache, slowly: %s", loaded.name, forward.reason)
        elif loaded.device.type == "cuda" and self.plan.engine.cuda_graphs and not forward.graphs:
            log.warning("%s is decoded without CUDA graphs, slower: %s", loaded.name, forward.graphs_reason)
        progress.models |= {job.cell.id: model_entry(loaded, forward, products, job.model) for job in jobs}
        self._begin()
        with progress.timed("decode"), fastest_exact_products(loaded.device, loaded.model.dtype):
            counts, memory = decode_cells(
                prepared, todo, fits, loaded, forward, store=self.store, failure=progress.fail
            )
        if memory is not None:
            progress.memory[jobs[0].cell.model] = memory_entry(memory)
        progress.counts = _sum(progress.counts, counts)
        with progress.timed("latency"):
            self.timings += self._time([p for p in prepared if p.job.cell.id not in progress.failed], loaded)
        self._read(jobs, loaded)

    def _read(self, jobs: Sequence[Job], loaded: LoadedModel) -> None:
        """The references of the prompts, and what the model says of all texts if it is the scorer."""
        if any(prompt.reference for job in jobs for prompt in job.prompts):
            with self.progress.timed("references"):
                self._read_references(jobs, loaded)
        if self.plan.scorer.id == SELF:
            self._begin()  # the manifest knows now which cells failed
            label = next(c["model"] for c in self.store.manifest["cells"] if c["id"] == jobs[0].cell.id)
            with self.progress.timed("read"):
                self.reading.own(loaded, self.store.manifest, label, by_cell((*self._texts(), *self.store.references)))

    def _read_references(self, jobs: Sequence[Job], loaded: LoadedModel) -> None:
        self._begin()
        read = references(jobs, self.store.manifest, self.store.references, loaded)
        these = {g.cell for g in read.texts}
        self.store.write_references([*(g for g in self.store.references if g.cell not in these), *read.texts])
        self.progress.references |= these
        self.progress.unread |= read.unread

    def _read_by_another(self) -> None:
        """The second pass of a scorer that is another model; what cannot be read is told when all else is done."""
        try:
            with self.progress.timed("read"):
                self._begin()
                self.reading.other(
                    self.plan.jobs[0].model.device,
                    self.store.manifest,
                    by_cell((*self._texts(), *self.store.references)),
                )
        except ModelError as error:
            self.progress.unread[None] = str(error)

    def _texts(self) -> list[Generation]:
        """What has been decoded, in the order of prompts and samples."""
        place = {(job.cell.id, prompt.id): n for job in self.plan.jobs for n, prompt in enumerate(job.prompts)}
        texts = list(self.store.generations.values())
        for text in texts:
            place.setdefault((text.cell, text.prompt_id), len(place))  # of a cell beside the plan: as it was
        return sorted(texts, key=lambda g: (place[g.cell, g.prompt_id], g.sample))

    def _prepare(self, jobs: Sequence[Job], loaded: LoadedModel) -> list[Prepared]:
        prepared = []
        for job in jobs:
            try:
                ready = prepare(job, loaded)
                if place := job.strategy.second_model:
                    self.store.refuse_other_second_model(place, second_fingerprint(place))
                prepared.append(ready)
            except DecodebenchError as error:
                self.progress.fail(job.cell.id, error)
            else:
                self.progress.generation_configs[job.cell.id] = prepared[-1].generation_config
        return prepared

    def _begin(self) -> None:
        self.store.begin(self._manifest("running"))

    def _manifest(self, status: str) -> dict[str, Any]:
        return manifest(self.plan, self.progress, status, earlier=self.store.manifest, keeps=self.adds)

    def _time(self, prepared: Sequence[Prepared], loaded: LoadedModel) -> list[Timing]:
        """The timed pass over the cells of one model; rows that the folder has of it are kept if none is missing."""
        config = self.plan.latency
        if config.rounds == 0:
            return []
        calls = [call for one in prepared for call in _calls(one, config, loaded)]
        wanted = {(call.cell, call.prompt_id, number) for call in calls for number in range(config.rounds)}
        stored = [t for t in self.store.timings if (t.cell, t.prompt_id, t.round) in wanted]
        if len(stored) == len(wanted) and all(t.new_tokens == config.new_tokens for t in stored):
            return stored
        total = len(calls) * (config.warmups + config.rounds)
        with tqdm(total=total, unit="call", desc="timing", disable=None) as bar:
            return measure_latency(loaded, calls, config, tick=bar.update)

    def finish(self) -> None:
        """Turn the journal into the tables, in the order of the manifest, and close the manifest."""
        self.progress.unread |= self.reading.unread
        self.progress.scorer = self.reading.scorer
        done = self._manifest("failed" if self.progress.failed else "complete")
        cells = {cell["id"]: cell for cell in done["cells"]}
        order = {cell: n for n, cell in enumerate(cells)}

        def labelled(record: _Record) -> _Record:
            """With today's labels of its cell: a larger grid may need more in them."""
            cell = cells[record.cell]
            return replace(record, model=cell["model"], strategy=cell["strategy"])

        texts = sorted((labelled(g) for g in self._texts() if g.cell in cells), key=lambda g: order[g.cell])
        timed = {t.cell for t in self.timings}
        others = [t for t in self.store.timings if t.cell in cells and t.cell not in timed]
        timings = sorted(map(labelled, (*others, *self.timings)), key=lambda t: (order[t.cell], t.round))
        people = {entry["id"]: entry["model"] for entry in done["references"]}
        self.store.write_references(replace(g, model=people[g.cell]) for g in self.store.references if g.cell in people)
        self.reading.finish(done)
        self.store.finish(texts, timings)
        self.store.write_manifest(done)


def _calls(prepared: Prepared, config: LatencyConfig, loaded: LoadedModel) -> list[TimedCall]:
    """What is timed of a cell: its strategy on its first prompts, without an EOS that would end a text early."""
    cell, strategy = prepared.job.cell, prepared.job.strategy
    fields_ = generation_config_fields(
        strategy,
        eos_ids=(),
        pad_id=loaded.pad_id,
        limit=config.new_tokens,
        min_new_tokens=0,
        facts=prepared.requests[0].facts,
    )
    fields_, named = generate_call(strategy, fields_, loaded)
    prompts = dict.fromkeys((request.prompt_id, request.prompt_ids) for request in prepared.requests)
    room = math.inf if loaded.context_length is None else loaded.context_length - config.new_tokens
    fitting = [(prompt_id, ids) for prompt_id, ids in prompts if len(ids) <= room]
    if not fitting:
        log.warning(
            "%s is not timed: with latency.new_tokens=%d no prompt fits the context of %s",
            cell.strategy,
            config.new_tokens,
            cell.model,
        )
    return [
        TimedCall(
            cell=cell.id,
            model=cell.model,
            strategy=cell.strategy,
            prompt_id=prompt_id,
            prompt_ids=prompt_ids,
            fields=fields_,
            named=named,
            ours=None if exports(strategy) else strategy,
        )
        for prompt_id, prompt_ids in fitting[: config.prompts]
    ]


def _sum(a: Counts, b: Counts) -> Counts:
    return Counts(**{f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(Counts)})
