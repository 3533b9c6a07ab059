"""Numbers in texts."""

import re


def last_number(text: str) -> str | None:
    """The last number of a text."""
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return found[-1] if found else None
