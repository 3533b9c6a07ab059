"""`pytest --decodebench-baseline=baselines/NAME --decodebench-run=results/NAME`: a test for each finding of a check.

pytest imports this at every start, so nothing else of decodebench is imported before the options are given.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from decodebench.regression import Check, Finding

_BASELINE, _RUN, _RULES = "--decodebench-baseline", "--decodebench-run", "--decodebench-rules"


class DecodebenchWarning(UserWarning):
    """A finding that a check only warns of."""


class CheckFailedError(Exception):
    """A finding that fails a check; its message is shown without a traceback."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The three options."""
    group = parser.getgroup("decodebench", "decoding quality against a baseline")
    group.addoption(_BASELINE, metavar="FILE", help="a file of `python -m decodebench baseline`")
    group.addoption(_RUN, metavar="FOLDER", help="the folder of the run that is checked against it")
    group.addoption(_RULES, metavar="FILE", help="a yaml file of rules (default: decodebench's own)")


@pytest.hookimpl(tryfirst=True)  # before -k and -m look at the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of the check, where one is asked for."""
    baseline, run, rules = (config.getoption(name) for name in (_BASELINE, _RUN, _RULES))
    if baseline is None and run is None:
        if rules is not None:
            raise pytest.UsageError(f"{_RULES}={rules}: has no effect without {_BASELINE} and {_RUN}")
        return
    if baseline is None or run is None:
        raise pytest.UsageError(
            f"{_BASELINE} and {_RUN} belong together; {_RUN if run is None else _BASELINE} is missing"
        )

    from decodebench.errors import DecodebenchError
    from decodebench.regression import check

    try:
        found = check(Path(run), Path(baseline), None if rules is None else Path(rules))
    except DecodebenchError as error:
        raise pytest.UsageError(f"decodebench: {error}") from error
    items.extend(_CheckNode.from_parent(session, name="decodebench", nodeid="decodebench", check=found).collect())


class _CheckNode(pytest.Collector):
    """What the tests of a check belong to."""

    def __init__(self, *, check: "Check", **known: object) -> None:
        super().__init__(**known)  # type: ignore[arg-type]
        self._check = check

    def collect(self) -> "Sequence[pytest.Item]":
        """One test for each finding, in the order of the check; where nothing can be compared one that says why."""
        if self._check.incomparable:
            why = "cannot be compared: " + "; ".join(self._check.incomparable)
            return [_Comparable.from_parent(self, name="comparable", why=why)]
        return [_FindingItem.from_parent(self, name=name, finding=each) for name, each in self._named()]

    def _named(self) -> "Iterator[tuple[str, Finding]]":
        for each in self._check.findings:
            parts = filter(None, (each.model, each.prompts, each.strategy))
            kind = f" ({each.kind})" if each.metric else ""
            yield f"{'/'.join(parts)}::{each.name}{kind}", each


class _CheckItem(pytest.Item):
    """A test that fails without a traceback: where it was raised says nothing."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The lines of the finding."""
        if isinstance(excinfo.value, CheckFailedError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The headline of a failure."""
        return self.config.rootpath, None, f"decodebench {self.name}"


class _Comparable(_CheckItem):
    def __init__(self, *, why: str, **known: object) -> None:
        super().__init__(**known)  # type: ignore[arg-type]
        self._why = why

    def runtest(self) -> None:
        """Fail."""
        raise CheckFailedError(self._why)


class _FindingItem(_CheckItem):
    def __init__(self, *, finding: "Finding", **known: object) -> None:
        super().__init__(**known)  # type: ignore[arg-type]
        self._finding = finding

    def runtest(self) -> None:
        """Fail, skip what cannot be told or is new, warn of what is only warned of, or pass."""
        finding = self._finding
        if finding.fails:
            raise CheckFailedError("\n".join((f"{finding.outcome}: {finding.message}", *finding.details)))
        if finding.outcome in ("cannot tell", "new", "missing"):
            pytest.skip(f"{finding.outcome}: {finding.message}")
        if finding.outcome != "pass":
            warnings.warn(f"{self.name}: {finding.outcome}: {finding.message}", DecodebenchWarning, stacklevel=2)
