"""The house stands: imports go downward only, files stay small, and chance, files and code come in by the front door."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tinyldm

ROOT = Path(tinyldm.__file__).parent
HOUSE = (  # the floors from the ground up; the one place where they are written down
    "broadcast errors files runtime",
    "path",
    "prediction",
    "gaussian",
    "nn",
    "denoiser guidance dynamics",
    "solvers losses",
    "likelihood",
    "space text saved latent fingerprint train data metrics",
    "zoo",
    "experiments",
    "viz exercises __main__",
)
NETWORKS = (  # the storeys inside nn
    "config sinusoids packing tokenizer",
    "condition layers positions",
    "attention",
    "attention_maps autoencoder points unet mmdit quantizer discriminator features text classifier",
    "adapter clip",
    "controlnet",
    "foreign tiling",
    "names presets",
    "weights",
    "__init__",
)
FLOORS = {room: number for number, rooms in enumerate(HOUSE) for room in rooms.split()}
STOREYS = {room: number for number, rooms in enumerate(NETWORKS) for room in rooms.split()}
TOP = FLOORS["viz"]
TOP_ONLY = {"matplotlib", "mpl_toolkits", "ipywidgets", "IPython", "PIL"}
READS_PICTURES = (("data", "pictures"), ("data", "icons"))  # drawing is the top floor's; these need Pillow
LONGEST = 300


def name_of(file):
    """A file as its module path inside the package, ("nn", "unet"); a package's own code is ("nn", "__init__")."""
    return file.relative_to(ROOT).with_suffix("").parts


FILES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}
EACH = {"argvalues": FILES, "ids": [".".join(name) for name in FILES]}


def floor(name):
    return FLOORS.get(name[0])


def find(parts, known=FILES):
    """The module that ``parts`` names: a file, or a package's ``__init__``; the last part may be a name inside it."""
    for candidate in (parts, (*parts, "__init__"), parts[:-1], (*parts[:-1], "__init__")):
        if candidate in known:
            return candidate
    raise AssertionError(f"no such module: {parts}")


def imports(name, tree, known=FILES):
    """Modules of the package that a file imports, wherever in the file it does so, and top-level names of all others."""
    inside, outside = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [tuple(alias.name.split(".")) for alias in node.names]
            inside |= {find(p[1:] or ("__init__",), known) for p in parts if p[0] == "tinyldm"}
            outside |= {p[0] for p in parts if p[0] != "tinyldm"}
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level == 0 and module[0] != "tinyldm":
                outside.add(module[0])
                continue
            base = name[: len(name) - node.level] + module if node.level else module[1:]
            inside |= {find((*base, alias.name), known) for alias in node.names}
    return inside - {name}, outside


def violations(name, tree, known=FILES):
    """Imports of a file that do not go down."""
    bad = []
    for other in imports(name, tree, known)[0]:
        if name[0] == "nn" == other[0]:
            down = name[1] == other[1] or STOREYS[name[1]] > STOREYS[other[1]]
        else:
            down = other != ("__init__",) and floor(other) <= floor(name)
        if not down:
            bad.append(".".join(other))
    return bad


def test_every_file_has_a_floor():
    unknown = {name[0] for name in FILES if name != ("__init__",)} - FLOORS.keys()
    assert not unknown, f"give {sorted(unknown)} a floor"
    unknown = {name[1] for name in FILES if name[0] == "nn"} - STOREYS.keys()
    assert not unknown, f"give {sorted(unknown)} a storey inside nn"


@pytest.mark.parametrize("name", **EACH)
def test_imports_never_go_up(name):
    if name != ("__init__",):
        assert not violations(name, TREES[name])


def test_the_front_door_opens_without_the_upper_floors():
    """``import tinyldm`` itself may take what is below the trained models; the rest is imported when first asked for."""
    upper = {name for name in imports(("__init__",), TREES[("__init__",)])[0] if floor(name) >= FLOORS["zoo"]}
    assert not upper


