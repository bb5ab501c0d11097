"""Arrows between the rooms point one way, as docs/architecture.md draws them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sgm_jax", "evaluation", "launch", "configs")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Which rooms (the longest prefix of a module's name) a room may import, beside itself.
ALLOWED = {
    "sgm_jax.run": (),
    "sgm_jax.data": ("sgm_jax.run",),
    "sgm_jax.simulation": ("sgm_jax.run", "sgm_jax.data"),
    "sgm_jax.sde": (),
    "sgm_jax.models": (),
    "sgm_jax.score": ("sgm_jax.sde",),
    "sgm_jax.losses": ("sgm_jax.score", "sgm_jax.sde"),
    "sgm_jax.samplers": ("sgm_jax.data", "sgm_jax.score", "sgm_jax.sde"),
    "sgm_jax.guidance": ("sgm_jax.models", "sgm_jax.samplers", "sgm_jax.sde"),
    "sgm_jax.asked": ("sgm_jax.data", "sgm_jax.models"),
    "sgm_jax.conditions": (
        "sgm_jax.asked",
        "sgm_jax.data",
        "sgm_jax.guidance",
        "sgm_jax.run",
    ),
    "sgm_jax.tracks": ("sgm_jax.data", "sgm_jax.simulation"),
    "sgm_jax.step": ("sgm_jax.run",),
    "sgm_jax.generator": (
        "sgm_jax.conditions",
        "sgm_jax.data",
        "sgm_jax.generators",
        "sgm_jax.step",
    ),
    "sgm_jax.config": ("sgm_jax.data", "sgm_jax.generator", "sgm_jax.models", "sgm_jax.run"),
    "sgm_jax.generators": (
        "sgm_jax.conditions",
        "sgm_jax.config",
        "sgm_jax.data",
        "sgm_jax.generator",
        "sgm_jax.guidance",
        "sgm_jax.losses",
        "sgm_jax.models",
        "sgm_jax.run.parallel",
        "sgm_jax.samplers",
        "sgm_jax.score",
        "sgm_jax.sde",
        "sgm_jax.step",
    ),
    "sgm_jax.torch": (
        "sgm_jax.config",
        "sgm_jax.generators",
        "sgm_jax.models",
        "sgm_jax.run",
        "sgm_jax.step",
    ),
    "evaluation": (
        "configs",
        "sgm_jax.data",
        "sgm_jax.run",
        "sgm_jax.step",
        "sgm_jax.torch.file",
        "sgm_jax.train",
    ),
    # Compares with a simulation, whose ranges by theory are drawn beside those of the images.
    "evaluation.conditional": (
        "evaluation",
        "sgm_jax.data",
        "sgm_jax.run",
        "sgm_jax.simulation.validate.theory",
    ),
    # A story on top of the evaluation and of the stories of sgm_jax.
    "evaluation.paper": (
        "evaluation",
        "sgm_jax.conditions",
        "sgm_jax.data",
        "sgm_jax.drawer",
        "sgm_jax.likelihood",
        "sgm_jax.run",
        "sgm_jax.sample",
        "sgm_jax.samplers",
        "sgm_jax.trained",
    ),
}
# Which family may build on which other one.
BUILDS_ON = {"vqvae": "autoregressive"}
# Nobody imports what only starts programs, or an experiment. The simulation's defaults are the
# exception that goes the other way: configurations contain them.
NOBODY = ("sgm_jax.main", "configs", "launch", "evaluation.conditional", "evaluation.paper")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path):
    """Return the modules of ours that a file imports, wherever in it."""
    return imports_at(ast.walk(ast.parse(path.read_text())))


def imports_at(nodes):
    """Yield the modules of ours that these statements import."""
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in members]
        yield from (name for name in names if name in MODULES)


def inside(module, room):
    return module == room or module.startswith(f"{room}.")


def room_of(module):
    """Return the smallest room that a module lies in, if it is one of the table."""
    return max((room for room in ALLOWED if inside(module, room)), key=len, default=None)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room):
    wrong = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for other in imports(path)
        if not any(inside(other, allowed) for allowed in (room, *ALLOWED[room]))
    ]
    assert not wrong


def test_programs_and_experiments_are_imported_by_their_own_room_only():
    wrong = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imports(path)
        for room in NOBODY
        if inside(other, room) and not any(inside(module, own) for own in (room, "launch"))
    ]
    assert not wrong


def test_a_family_imports_no_other_family():
    families = [name for name in MODULES if name.startswith("sgm_jax.generators.")]
    for module in families:
        family = module.split(".")[2].partition("_")[0]
        for other in imports(MODULES[module]):
            if inside(other, "sgm_jax.generators"):
                imported = other.split(".")[2].partition("_")[0]
                assert imported in (family, BUILDS_ON.get(family))


def test_no_module_imports_itself_by_a_detour():
    """Only imports at the top of a file count: those in functions are made later."""
    graph = {
        module: set(imports_at(ast.parse(path.read_text()).body))
        for module, path in MODULES.items()
    }
    done, path = set(), []

    def visit(module):
        if module in path:
            raise AssertionError(" -> ".join([*path[path.index(module) :], module]))
        if module not in done:
            path.append(module)
            for other in graph[module]:
                visit(other)
            path.pop()
            done.add(module)

    for module in graph:
        visit(module)
