"""A run under way: its plan, its folder, and what its stages have told its manifest so far."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from decodebench.plan import Plan
from decodebench.records import Generation, StoredPrompt
from decodebench.run.manifest import manifest
from decodebench.run.progress import Progress
from decodebench.store import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUnderWay:
    """What each stage is given. A stage keeps nothing: it writes to `store`, and tells `progress` what the manifest
    says of it. With `adds`, cells that are stored stay beside the plan's.
    """

    plan: Plan
    store: RunStore
    progress: Progress
    adds: bool

    @classmethod
    @contextmanager
    def of(cls, plan: Plan, *, adds: bool) -> "Iterator[RunUnderWay]":
        """Open the folder of a plan, and close it again. Raises StoreError where it holds something else."""
        store = RunStore(plan.run_dir)
        store.refuse_fewer_texts({job.cell.id: job.strategy.samples * job.strategy.returns for job in plan.jobs})
        if not adds:
            store.refuse_foreign(job.cell.id for job in plan.jobs)
        try:
            yield cls(plan=plan, store=store, progress=Progress(), adds=adds)
        finally:
            store.close()

    def begin(self) -> None:
        """Write the manifest as it is by now; the first time this creates the folder."""
        self._drop_times_of_other_calls()
        now = self.manifest("running")
        prompts = self._prompts(now)
        self.store.begin(now)
        if prompts != self.store.prompts:
            self.store.write_prompts(prompts)

    def manifest(self, status: str) -> dict[str, Any]:
        """What the run says of itself by now."""
        return manifest(self.plan, self.progress, status, earlier=self.store.manifest, keeps=self.adds)

    def _prompts(self, now: Mapping[str, Any]) -> list[StoredPrompt]:
        """The prompts of each set, in the order of the manifest that is to be; those of cells beside the plan's as they
        are stored, under the set's label of today."""
        planned = {job.cell.id: job for job in self.plan.jobs}
        then = {entry["id"]: entry["prompts"] for entry in self.store.manifest.get("cells", ())}
        sets: dict[str, list[StoredPrompt]] = {entry["prompts"]: [] for entry in now["cells"]}
        for cell, label in ((entry["id"], entry["prompts"]) for entry in now["cells"]):
            if not sets[label] and cell in planned:
                sets[label] = [StoredPrompt.of(label, prompt) for prompt in planned[cell].prompts]
            elif not sets[label]:
                sets[label] = [replace(row, prompts=label) for row in self.store.prompts if row.prompts == then[cell]]
        return [row for rows in sets.values() for row in rows]

    def _drop_times_of_other_calls(self) -> None:
        """Let go of the times of cells that are to return another number of texts than the manifest says."""
        before = {entry["id"]: _returned(entry["config"]) for entry in self.store.manifest.get("cells", ())}
        now = {job.cell.id: _returned(job.cell.config) for job in self.plan.jobs}
        times = [t for t in self.store.timings if before.get(t.cell) == now.get(t.cell, before.get(t.cell))]
        if len(times) < len(self.store.timings):
            self.store.write_timings(times)

    def texts(self) -> list[Generation]:
        """What has been decoded, in the order of prompts and samples."""
        place = {(job.cell.id, prompt.id): n for job in self.plan.jobs for n, prompt in enumerate(job.prompts)}
        texts = list(self.store.generations.values())
        for text in texts:
            place.setdefault((text.cell, text.prompt_id), len(place))  # of a cell beside the plan: as it was
        return sorted(texts, key=lambda g: (place[g.cell, g.prompt_id], g.sample))


def _returned(config: Mapping[str, Any]) -> Any:
    """How many texts the timed call of a cell returns; None where that is no number of its own."""
    return config["strategy"].get("num_return_sequences")
