"""Folders are layers: a module imports from its own folder and from what the table names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "sar_codec"

# Everything may import errors; programs may import every layer and are imported by nothing.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": set(),
    "signals": set(),
    "job_log": set(),
    "memory": set(),
    "precision": set(),
    "run_lock": {"files"},
    "processes": set(),
    "run_folder": {"files", "processes", "run_lock"},
    "status": {"files"},
    "comparison": {"files", "status"},
    "sweep": {"comparison", "config", "files", "processes", "run_lock", "signals", "status"},
    "sweep_job": {"config", "run_lock", "signals", "status", "sweep"},
    "program": {
        *("config", "job_log", "processes", "run_lock", "signals", "status", "sweep"),
        "sweep_job",
    },
    "metrics": set(),
    "losses": {"metrics"},
    "data": {"files"},
    "entropy": set(),
    "models": {"entropy"},
    "trained": {"files", "training"},
    "coding": {"data", "entropy", "models", "files", "precision"},
    "networks": {"coding", "config", "models", "trained"},
    "checking": {"coding", "data", "networks"},
    "conversion": {"checking", "coding", "data", "networks"},
    "information": {"coding"},
    "arrays": {"coding", "conversion", "data", "networks"},
    "evaluation": {"coding", "conversion", "data", "files", "metrics", "networks"},
    "training": {
        *("losses", "metrics", "config", "files", "precision", "processes", "run_lock"),
        "signals",
    },
}
# The package itself is one: what `import sar_codec` gives.
PROGRAMS = {"train", "benchmark", "verify_resume", "compare", "evaluate", "__main__", "__init__"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Dotted names of our own modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("sar_codec"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if (node.module or "").startswith("sar_codec"):
                yield from (f"{node.module}.{each.name}" for each in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer = layer_of(path)
    assert layer in LAYERS or layer in PROGRAMS, f"{layer} has no place in the table"
    for name in imports_of(path):
        imported = name.split(".")[1]
        assert imported not in PROGRAMS, f"{path} imports the program {imported}"
        allowed = LAYERS.keys() if layer in PROGRAMS else LAYERS[layer] | {layer, "errors"}
        assert imported in allowed, f"{path} imports {name}"


def test_no_module_imports_itself_through_others() -> None:
    def module_path(name: str) -> Path | None:
        parts = name.split(".")[1:]
        candidates = (PACKAGE.joinpath(*parts[:end]).with_suffix(".py") for end in (len(parts), -1))
        return next((each for each in candidates if each.is_file()), None)

    graph = {path: {module_path(name) for name in imports_of(path)} - {None} for path in MODULES}
    done: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, f"cycle: {[each.name for each in (*above, path)]}"
        if path not in done:
            for each in graph[path]:
                assert each is not None
                visit(each, (*above, path))
            done.add(path)

    for path in MODULES:
        visit(path, ())


@pytest.mark.parametrize(
    "name",
    [*("train", "benchmark", "compare", "evaluate", "config", "program", "__init__", "__main__")],
)
def test_what_help_needs_imports_neither_torch_nor_rasterio_at_the_top(name: str) -> None:
    heavy = {"torch", "torchvision", "rasterio", "tensorboard"}
    for node in ast.parse((PACKAGE / f"{name}.py").read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert (module or "").split(".")[0] not in heavy
            assert not (module or "").startswith(
                ("sar_codec.data", "sar_codec.evaluation", "sar_codec.training")
            )
