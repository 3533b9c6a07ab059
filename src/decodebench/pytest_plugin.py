"""`pytest --decodebench-baseline=baselines/NAME --decodebench-run=results/NAME`: a test for each finding of a check.

pytest imports this at every start, so nothing else of decodebench is imported before the options are given.
"""

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from decodebench.regression import Check, Finding

_BASELINE, _RUN, _RULES = "--decodebench-baseline", "--decodebench-run", "--decodebench-rules"
_NODE = "decodebench"
_CHECK = pytest.StashKey["Check"]()
_CHOSEN = pytest.StashKey[list[str]]()


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


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers
def pytest_sessionstart(session: pytest.Session) -> None:
    """Make the check, where one is asked for; what is wrong with it is a usage error, one line."""
    config = session.config
    baseline, run, rules = (config.getoption(name) for name in (_BASELINE, _RUN, _RULES))
    if baseline is None and run is None:
        if rules is not None:
            raise pytest.UsageError(f"{_RULES}={rules}: has no effect without {_BASELINE} and {_RUN}")
        return
    if baseline is None or run is None:
        raise pytest.UsageError(
            f"{_BASELINE} and {_RUN} belong together; {_RUN if run is None else _BASELINE} is missing"
        )
    # The ids of findings are no paths, in which pytest would look for them.
    config.stash[_CHOSEN] = [word for word in config.args if word.startswith(f"{_NODE}::")]
    config.args = [word for word in config.args if word not in config.stash[_CHOSEN]]
    if hasattr(config, "workerinput"):
        config.stash[_CHECK] = pickle.loads(config.workerinput[_NODE])  # of the process that started us
        return

    from decodebench.errors import DecodebenchError
    from decodebench.regression import check

    try:
        config.stash[_CHECK] = check(Path(run), Path(baseline), None if rules is None else Path(rules))
    except DecodebenchError as error:
        raise pytest.UsageError(f"decodebench: {error}") from error
    ids = [f"{_NODE}::{name}" for name, _ in _tests(config.stash[_CHECK])]
    for word in config.stash[_CHOSEN]:
        if not any(_is_in(each, word) for each in ids):
            raise pytest.UsageError(f"{word}: not found; allowed: {', '.join(ids)}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of xdist gets the check: all must have the same tests, and none needs the run's folder."""
    if (found := node.config.stash.get(_CHECK, None)) is not None:
        node.workerinput[_NODE] = pickle.dumps(found)


@pytest.hookimpl(tryfirst=True)  # before -k, -m, --lf and --sw look at the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of the check: all of them, or those whose ids were given."""
    if (found := config.stash.get(_CHECK, None)) is None:
        return
    node = _CheckNode.from_parent(session, name=_NODE, nodeid=_NODE, check=found)
    tests, chosen = list(node.collect()), config.stash[_CHOSEN]
    items.extend(test for test in tests if not chosen or any(_is_in(test.nodeid, word) for word in chosen))


def _is_in(nodeid: str, word: str) -> bool:
    return nodeid == word or nodeid.startswith(f"{word}::")


class _CheckNode(pytest.Collector):
    """What the tests of a check belong to."""

    def __init__(self, *, check: "Check", **known: object) -> None:
        super().__init__(**known)  # type: ignore[arg-type]
        self._check = check

    def collect(self) -> "Iterator[pytest.Item]":
        """The tests, each with its id as pytest reads it from its cache and a command line: :: parts it."""
        for name, finding in _tests(self._check):
            known = {"name": name, "nodeid": f"{self.nodeid}::{name}"}
            if finding is None:
                why = "cannot be compared: " + "; ".join(self._check.incomparable)
                yield _Comparable.from_parent(self, why=why, **known)
            else:
                yield _FindingItem.from_parent(self, finding=finding, **known)


def _tests(check: "Check") -> "Iterator[tuple[str, Finding | None]]":
    """One test for each finding, in the order of the check; where nothing can be compared one that says why."""
    if check.incomparable:
        yield "comparable", None
    for finding in check.findings:
        parts = filter(None, (finding.model, finding.prompts, finding.strategy))
        kind = f" ({finding.kind})" if finding.metric else ""
        yield f"{'/'.join(parts)}::{finding.name}{kind}", finding


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
            try:
                self._warn()
            except DecodebenchWarning:  # -W error is for the user's own code: what only warns fails nothing
                with warnings.catch_warnings():
                    warnings.simplefilter("always", DecodebenchWarning)
                    self._warn()

    def _warn(self) -> None:
        said = f"{self.name}: {self._finding.outcome}: {self._finding.message}"
        warnings.warn(said, DecodebenchWarning, stacklevel=2)
