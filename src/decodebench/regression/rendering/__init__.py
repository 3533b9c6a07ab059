"""What a check looks like: in a terminal, in a pull request, for CI. Nothing here computes."""

from decodebench.regression.rendering.github import github_annotations
from decodebench.regression.rendering.junit import junit_xml
from decodebench.regression.rendering.machine import check_json
from decodebench.regression.rendering.page import check_markdown
from decodebench.regression.rendering.side_by_side import explanation_text
from decodebench.regression.rendering.terminal import check_text

__all__ = [
    "check_json",
    "check_markdown",
    "check_text",
    "explanation_text",
    "github_annotations",
    "junit_xml",
]
