"""A strategy in a user's hands. In: a strategy, or a cell of a stored run. Out: what `model.generate` takes.

`generate` makes a GenerationConfig, or a callable for `generate(custom_generate=...)` that runs our engine;
`exporting` writes either for a cell.
"""

from typing import TYPE_CHECKING, Any

from decodebench.deploy.generate import custom_generate, exports, generation_config, generation_config_fields, quiet

__all__ = ["custom_generate", "export_cell", "exports", "generation_config", "generation_config_fields", "quiet"]

if TYPE_CHECKING:
    from decodebench.deploy.exporting import export_cell


def __getattr__(name: str) -> Any:
    """`export_cell` when it is asked for: it reads stored runs, and a machine that only decodes need not be able to."""
    if name == "export_cell":
        from decodebench.deploy.exporting import export_cell

        return export_cell
    raise AttributeError(name)
