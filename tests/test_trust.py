"""What a config or a checkpoint from a stranger can do: be refused, or train."""

import ast
import hashlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_config import composed
from test_train import TINY

import sar_codec
from sar_codec.config import build, check
from sar_codec.errors import UserError
from sar_codec.train import main
from sar_codec.training import checkpoint
from sar_codec.training.checkpoint import State
from sar_codec.training.trainer import Trainer

RunProgram = Callable[..., tuple[int, str]]

PACKAGE = Path(sar_codec.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
GROUPS = ("data", "model", "loss", "optimizer", "trainer")

DANGEROUS_MODULES = {
    *("pickle", "dill", "shelve", "marshal", "ctypes", "code", "runpy", "webbrowser"),
    *("urllib", "requests", "http", "ftplib", "smtplib", "socketserver", "asyncio", "aiohttp"),
    *("socket", "subprocess", "joblib", "cloudpickle"),
}
ALLOWED_IMPORTS = {
    "run_lock.py": {"socket"},  # for the machine's name
    "verify_resume.py": {"subprocess"},  # for runs of this program that it kills
    "sweep_job.py": {"subprocess"},  # for runs of this program
    "environment.py": {"subprocess"},  # for git
    "video.py": {"subprocess"},  # for ffmpeg, which it is given the path of
    "status.py": {"socket"},  # for the machine's name
    "memory.py": {"ctypes"},  # for the C library that this process has anyway
}
DANGEROUS_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv"),
    *("hydra.utils.instantiate", "instantiate", "hydra.utils.call", "yaml.load"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "numpy.load"),
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(source: str, name: str) -> list[str]:
    """What of a source file could run what others wrote, or reach out."""
    tree = ast.parse(source)
    found = [
        f"imports {module}"
        for module in imported(tree)
        if module.partition(".")[0] in DANGEROUS_MODULES - ALLOWED_IMPORTS.get(name, set())
        or module.startswith(("torch.hub", "hydra.utils", "os.system", "torch.load"))
    ]
    for called, call in calls(tree):
        if called in DANGEROUS_CALLS or called.startswith(("torch.hub.", "torch.utils.cpp")):
            found.append(f"calls {called}")
        if called.startswith("socket.") and called != "socket.gethostname":
            found.append(f"calls {called}")
        if called == "np.load" and "allow_pickle=True" in ast.unparse(call):
            found.append("unpickles by np.load")
        if called == "torch.load":
            safe = [each for each in call.keywords if each.arg == "weights_only"]
            if not safe or ast.unparse(safe[0].value) != "True":
                found.append("calls torch.load without weights_only=True")
        if any(each.arg == "shell" for each in call.keywords):
            found.append(f"calls {called} with a shell")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_source_runs_what_others_wrote(path: Path) -> None:
    assert not offences(path.read_text(), path.name)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from urllib.request import urlopen",
        "import http.client",
        "import socket",
        "import subprocess",
        "from torch.hub import load",
        "torch.hub.load('x', 'y')",
        "eval('1')",
        "os.system('ls')",
        "from hydra.utils import instantiate",
        "hydra.utils.instantiate(cfg)",
        "run('ls', shell=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert offences(source, "x.py")


CODE = [
    *("os.system", "os.popen", "os.remove", "os.mkdir", "os.makedirs", "os.open", "os.execv"),
    *("posix.system", "builtins.eval", "builtins.exec", "builtins.open", "builtins.__import__"),
    *("builtins.compile", "builtins.getattr", "subprocess.Popen", "subprocess.run"),
    *("subprocess.check_output", "pathlib.Path.touch", "pathlib.Path.write_text", "pathlib.Path"),
    *("shutil.copyfile", "shutil.rmtree", "shutil.move", "torch.load", "torch.save"),
    *("torch.hub.load", "torch.jit.load", "torch.utils.cpp_extension.load", "torch.optim.os"),
    *("torch.optim.Optimizer", "torch.optim.adam.os.system", "torch.nn.Linear", "numpy.load"),
    *("numpy.save", "numpy.fromfile", "site.addsitedir", "urllib.request.urlopen"),
    *("urllib.request.urlretrieve", "pickle.load", "pickle.loads", "importlib.import_module"),
    *("runpy.run_path", "logging.FileHandler", "logging.config.fileConfig"),
    *("logging.config.dictConfig", "logging.basicConfig", "hydra.utils.instantiate"),
    *("hydra.utils.get_method", "tempfile.mkdtemp", "webbrowser.open", "ctypes.CDLL"),
]
OURS = [
    *("sar_codec", "sar_codec.", ".", "", "sar_codec..files", " sar_codec.files.write_whole"),
    *("sar_codec.files.write_whole", "sar_codec.files.sweep_temporaries"),
    *("sar_codec.files.give_same_content", "sar_codec.files.cannot_be_written"),
    *("sar_codec.files.os.system", "sar_codec.files.os", "sar_codec.files.shutil.rmtree"),
    *("sar_codec.files.Path.touch", "sar_codec.config.importlib.import_module"),
    *("sar_codec.config.locate", "sar_codec.config.build", "sar_codec.train.main"),
    *("sar_codec.train.record", "sar_codec.benchmark.main", "sar_codec.program.program"),
    *("sar_codec.job_log.JobLog", "sar_codec.run_lock.locked", "sar_codec.files.keep_aside"),
    *("sar_codec.run_folder.RunFolderGuard", "sar_codec.training.checkpoint.save"),
    *("sar_codec.training.checkpoint.load", "sar_codec.training.checkpoint.torch.load"),
    *("sar_codec.training.keeping.KeptCheckpoints", "sar_codec.training.tracking.Tracker"),
    *("sar_codec.training.trainer._Paused", "sar_codec.training.trainer.os.remove"),
    *("sar_codec.training.trainer.Trainer.save_checkpoint", "sar_codec.training.trainer.locked"),
    *("sar_codec.training.trainer.KeptCheckpoints", "sar_codec.training.optimizers.torch.load"),
    *("sar_codec.training.optimizers.math", "sar_codec.training.optimizers.__builtins__"),
    *("sar_codec.training.optimizers.__loader__", "sar_codec.losses.__loader__.get_data"),
    *("sar_codec.losses.nn.Module", "sar_codec.losses.nn", "sar_codec.losses.__builtins__"),
    *("sar_codec.models", "sar_codec.models.", "sar_codec.models.autoencoder"),
    *("sar_codec.models.autoencoder.torch.load", "sar_codec.models.autoencoder._nearly_zero"),
    *("sar_codec.models.autoencoder.low_frequencies", "sar_codec.models.os.system"),
    *("sar_codec.models.autoencoder.nn", "sar_codec.models...files.write_whole"),
    *("sar_codec.data.sources.os.system", "sar_codec.data.sources._loaders"),
    *("sar_codec.data.sources._bands_of", "sar_codec.data.sources.find_bands"),
    *("sar_codec.data.sources.Data", "sar_codec.data.sources.RasterSource"),
    *("sar_codec.data.sources.glob.glob", "sar_codec.data.raster.find_bands"),
]
STRANGE: list[Any] = [
    *(None, 1, 1.5, True, ["os.system"], {"_target_": "os.system"}, b"os.system"),
    *("${oc.env:HOME}", "${os.system}", "${hydra:run.dir}", "os:system", "os.system\0", "???"),
    *(
        "\uff4fs.system",
        "sar_codec.losses.\0",
        "sar_codec.models./tmp/x.py",
        "../x.y",
        "x" * 10_000,
    ),
]
TARGETS = [*CODE, *OURS, *STRANGE]


def arguments_with(canary: Path) -> dict[str, Any]:
    """What would make most of the targets leave a trace."""
    return {
        "path": str(canary),
        "filename": str(canary),
        "file": str(canary),
        "folder": str(canary),
        "root": str(canary),
        "name": str(canary),
        "mode": "w",
        "command": f"touch {canary}",
        "args": ["touch", str(canary)],
    }


DISGUISES: dict[str, Callable[[Any, Path, dict[str, Any]], dict[str, Any]]] = {
    "alone": lambda target, canary, right: {"_target_": target},
    "with arguments": lambda target, canary, right: {"_target_": target} | arguments_with(canary),
    "with positions": lambda target, canary, right: {
        "_target_": target,
        "_args_": [f"touch {canary}"],
        "_convert_": "all",
    },
    "partial": lambda target, canary, right: {
        "_target_": target,
        "_partial_": True,
        "_recursive_": True,
        "_args_": [f"open({str(canary)!r}, 'w')"],
    },
    "instead": lambda target, canary, right: right | {"_target_": target},
    "in an argument": lambda target, canary, right: {
        name: value if name == "_target_" else {"_target_": target, "_args_": [str(canary)]}
        for name, value in right.items()
    },
    "in a new argument": lambda target, canary, right: (
        right | {"x": {"_target_": target} | arguments_with(canary)}
    ),
    "besides": lambda target, canary, right: right | {"_args_": [{"_target_": target}]},
}


def test_there_are_hundreds_of_hostile_nodes() -> None:
    assert len(set(map(repr, TARGETS))) * len(DISGUISES) * len(GROUPS) >= 4000


@pytest.fixture(scope="module")
def default() -> dict[str, Any]:
    return composed()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_hostile_target_is_built(
    group: str,
    disguise: str,
    default: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    also = [Trainer.train] if group == "trainer" else []
    runtime = {"data": {"seed": 0}, "optimizer": {"params": [torch.zeros(1)]}}.get(group, {})
    for target in TARGETS:
        node = DISGUISES[disguise](target, tmp_path / "canary", default[group])
        with pytest.raises(UserError, match=rf"^{group}\."):
            build(node, group, *also, **runtime)
        if target not in ("sar_codec.data.sources.Data", "sar_codec.data.sources.RasterSource"):
            with pytest.raises(UserError, match=rf"^{group}\."):
                check(node, group, *also)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", GROUPS)
def test_what_belongs_to_another_group_is_not_built(group: str, default: dict[str, Any]) -> None:
    for other in GROUPS:
        if other != group:
            with pytest.raises(UserError, match=rf"^{group}\._target_=.*not allowed; expected a "):
                check(default[other], group)
    if group != "optimizer":
        with pytest.raises(UserError, match="not allowed"):
            check({"_target_": "torch.optim.Adam"}, group)


def listing(folder: Path) -> set[str]:
    """All that is there, outside of the run's own folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] != "run"
    }


def assert_one_line(code: int, message: str, folder: Path) -> None:
    assert code == 1, message
    assert message.startswith("error: ")
    assert "\n" not in message
    log = folder / "run" / "training.log"
    assert not log.exists() or "Traceback" not in log.read_text()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "overrides",
    [
        ["{group}._target_=os.system", "+{group}.command='touch {canary}'"],
        ["{group}._target_=sar_codec.files.write_whole", "+{group}.path={canary}"],
        ["{group}._target_=sar_codec.config.importlib.import_module"],
        ["+x=os.mkdir", "{group}._target_=${{x}}", "+{group}._args_=[{canary}]"],
        ["+{group}.x={{_target_:os.mkdir,path:{canary}}}"],
        ["{group}={{_target_:builtins.open,file:{canary},mode:w}}"],
    ],
)
def test_no_hostile_override_is_followed(
    group: str, overrides: list[str], run_program: RunProgram, tmp_path: Path
) -> None:
    given = [each.format(group=group, canary=tmp_path / "canary") for each in overrides]
    code, message = run_program(main, *TINY, *given, "hydra.run.dir=run")
    assert_one_line(code, message, tmp_path)
    assert listing(tmp_path) == set()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The latest checkpoint of a tiny run."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(sys, "argv", ["train", *TINY, "hydra.run.dir=run"])
        patched.setitem(os.environ, "HYDRA_FULL_ERROR", "")
        main()
    return folder / "run" / "checkpoints" / "latest.pth"


class Touch:
    """What a pickle makes into a call, if it is let."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


DEEP = 2000  # more than python's recursion limit


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def giant(shape: tuple[int, ...] = (10**12,), dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor of terabytes, that takes some bytes in a file."""
    return torch.zeros((), dtype=dtype).expand(shape)


def first_moments(state: State) -> dict[str, Any]:
    return state.optimizer_state_dict["state"][0]


def first_group(state: State) -> dict[str, Any]:
    return state.optimizer_state_dict["param_groups"][0]


def first_weight(state: State) -> str:
    return next(iter(state.model_state_dict))


def put(*place: Any) -> Callable[[State, Path], None]:
    """A change of one entry: a field, keys inside of it, and what to put there."""
    *keys, value = place

    def change(state: State, canary: Path) -> None:
        made = value(canary) if callable(value) else value
        if len(keys) == 1:
            setattr(state, keys[0], made)
            return
        inside = getattr(state, keys[0])
        for key in keys[1:-1]:
            inside = inside[key]
        inside[keys[-1]] = made

    return change


Change = Callable[[State, Path], None]
HOSTILE: dict[str, Change] = {
    f"{group} is {target}": put("config", group, "_target_", target)
    for group in GROUPS
    for target in (
        "os.system",
        "sar_codec.files.sweep_temporaries",
        "sar_codec.training.checkpoint.save",
        "sar_codec.config.importlib.import_module",
        "${oc.env:HOME}",
    )
}
HOSTILE |= {
    f"{group} holds a target": put(
        "config", group, "x", lambda canary: {"_target_": "os.mkdir", "path": str(canary)}
    )
    for group in GROUPS
}
HOSTILE |= {
    f"{group} is {value!r:.20}": put("config", group, value)
    for group in GROUPS
    for value in (None, [], {}, "os.system")
    if group != "trainer" or value == {}  # another value given now replaces all of it
}
HOSTILE |= {
    "logging in the config": put(
        "config",
        "hydra",
        lambda canary: {
            "job_logging": {
                "version": 1,
                "handlers": {"x": {"class": "logging.FileHandler", "filename": str(canary)}},
            }
        },
    ),
    "a logging factory": put(
        "config",
        "hydra",
        lambda canary: {"job_logging": {"handlers": {"x": {"()": "os.mkdir", "path": canary}}}},
    ),
    "hydra's folder": put("config", "hydra", lambda canary: {"run": {"dir": str(canary)}}),
    "hydra's folder with dots": put("config", "hydra.run.dir", str),
    "a target at the top": put("config", "_target_", "os.system"),
    "an unknown key": put("config", "searchpath", str),
    "an experiment": put("config", "experiment", str),
    "no config": put("config", {}),
    "a negative seed": put("config", "seed", -1),
    "a tensor for a seed": put("config", "seed", torch.zeros(3)),
    "a command for a device": put("config", "device", lambda canary: f"cpu; touch {canary}"),
    "an interpolation": put("config", "device", "${oc.env:HOME}"),
    "half an interpolation": put("config", "device", "${"),
    "a config of another type": put("config", ["x"]),
    "a deep list in the config": put("config", "x", nested(DEEP)),
    "a deep list in the data": put("config", "data", "scenes", nested(200)),
    "numbers for keys": put("config", "data", {1: 2}),
    "a tensor in the config": put("config", "data", "scenes", torch.zeros(2)),
    "a giant tensor in the config": put("config", "data", "scenes", giant()),
    "a tensor for the window": put("preprocessing_params", "vmin", torch.zeros(2)),
    "code in the config": put("config", lambda canary: Touch(os.mkdir, str(canary))),
    "code in the history": put("history", lambda canary: [Touch(Path.touch, canary)]),
    "code in the moments": put(
        "optimizer_state_dict", "state", lambda canary: Touch(os.system, f"touch {canary}")
    ),
    "code that evaluates": put(
        "train_sums", lambda canary: Touch(eval, f"open({str(canary)!r}, 'w')")
    ),
    "another's optimizer": put("optimizer", "os.system"),
}
HOSTILE |= {
    "more batches than there are": put("batch", 10**9),
    "a loss of text": put("best_val_loss", "0"),
    "a history of text": put("history", [{"epoch": "x"}]),
    "a history of tensors": put("history", [{"epoch": giant()}]),
    "sums of text": put("train_sums", {"loss": "x"}),
    "versions of lists": put("made_with", {"torch": []}),
    "giant moments": lambda state, _: first_moments(state).update(exp_avg=giant()),
    "moments of text": lambda state, _: first_moments(state).update(exp_avg="x"),
    "moments of one number": lambda state, _: first_moments(state).update(exp_avg=torch.zeros(())),
    "a step of many numbers": lambda state, _: first_moments(state).update(
        step=first_moments(state)["exp_avg"]
    ),
    "deep moments": lambda state, _: first_moments(state).update(exp_avg=nested(DEEP)),
    "moments of nobody": put("optimizer_state_dict", "state", -1, {"step": torch.zeros(())}),
    "moments without keys": put("optimizer_state_dict", "state", [1, 2]),
    "a learning rate of text": lambda state, _: first_group(state).update(lr="x"),
    "a negative learning rate": lambda state, _: first_group(state).update(lr=-1.0),
    "no number for a learning rate": lambda state, _: first_group(state).update(lr=float("nan")),
    "a giant learning rate": lambda state, _: first_group(state).update(lr=giant()),
    "fewer parameters": lambda state, _: first_group(state)["params"].pop(),
    "two groups": lambda state, _: state.optimizer_state_dict["param_groups"].append(
        first_group(state)
    ),
    "no groups": put("optimizer_state_dict", "param_groups", []),
    "no moments at all": put("optimizer_state_dict", {}),
    "a plateau of text": put("scheduler_state_dict", "best", "x"),
    "plateau counts that are none": put("scheduler_state_dict", "num_bad_epochs", float("nan")),
    "plateau rates of text": put("scheduler_state_dict", "_last_lr", "x"),
    "a weight too few": lambda state, _: state.model_state_dict.popitem() and None,
    "a weight too many": lambda state, _: state.model_state_dict.update(x=torch.zeros(1)),
    "a giant weight": lambda state, _: state.model_state_dict.update(
        {first_weight(state): torch.zeros(1).expand(10**6, 10**2)}
    ),
    "a sparse weight": lambda state, _: state.model_state_dict.update(
        {name: each.to_sparse() for name, each in list(state.model_state_dict.items())[:1]}
    ),
    "gradients of nobody": put("gradients", {"x": torch.zeros(1)}),
    "gradients of another shape": lambda state, _: setattr(
        state, "gradients", {first_weight(state): torch.zeros(())}
    ),
    "no random states": put("random_states", {}),
    "a place outside of numpy's words": put("random_states", "numpy", "state", "pos", 10**8),
    "a place before numpy's words": put("random_states", "numpy", "state", "pos", -1),
    "giant words of numpy": put("random_states", "numpy", "state", "key", giant()),
    "another generator of numpy's": put("random_states", "numpy", "bit_generator", "PCG64"),
    "giant words of python": lambda state, _: state.random_states.update(
        python=(3, giant(dtype=torch.int64), None)
    ),
    "giant words of torch": put("random_states", "torch", giant(dtype=torch.uint8)),
    "words that torch does not take": put(
        "random_states", "torch", torch.full_like(torch.get_rng_state(), 255)
    ),
    "giant words of a GPU": put("random_states", "cuda", giant(dtype=torch.uint8)),
    "an epoch that began nowhere": put("epoch_random_states", {"numpy": 1}),
}
UNREADABLE: dict[str, Change] = {
    f"{name} is {value!r}": put(name, value)
    for name in ("epoch", "batch", "global_step", "best_epoch", "epochs_without_improvement")
    for value in (-1, float("nan"), float("inf"), "1", 2**80, [1])
}
UNREADABLE |= {
    f"{entry} is a list": put(entry, nested(DEEP))
    for entry in checkpoint.ENTRIES
    if entry not in ("model_state_dict", "history")
}
HARMLESS: dict[str, Change] = {
    "a place of a run": put("config", "resume", str),
    "no best loss": put("best_val_loss", float("nan")),
    "a best loss of minus infinity": put("best_val_loss", -float("inf")),
    "a best epoch that never was": put("best_epoch", 10**9),
    "a given rate that is no number": put("given_learning_rate", float("nan")),
    "versions of another time": put("made_with", {"torch": "0.0", "x": "y"}),
    "sums of no batch": put("train_sums", {"x": 1.0}),
    "moments spread over one number": lambda state, _: first_moments(state).update(
        exp_avg=giant(first_moments(state)["exp_avg"].shape)
    ),
    "settings of the optimizer": lambda state, _: first_group(state).update(
        foreach="x", weight_decay=giant(), fused=nested(10)
    ),
    "settings of the scheduler": put("scheduler_state_dict", "factor", "x"),
    "an epoch long ago": put("epoch", 0),
    "an epoch to come": put("epoch", 10**15),
}


def sealed(body: bytes) -> bytes:
    """A file as ours end: with the right checksum, which anyone can make."""
    return body + b"sha256=" + hashlib.sha256(body + b"sha256=").hexdigest().encode()


def write(state: State, path: Path) -> None:
    """Writes what `checkpoint.save` would not."""
    entries = {name: getattr(state, name) for name in checkpoint.ENTRIES}
    buffer = io.BytesIO()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20 * DEEP)
    try:
        # Pickled by python: how deep C may recurse, python 3.12 lets no one say.
        pickled_by = SimpleNamespace(__name__="pickle", Pickler=pickle._Pickler)
        torch.save(entries, buffer, pickle_module=pickled_by)
    finally:
        sys.setrecursionlimit(limit)
    path.parent.mkdir()
    path.write_bytes(sealed(buffer.getvalue()[:-2] + (71).to_bytes(2, "little")))


def resumed(
    change: Change, trained: Path, run_program: RunProgram, tmp_path: Path
) -> tuple[int, str]:
    state = checkpoint.load(trained)
    change(state, tmp_path / "canary")
    write(state, tmp_path / "from" / "latest.pth")
    before = listing(tmp_path)
    result = run_program(
        main, "resume=from/latest.pth", "hydra.run.dir=run", "trainer.epochs=3", "seed=0"
    )
    assert listing(tmp_path) == before
    return result


SLOW_TOO = [
    pytest.param(name, marks=[pytest.mark.slow] if number % 3 else [])
    for number, name in enumerate(HOSTILE)
]


@pytest.mark.parametrize("name", SLOW_TOO)  # each is a program's start, a third of a second
def test_a_hostile_checkpoint_is_refused_in_one_line(
    name: str, trained: Path, run_program: RunProgram, tmp_path: Path
) -> None:
    code, message = resumed(HOSTILE[name], trained, run_program, tmp_path)
    assert_one_line(code, message, tmp_path)
    assert len(message) < 1500
    assert os.environ.get("HOME", "?") not in message.replace(str(tmp_path), "")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("name", UNREADABLE)
def test_entries_of_wrong_types_are_refused_in_one_line(
    name: str, trained: Path, tmp_path: Path
) -> None:
    state = checkpoint.load(trained)
    UNREADABLE[name](state, tmp_path / "canary")
    write(state, tmp_path / "from" / "best.pth")
    with pytest.raises(UserError, match=f"not a checkpoint.*{name.split()[0]}") as refusal:
        checkpoint.load(tmp_path / "from" / "best.pth")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 1500
    assert listing(tmp_path) == {"from", "from/best.pth"}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_strange_checkpoint_that_does_no_harm_is_trained_on(
    name: str, trained: Path, run_program: RunProgram, tmp_path: Path
) -> None:
    code, message = resumed(HARMLESS[name], trained, run_program, tmp_path)
    assert code == 0, message
    assert "Traceback" not in (tmp_path / "run" / "training.log").read_text()


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_is_not_run(
    protocol: int, is_sealed: bool, run_program: RunProgram, tmp_path: Path
) -> None:
    content = pickle.dumps(Touch(os.mkdir, str(tmp_path / "canary")), protocol)
    (tmp_path / "latest.pth").write_bytes(sealed(content) if is_sealed else content)
    code, message = run_program(main, "resume=latest.pth", "hydra.run.dir=run")
    assert_one_line(code, message, tmp_path)
    assert listing(tmp_path) == {"latest.pth"}
