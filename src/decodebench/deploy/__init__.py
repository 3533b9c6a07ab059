"""deploy."""

from decodebench.deploy.exporting import export_cell
from decodebench.deploy.generate import custom_generate, exports, generation_config, generation_config_fields, quiet

__all__ = ["custom_generate", "export_cell", "exports", "generation_config", "generation_config_fields", "quiet"]
