"""Where prompts come from: inline items, files (`formats` reads them) and data sets of the hub, as tables.

What the values mean is not decided here (sets.py does). Every function takes `key`, the "key=value" of the
configuration that a PromptError names.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from decodebench.errors import PromptError, allowed_names, one_line
from decodebench.prompts.formats import GZ, READERS, Row, Table, split_name, table_of, unpacked

FILE_SUFFIXES = tuple(READERS)


def inline_table(key: str, items: Sequence[Any], allowed: Sequence[str]) -> Table:
    """The items of a configuration: mappings with `allowed` keys."""
    rows = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise PromptError(f"{key}: item {number}: must be a mapping, not {item!r:.80}")
        for name in item:
            if name not in allowed:
                raise PromptError(f"{key}: item {number}: key {name}: {allowed_names(str(name), allowed)}")
        rows.append(Row(f"item {number}", item))
    return table_of(rows)


def hub_table(
    key: str, dataset_id: str, config_name: str | None, split: str, revision: str | None, limit: int | None
) -> Table:
    """The first `limit` rows (None: all) of one split, through `datasets.load_dataset`."""
    try:
        import datasets  # an optional extra, and slow to import
    except ImportError as error:
        raise PromptError(f"{key}: needs the package datasets: pip install 'decodebench[hub]'") from error
    try:
        data = datasets.load_dataset(dataset_id, name=config_name, split=split, revision=revision)
    except ConnectionError as error:
        raise PromptError(
            f"{key}: the hub cannot be reached ({one_line(error, 200)}): connect and unset HF_HUB_OFFLINE, "
            "or save the prompts as a file and use prompts=file prompts.path=..."
        ) from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise PromptError(f"{key}: cannot be loaded with prompts.split={split}: {one_line(error, 200)}") from error
    n_rows = len(data) if limit is None else min(limit, len(data))
    return Table(list(data.column_names), [Row(f"row {i + 1}", data[i]) for i in range(n_rows)])


def file_table(key: str, path: Path) -> Table:
    """The rows of a file, whose suffix names its format, with .gz after it or not. A .txt holds one prompt a line, in
    the column `text`."""
    if path.is_dir():
        raise PromptError(f"{key}: is a folder; give a file ({', '.join(FILE_SUFFIXES)})")
    if not path.is_file():
        raise PromptError(f"{key}: no such file (looked for {path.absolute()})")
    check_suffix(key, path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PromptError(f"{key}: cannot be read: {error.strerror}") from error
    raw = unpacked(key, path, raw)
    if not raw.removeprefix(b"\xef\xbb\xbf").strip():
        raise PromptError(f"{key}: the file is empty")
    table = READERS[split_name(path)[1]](key, raw)
    for column in table.columns:
        if table.columns.count(column) > 1:
            raise PromptError(f"{key}: two columns are named {column!r}")
    return table


def check_suffix(key: str, path: Path, allowed: Collection[str] = FILE_SUFFIXES) -> None:
    """Raise PromptError for a file of another format."""
    suffix = split_name(path)[1]
    if suffix not in allowed:
        shown = suffix + (GZ if path.suffix.lower() == GZ else "")
        raise PromptError(
            f"{key}: unknown suffix {shown or '(none)'}: {allowed_names(suffix, allowed)}; {GZ} may follow each"
        )
