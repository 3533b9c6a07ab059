"""readings.parquet while it is made: every cell that is finished is a file of its own, so that a killed pass goes on.

One cell at a time is in memory: it is a row group of readings.parquet, which is copied from these files at the end.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decodebench.errors import DecodebenchError, StoreError, guarded
from decodebench.records import Reading
from decodebench.store import opened, rows_of_cell, schema, write_whole

log = logging.getLogger(__name__)

Key = tuple[str, int]
"""(prompt id, sample): what names a text in a cell."""


class ReadingFiles:
    """The readings of one scorer in a run folder; those of another scorer are as good as none.

    `scorer` is what tells scorers apart (id, fingerprint, dtype); every file has it in its metadata.
    """

    def __init__(self, run_dir: Path, scorer: Mapping[str, Any]) -> None:
        self._path = run_dir / "readings.parquet"
        self._folder = run_dir / "readings"
        self._schema = schema(Reading).with_metadata({"scorer": json.dumps(dict(scorer), sort_keys=True)})

    def stored(self, cell: str) -> dict[Key, tuple[int, ...]]:
        """The tokens of each text of a cell that has been read before; empty where the cell has not."""
        table = self._read(cell)
        rows = [] if table is None else table.select(["prompt_id", "sample", "token_ids"]).to_pylist()
        return {(row["prompt_id"], row["sample"]): tuple(row["token_ids"]) for row in rows}

    def put(self, cell: str, readings: Iterable[Reading]) -> None:
        """Keep the readings of a whole cell, in this order."""
        table = pa.Table.from_pylist([asdict(reading) for reading in readings], schema=self._schema)
        write_whole(self._part(cell), lambda path: pq.write_table(table, path))

    def finish(self, cells: Iterable[str]) -> None:
        """Write readings.parquet with the cells in this order, those that were not read left out."""

        def write(path: Path) -> None:
            with pq.ParquetWriter(path, self._schema) as writer:
                for cell in cells:
                    table = self._read(cell)
                    if table is not None:
                        writer.write_table(table, row_group_size=len(table))

        write_whole(self._path, write)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, cell: str) -> Path:
        return self._folder / f"{cell}.parquet"

    def _read(self, cell: str) -> Any:
        """The table of a cell, from its own file or from readings.parquet; None where there is none of this scorer.

        A file of its own that is half-written, or empty, is as good as none. Raises StoreError where readings.parquet,
        which is written whole, is damaged.
        """
        raised: list[DecodebenchError] = []
        with guarded(raised.append):
            table = self._rows(self._part(cell), cell)
            if table is not None:
                return table
        for error in raised:
            log.warning("%s; the cell is read again", error)
        try:
            return self._rows(self._path, cell)
        except StoreError as error:
            raise StoreError(
                f"{self._path}: cannot be read, is it cut off? delete it to read it again ({error})"
            ) from error

    def _rows(self, path: Path, cell: str) -> Any:
        """The rows of a cell in a file; None where it has none, or is of another scorer."""
        with opened(path, Reading, optional=True) as file:
            if file is None or file.schema_arrow.metadata != self._schema.metadata:
                return None
            table = rows_of_cell(file, Reading, cell)
            return table.cast(self._schema) if len(table) else None
