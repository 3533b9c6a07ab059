"""The wheel: built from this checkout, it has all that a run needs and works without the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(ROOT), *options], check=True, timeout=300)
    (wheel,) = folder.glob("decodebench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def test_the_wheel_has_the_package_the_configuration_and_the_plugins(unpacked: Path) -> None:
    inside = {name for name in files(unpacked) if ".dist-info/" not in name}
    assert {name for name in inside if name.startswith("decodebench/conf/")} == {
        f"decodebench/conf/{name}" for name in files(ROOT / "conf")
    }
    assert {name for name in inside if not name.startswith("decodebench/conf/")} == files(ROOT / "src")
    assert "hydra_plugins/__init__.py" not in inside, "a namespace: other packages put plugins there too"


def test_it_works_from_anywhere_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = f"""
import sys
src = {str(ROOT / "src")!r}
sys.path = [{str(unpacked)!r}, *(p for p in sys.path if p not in ("", src))]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import decodebench.plan.config
from decodebench.__main__ import main
print(decodebench.plan.config.conf_dir())
code = main(["--cfg", "job", "strategy=beam", "strategy.num_beams=7"])
bad = main(["-m", "strategy=greedy,beam", "strategy.num_beams=1", "latency=skip"])
print(code, bad)
assert not [m for m in sys.modules.values() if str(getattr(m, "__file__", "")).startswith(src)]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(unpacked / "decodebench" / "conf")
    assert "num_beams: 7" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 3"
    assert done.stderr.startswith("decodebench: error: strategy.num_beams=1: has no effect with strategy=greedy")
    assert list(tmp_path.iterdir()) == []
