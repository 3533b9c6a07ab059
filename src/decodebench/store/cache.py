"""Where this user's converted models and the locks of run folders lie."""

import os
from pathlib import Path


def cache_root() -> Path:
    """The folder for converted models: $DECODEBENCH_CACHE, else the user's cache folder of this platform."""
    import platformdirs  # not at the top: a model with random weights needs no cache, nor the library

    return Path(os.environ.get("DECODEBENCH_CACHE") or platformdirs.user_cache_dir("decodebench")).expanduser()
