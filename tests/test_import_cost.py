"""``import tinyldm`` costs about as much as ``import torch``: it loads nothing large that torch does not."""

import importlib.util
import json
import subprocess
import sys

import pytest

import tinyldm

HEAVY = [
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "diffusers",
    "transformers",
    "ipywidgets",
    "IPython",
    "jupyter_core",
    "nbformat",
    "tqdm",
    "PIL",
]


def loaded(code):
    """The modules that a fresh interpreter holds after running ``code``."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def added():
    """What ``import tinyldm`` loads and ``import torch`` does not."""
    return loaded("import tinyldm") - loaded("import torch")


def test_import_loads_no_third_party_package_but_numpy_and_safetensors(added):
    foreign = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names)
    assert foreign == {"tinyldm", "numpy", "safetensors"}


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_nothing_heavy(name, added):
    assert not any(module == name or module.startswith(f"{name}.") for module in added)


def test_import_loads_few_modules(added):
    """Standard-library modules count too: torch loads a thousand modules, the library is some eighty small files."""
    assert len(added) < 100


def test_upper_floors_are_loaded_when_asked_for():
    lazy = {f"tinyldm.{name}" for name in tinyldm.SUBMODULES} - {"tinyldm.losses"}  # the bounds need its times
    assert not loaded("import tinyldm") & lazy
    assert "tinyldm.data" in loaded("import tinyldm; tinyldm.data.load")
    assert "tinyldm.metrics" in loaded("import tinyldm; tinyldm.metrics.psnr")


def test_every_promised_name_exists():
    for name in tinyldm.__all__:
        assert getattr(tinyldm, name) is not None
    for name in tinyldm.SUBMODULES:
        assert importlib.util.find_spec(f"tinyldm.{name}") is not None
    assert set(tinyldm.SUBMODULES) | set(tinyldm.__all__) <= set(dir(tinyldm))
    with pytest.raises(AttributeError, match="no attribute 'difusion'"):
        tinyldm.difusion  # noqa: B018
