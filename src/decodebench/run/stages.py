"""The stages of a run that decode, time, read and judge. Each is given the run under way, and leaves its result in the folder:

load_model -> decode (journal) -> time (latency) -> read_references (references) -> read_by_itself, read_by_another
(readings); finish, which makes the tables of what there is; and judge (judgements), of these tables.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from decodebench.decoding import (
    Prepared,
    decode_cells,
    prepare,
    reference_texts,
    refuse_other_prompts,
    rows_that_fit,
    waiting,
)
from decodebench.engine import Forward, Request, Room, choose_rows
from decodebench.errors import DecodebenchError, guarded, noted
from decodebench.latency import measure_latency, timed_calls
from decodebench.models import SELF, LoadedModel, fastest_exact_products, load, second_identity, vocabulary
from decodebench.plan import Job, model_told
from decodebench.reading import Readings, by_cell, finish_readings, read_other, read_own
from decodebench.records import Counts, Generation, Timing
from decodebench.run.manifest import memory_entry, model_entry
from decodebench.run.underway import RunUnderWay
from decodebench.scoring import judge_run, leave_unjudged

log = logging.getLogger(__name__)
_Record = TypeVar("_Record", Generation, Timing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInUse:
    """A model in memory with its cells: how it is run, what is ready to decode, and what of that is still to do."""

    jobs: Sequence[Job]
    loaded: LoadedModel
    forward: Forward
    prepared: Sequence[Prepared]
    todo: Sequence[Request]
    fits: Room | None


def load_model(run: RunUnderWay, jobs: Sequence[Job]) -> ModelInUse | None:
    """Load the model of these cells, find out how it runs, and prepare its cells; None where nothing can be decoded."""
    progress, engine = run.progress, run.plan.engine

    def fail(error: DecodebenchError) -> None:
        for job in jobs:
            if job.cell.id not in progress.failed:  # one that failed already has a reason of its own
                progress.fail(job.cell.id, error)

    prepared: list[Prepared] = []
    with guarded(fail):
        with progress.timed("load"):
            loaded = load(jobs[0].model, announce=log.info)
            run.store.refuse_other_model(model_told(jobs[0].model), asdict(loaded.identity))
            with fastest_exact_products(loaded.device, loaded.model.dtype) as products:
                forward = choose_rows(loaded.model, loaded.device, vocabulary(loaded.model), engine.cuda_graphs)
        progress.warn((job.cell.id for job in jobs), loaded.warnings)
        prepared = _prepare(run, jobs, loaded)
        refuse_other_prompts(prepared, run.store)
        todo = waiting(prepared, run.store)
        fits = rows_that_fit(todo, loaded, forward, engine)
    if all(job.cell.id in progress.failed for job in jobs):
        return None
    if forward.path != "cached":
        log.warning("%s is decoded without a cache, slowly: %s", loaded.name, forward.reason)
    elif loaded.device.type == "cuda" and engine.cuda_graphs and not forward.graphs:
        log.warning("%s is decoded without CUDA graphs, slower: %s", loaded.name, forward.graphs_reason)
    progress.models |= {job.cell.id: model_entry(loaded, forward, products, job.model) for job in jobs}
    return ModelInUse(jobs=jobs, loaded=loaded, forward=forward, prepared=prepared, todo=todo, fits=fits)


def _prepare(run: RunUnderWay, jobs: Sequence[Job], loaded: LoadedModel) -> list[Prepared]:
    """The cells that this model can decode; the others fail."""
    prepared = []
    for job in jobs:
        with guarded(partial(run.progress.fail, job.cell.id)):
            ready = prepare(job, loaded)
            place = job.strategy.second_model
            if place and (second := second_identity(place)):
                run.store.refuse_other_second_model(place, asdict(second))
            prepared.append(ready)
            run.progress.warn([job.cell.id], ready.warnings)
            run.progress.generation_configs[job.cell.id] = ready.generation_config
    return prepared


def decode(run: RunUnderWay, model: ModelInUse) -> None:
    """Decode what the folder lacks of these cells; each text is in the journal when it is finished."""
    run.begin()
    progress, loaded = run.progress, model.loaded
    with progress.timed("decode"), fastest_exact_products(loaded.device, loaded.model.dtype):
        counts, memory = decode_cells(
            model.prepared,
            model.todo,
            model.fits,
            loaded,
            model.forward,
            store=run.store,
            failure=progress.fail,
        )
    if memory is not None:
        progress.memory[model.jobs[0].cell.model] = memory_entry(memory)
    progress.counts = _sum(progress.counts, counts)


def time_cells(run: RunUnderWay, model: ModelInUse) -> None:
    """The timed pass over the cells of a model; what the folder has of it is kept if none is missing."""
    config, store, untimed = run.plan.latency, run.store, run.progress.untimed
    if config.rounds == 0:
        return
    with run.progress.timed("latency"):
        decoded = [one for one in model.prepared if one.job.cell.id not in run.progress.failed]
        calls = []
        for one in decoded:
            with noted(untimed, one.job.cell.id):
                calls += timed_calls(one, config, model.loaded)
        wanted = {(call.cell, call.prompt_id, number) for call in calls for number in range(config.rounds)}
        stored = [t for t in store.timings if (t.cell, t.prompt_id, t.round) in wanted]
        if len(stored) == len(wanted) and all(t.new_tokens == config.new_tokens for t in stored):
            return
        total = len(calls) * (config.warmups + config.rounds)
        with tqdm(total=total, unit="call", desc="timing", disable=None) as bar:
            timings = measure_latency(model.loaded, calls, config, untimed=untimed, tick=bar.update)
        timed = {t.cell for t in timings}
        store.write_timings([*(t for t in store.timings if t.cell not in timed), *timings])


def read_references(run: RunUnderWay, model: ModelInUse) -> None:
    """The references of the prompts as texts of a cell of their own, with the log-probs that the model gives them."""
    if not any(prompt.reference for job in model.jobs for prompt in job.prompts):
        return
    store = run.store
    with run.progress.timed("references"):
        run.begin()  # the manifest knows now which cells failed
        read = reference_texts(model.jobs, store.manifest, store.references, model.loaded)
        these = {g.cell for g in read.texts}
        store.write_references([*(g for g in store.references if g.cell not in these), *read.texts])
        run.progress.references |= these
        run.progress.unread |= read.unread


def read_by_itself(run: RunUnderWay, model: ModelInUse) -> None:
    """What the model says of all its texts in a second pass, where it is the scorer."""
    if run.plan.scorer.id != SELF:
        return
    run.begin()
    manifest = run.store.manifest
    label = next(c["model"] for c in manifest["cells"] if c["id"] == model.jobs[0].cell.id)
    with run.progress.timed("read"):
        _told(run, read_own(run.store.run_dir, model.loaded, manifest, label, _all_texts(run)))


def read_by_another(run: RunUnderWay) -> None:
    """The second pass of a scorer that is another model; what cannot be read is told when all else is done."""
    if not run.progress.models or run.plan.scorer.id in (None, SELF):
        return
    device = run.plan.jobs[0].model.device
    with run.progress.timed("read"), noted(run.progress.unread, None):
        run.begin()
        manifest = run.store.manifest
        _told(run, read_other(run.store.run_dir, run.plan.scorer, device, manifest, _all_texts(run)))


def _all_texts(run: RunUnderWay) -> dict[str, list[Generation]]:
    return by_cell((*run.texts(), *run.store.references))


def _told(run: RunUnderWay, readings: Readings) -> None:
    run.progress.unread |= readings.unread
    run.progress.warn((cell["id"] for cell in run.store.manifest["cells"]), readings.warnings)
    run.progress.scorer = readings.scorer


def finish(run: RunUnderWay) -> None:
    """Turn the journal into the tables, in the order of the manifest, and close the manifest.

    Raises the first error where no cell could be started.
    """
    if not run.progress.models:
        if run.progress.first_error is not None and not run.adds:
            raise run.progress.first_error
        run.begin()
    store = run.store
    done = run.manifest("failed" if run.progress.failed else "complete")
    cells = {cell["id"]: cell for cell in done["cells"]}
    order = {cell: n for n, cell in enumerate(cells)}

    def labelled(record: _Record) -> _Record:
        """With today's labels of its cell: a larger grid may need more in them."""
        cell = cells[record.cell]
        return replace(record, model=cell["model"], strategy=cell["strategy"])

    texts = sorted((labelled(g) for g in run.texts() if g.cell in cells), key=lambda g: order[g.cell])
    timings = [labelled(t) for t in store.timings if t.cell in cells]
    humans = {entry["id"]: entry["model"] for entry in done["references"]}
    store.write_references(replace(g, model=humans[g.cell]) for g in store.references if g.cell in humans)
    finish_readings(store.run_dir, run.progress.scorer, done)
    store.finish(texts, sorted(timings, key=lambda t: (order[t.cell], t.round)))
    store.write_manifest(done)


def judge(run: RunUnderWay) -> None:
    """What the task says of each text; all of them anew, since another task takes other answers from the same texts.

    Texts that cannot be judged are none the worse for it: the run is reported without, and says why.
    """
    run_dir, task, unjudged = run.plan.run_dir, run.plan.task, run.progress.unjudged
    with noted(unjudged, None):
        judge_run(run_dir, task)
    for reason in unjudged.values():
        leave_unjudged(run_dir, task, reason)


def _sum(a: Counts, b: Counts) -> Counts:
    return Counts(**{f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(Counts)})
