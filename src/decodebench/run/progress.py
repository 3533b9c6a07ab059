"""What the stages of a run tell its manifest."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from decodebench.errors import DecodebenchError
from decodebench.records import Counts, FailedCell

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Progress:
    """What a run learns while it goes on. `models`, `generation_configs` and `failed` are by cell id.

    `references` are the ids of cells of references that there are; `unread` says of cells (None: of all) why a model
    could not read their texts, `untimed` of cells why their calls could not be timed,
    `unjudged` why the task could not judge the texts. `warnings` are lines on what is
    odd, with the cells that each holds of, in order.
    """

    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    generation_configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, FailedCell] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)
    scorer: Mapping[str, Any] | None = None
    unread: dict[str | None, str] = field(default_factory=dict)
    untimed: dict[str, str] = field(default_factory=dict)
    unjudged: dict[str | None, str] = field(default_factory=dict)
    warnings: dict[str, dict[str, None]] = field(default_factory=dict)
    first_error: DecodebenchError | None = None
    counts: Counts = field(default_factory=Counts)
    memory: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the block's seconds to `seconds[what]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

    def warn(self, cells: Iterable[str], warnings: Iterable[str]) -> None:
        """Note what is odd about some cells, for the manifest and the report; the user is told at once."""
        cells = tuple(cells)
        for warning in warnings:
            if warning not in self.warnings:
                log.warning("%s", warning)
            self.warnings.setdefault(warning, {}).update(dict.fromkeys(cells))

    def fail(self, cell: str, error: DecodebenchError | str) -> None:
        """Note that a cell failed."""
        if isinstance(error, DecodebenchError) and self.first_error is None:
            self.first_error = error
        self.failed[cell] = FailedCell(cell=cell, error=str(error))
