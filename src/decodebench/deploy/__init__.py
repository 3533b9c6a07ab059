"""A strategy in a user's hands. In: a strategy, or a cell of a stored run. Out: what `model.generate` takes.

`generate` makes a GenerationConfig, or a callable for `generate(custom_generate=...)` that runs our engine;
`exporting` writes either for a cell. `engines` has the terms of engines outside: `handing` writes a cell in these,
`importing` makes a strategy of what is served.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from decodebench.deploy.generate import custom_generate, exports, generation_config, generation_config_fields, quiet

__all__ = [
    "custom_generate",
    "engine_named",
    "export_cell",
    "exports",
    "generation_config",
    "generation_config_fields",
    "hand_over",
    "import_settings",
    "quiet",
]

if TYPE_CHECKING:
    from decodebench.deploy.exporting import export_cell
    from decodebench.deploy.handing import engine_named, hand_over
    from decodebench.deploy.importing import import_settings

_LATER = {
    "export_cell": "exporting",
    "engine_named": "handing",
    "hand_over": "handing",
    "import_settings": "importing",
}


def __getattr__(name: str) -> Any:
    """What reads stored runs when it is asked for: a machine that only decodes need not be able to."""
    if name in _LATER:
        return getattr(import_module(f"decodebench.deploy.{_LATER[name]}"), name)
    raise AttributeError(name)