def test_imports_have_no_cycle():
    """Within a floor a file may use another, but never in a circle."""
    graph = {name: imports(name, tree)[0] for name, tree in TREES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join('.'.join(name) for name in error.args[1])}")


@pytest.mark.parametrize(
    ("name", "code", "bad"),
    [
        (("path",), "from .prediction import resolve", ["prediction"]),
        (("broadcast",), "import tinyldm.path", ["path.__init__"]),
        (("solvers",), "def f():\n    from .latent import LatentSpace", ["latent"]),
        (("data", "digits"), "from ..train import fit", []),
        (("data", "digits"), "from ..experiments.digits import DIGITS", ["experiments.digits"]),
        (("nn", "unet"), "from ..denoiser import Denoiser", ["denoiser"]),
        (("nn", "unet"), "from .condition import Condition\nfrom .layers import ResBlock", []),
        (("nn", "layers"), "from .unet import UNet", ["nn.unet"]),
        (("nn", "unet"), "from .autoencoder import EPS", ["nn.autoencoder"]),
        (("denoiser",), "from .nn import UNet", []),
        (("prediction",), "from .nn import UNet", ["nn.__init__"]),
        (("dynamics",), "from . import latent", ["latent"]),
        (("dynamics",), "from . import errors", []),
        (("losses",), "from tinyldm import path", []),
        (("losses",), "from tinyldm import sample", ["__init__"]),
        (("zoo", "__init__"), "from .. import viz", ["viz.__init__"]),
    ],
)
def test_this_test_sees_imports_that_go_up(name, code, bad):
    assert violations(name, ast.parse(code)) == bad


@pytest.mark.parametrize("name", **EACH)
def test_a_file_is_one_idea(name):
    if name[0] == "exercises" and name[1].startswith("ch"):
        return  # a table: its rows are content, and one chapter is one file
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines"


def dotted(node):
    """``torch.random.fork_rng`` of a call's function; an unnamed part is empty."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


GLOBAL_SEEDS = ("manual_seed", "manual_seed_all", "seed", "set_rng_state")
DRAWS = {f"torch.{name}" for name in ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")}


def dangers(tree):
    """Calls and imports that a library must not contain: code or pickles from files, and hidden or global chance."""
    found = []
    forked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item.context_expr) for item in node.items):
            forked |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        found += [name for name in names if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal")]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        keywords = {k.arg for k in node.keywords}
        if name in ("eval", "exec", "torch.load", "torch.save", "np.load", "__import__"):
            found.append(name)
        module, _, last = name.rpartition(".")
        if (
            last in GLOBAL_SEEDS
            and module in ("torch", "torch.random", "torch.cuda", "np.random", "random")
            and id(node) not in forked
        ):
            found.append(name)
        if (name in DRAWS and "generator" not in keywords) or name.endswith((".randn_like", ".rand_like")):
            found.append(name)
    return found


@pytest.mark.parametrize("name", **EACH)
def test_no_code_from_files_and_no_hidden_chance(name):
    assert not dangers(TREES[name])


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("eval('1')", ["eval"]),
        ("module.eval()", []),
        ("import pickle", ["pickle"]),
        ("from joblib import load", ["joblib"]),
        ("torch.load('x')", ["torch.load"]),
        ("torch.manual_seed(0)", ["torch.manual_seed"]),
        ("torch.Generator().manual_seed(0)", []),
        ("with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)", []),
        ("with torch.random.fork_rng(devices=[]):\n    pass\ntorch.manual_seed(0)", ["torch.manual_seed"]),
        ("torch.randn(3)", ["torch.randn"]),
        ("torch.randn(3, generator=g)", []),
        ("torch.randn_like(x)", ["torch.randn_like"]),
    ],
)
def test_this_test_sees_the_dangers(code, found):
    assert dangers(ast.parse(code)) == found


@pytest.mark.parametrize("name", **EACH)
def test_only_the_top_floor_draws(name):
    if name == ("__init__",) or floor(name) < TOP:
        assert not imports(name, TREES[name])[1] & (TOP_ONLY - {"PIL"} if name in READS_PICTURES else TOP_ONLY)
