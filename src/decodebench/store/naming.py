"""What the cells of a run are called: in its report, and by whoever names one of them to a command."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from decodebench.errors import one_line


def labels(manifest: Mapping[str, Any]) -> dict[str, str]:
    """A short unique name for each cell id: the strategy, and what else differs between the cells of the run."""
    cells = manifest["cells"]
    varying = [key for key in ("model", "prompts", "seed") if len({cell[key] for cell in cells}) > 1]
    names = {}
    for cell in (*cells, *(manifest.get("references") or ())):
        extras = [f"seed={cell[key]}" if key == "seed" else str(cell[key]) for key in varying if key in cell]
        names[str(cell["id"])] = one_line(" · ".join([str(cell["strategy"]), *extras]))
    count = Counter(names.values())
    return {cell: f"{name} #{cell}" if count[name] > 1 else name for cell, name in names.items()}
