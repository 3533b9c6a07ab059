"""Threads and the path of float32 products: as the configuration asks, never less exact, and put back afterwards."""

import pytest
import torch

from decodebench.errors import ConfigError
from decodebench.models import device
from decodebench.models.device import cpu_threads, fastest_exact_products
from decodebench.plan.config import EngineConfig

CPU = torch.device("cpu")


def test_threads_hold_within_the_block() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with cpu_threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_no_threads_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^engine.threads=0: allowed is 1 or more, or null \(one for each core\)$"):
        EngineConfig(threads=0)


@pytest.mark.parametrize(("error", "chosen"), [(3e-7, "medium"), (3e-3, "highest")])
def test_the_other_library_is_taken_only_where_it_is_as_exact(
    error: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_product_error", {"highest": 2e-7, "medium": error}.__getitem__)
    before = torch.get_float32_matmul_precision()
    with fastest_exact_products(CPU, torch.float32) as found:
        assert torch.get_float32_matmul_precision() == chosen
    assert torch.get_float32_matmul_precision() == before
    words = "by oneDNN" if chosen == "medium" else "not by oneDNN"
    assert found == f"float32 products {words}: relative error {error:.1e}, 2.0e-07 without (probed)"


def test_what_is_chosen_is_exact_on_this_machine() -> None:
    """Products of 512 terms within 1e-5 of float64, where bfloat16 is off by 1e-3."""
    left, right = torch.randn(64, 512), torch.randn(512, 256)
    exact = left.double() @ right.double()
    with fastest_exact_products(CPU, torch.float32):
        assert float((left @ right - exact).abs().max() / exact.abs().max()) < 1e-5
    assert float((left.bfloat16() @ right.bfloat16() - exact).abs().max() / exact.abs().max()) > 1e-3


def test_half_precision_is_left_alone() -> None:
    with fastest_exact_products(CPU, torch.bfloat16) as found:
        assert torch.get_float32_matmul_precision() == "highest"
    assert found == "bfloat16 products as torch computes them"
