"""The command `sar-codec`: what it writes, says and exits with."""

import copy
import gc
import io
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numba.core import event
from numpy.typing import NDArray

from sar_codec import conversion
from sar_codec.__main__ import main
from sar_codec.coding.container import Reader, Writer
from sar_codec.coding.lossy import Network
from sar_codec.data.raster import quiet

Weights = dict[str, Path]
SPECKLE = np.random.default_rng(0).gamma(4, 0.025, (2, 150, 200)).astype(np.float32)


@dataclass
class Tool:
    """Runs commands in this process, in a folder of its own."""

    capture: pytest.CaptureFixture[str]
    model: Path

    def __call__(self, *arguments: str | Path, model: bool = True) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, as a shell would see them."""
        given = [str(each) for each in arguments]
        if model and given[0] != "info":
            given += ["--model", str(self.model), "--threads", "1"]
        with pytest.raises(SystemExit) as stop:
            main(given)
        said = self.capture.readouterr()
        if isinstance(stop.value.code, str):
            return 1, said.out, said.err + stop.value.code + "\n"
        return int(stop.value.code or 0), said.out, said.err

    def refuses(self, *arguments: str | Path, model: bool = True) -> str:
        """The one line that it says."""
        code, out, line = self(*arguments, model=model)
        assert code == 1 and out == "" and line.startswith("error: "), line
        assert line.count("\n") == 1
        return line


@pytest.fixture
def tool(
    capsys: pytest.CaptureFixture[str],
    tiny_weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Tool:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conversion, "_TILE", 64)
    write("a.tif", SPECKLE)
    return Tool(capsys, tiny_weights["factorized"])


def write(name: str, array: NDArray[Any], driver: str = "GTiff", **profile: Any) -> None:
    array = array if array.ndim == 3 else array[None]
    count, height, width = array.shape
    size = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with quiet(), rasterio.open(name, "w", driver=driver, **size, **profile) as target:
        target.write(array)


def pixels(name: str) -> NDArray[Any]:
    with quiet(), rasterio.open(name) as source:
        return source.read()


def in_folder() -> list[str]:
    return sorted(os.listdir("."))


COMPRESS = "compress", "a.tif", "a.sarc", "--quantity", "power"


def test_a_raster_goes_to_a_file_and_back(tool: Tool) -> None:
    code, out, said = tool(*COMPRESS)
    assert (code, out) == (0, "")
    assert "a.sarc: quality 5, " in said and "bits a pixel" in said and "Mpx/s" in said
    assert "a.sarc: decoded and compared: RMSE " in said and "mean power " in said
    code, out, said = tool("decompress", "a.sarc", "b.tif")
    assert (code, out) == (0, "") and "b.tif: 60,000 pixels" in said and "Mpx/s" in said
    assert pixels("b.tif").shape == SPECKLE.shape and pixels("b.tif").dtype == np.float32
    assert tool("verify", "a.sarc")[::2] == (
        *(0, "a.sarc: all 12 tiles decode to what was coded\n"),
    )
    assert in_folder() == ["a.sarc", "a.tif", "b.tif"]


def test_info_says_what_a_file_holds_without_its_network(tool: Tool) -> None:
    tool(*COMPRESS, "--quality", "3.5")
    code, out, said = tool("info", "a.sarc")
    assert (code, said) == (0, "")
    for each in ("150 x 200 pixels of float32, power", "quality 3.5 of 8", "12 tiles", "nodata"):
        assert each in out
    found = json.loads(tool("info", "a.sarc", "--json")[1])
    assert found["about"]["quality"] == 3.5 and found["raster"]["width"] == 200
    assert found["bytes"] == Path("a.sarc").stat().st_size


def test_info_moves_no_cursor(tool: Tool) -> None:
    with quiet(), rasterio.open("a.tif", "r+") as target:
        target.descriptions = ("\x9b2J\nZürich\x9b", "VH")
    tool(*COMPRESS)
    out = tool("info", "a.sarc")[1]
    assert "\\x9b2J\\nZürich\\x9b" in out and "\x9b" not in out
    assert json.loads(tool("info", "a.sarc", "--json")[1])["raster"]["bands"][0]["name"] == (
        "\x9b2J\nZürich\x9b"
    )


@pytest.mark.parametrize("how", [(), pytest.param(("--keep", "decibels"), marks=pytest.mark.slow)])
def test_the_same_input_is_the_same_bytes(tool: Tool, how: tuple[str, ...]) -> None:
    tool(*COMPRESS, *how, "--no-verify")
    expected = Path("a.sarc").read_bytes()
    for threads in ("2", "7"):
        command = (*COMPRESS, *how, "--no-verify", "--overwrite", "--threads", threads)
        assert tool(*command, "--model", tool.model, model=False)[0] == 0
        assert Path("a.sarc").read_bytes() == expected


def test_keeping_decibels_takes_fewer_bytes(tool: Tool) -> None:
    tool(*COMPRESS)
    tool("compress", "a.tif", "b.sarc", "--quantity", "power", "--keep", "decibels")
    assert Path("b.sarc").stat().st_size < Path("a.sarc").stat().st_size


def test_nothing_is_overwritten_unless_it_is_said(tool: Tool) -> None:
    Path("a.sarc").write_text("mine")
    assert "a.sarc: exists already" in tool.refuses(*COMPRESS)
    assert Path("a.sarc").read_text() == "mine"
    assert tool(*COMPRESS, "--overwrite")[0] == 0
    Path("b.tif").write_text("mine")
    assert "b.tif: exists already" in tool.refuses("decompress", "a.sarc", "b.tif")
    assert Path("b.tif").read_text() == "mine"
    assert tool("decompress", "a.sarc", "b.tif", "--overwrite")[0] == 0
    assert pixels("b.tif").shape == SPECKLE.shape


def test_what_is_read_is_never_what_is_written(tool: Tool) -> None:
    before = Path("a.tif").read_bytes()
    Path("link.tif").symlink_to("a.tif")
    for target in ("a.tif", "./a.tif", "link.tif"):
        command = ("compress", "a.tif", target, "--quantity", "power", "--overwrite")
        assert "is what is read" in tool.refuses(*command)
    tool(*COMPRESS)
    coded = Path("a.sarc").read_bytes()
    assert "is what is read" in tool.refuses("decompress", "a.sarc", "a.sarc", "--overwrite")
    assert Path("a.tif").read_bytes() == before and Path("a.sarc").read_bytes() == coded


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("compress", "missing.tif", "x.sarc"), "missing.tif: no such file"),
        (("compress", ".", "x.sarc"), "cannot be opened"),
        (("compress", "text.tif", "x.sarc"), "text.tif: cannot be opened"),
        (("compress", "cut.tif", "x.sarc", "--quantity", "power"), "cut.tif: "),
        (("compress", "complex.tif", "x.sarc"), "complex values"),
        (("compress", "five.tif", "x.sarc", "--quantity", "power"), "5 bands"),
        (("compress", "a.tif", "x.sarc"), "say so with --quantity"),
        (("compress", "a.tif", "folder", "--quantity", "power"), "folder: is a folder"),
        (("compress", "a.tif", "a.tif/x.sarc", "--quantity", "power"), "cannot be written"),
        ((*COMPRESS, "--quality", "nan"), "quality=nan: expected a number from 1"),
        ((*COMPRESS, "--quality", "0.9"), "quality=0.9"),
        ((*COMPRESS, "--target-bpp", "-1"), "target_bpp=-1.0: expected a number above 0"),
        ((*COMPRESS, "--target-bpp", "nan"), "target_bpp=nan"),
        ((*COMPRESS, "--target-bpp", "50"), "this raster takes .* to .* bits a pixel"),
        ((*COMPRESS, "--max-error-db", "-1"), "max_error_db=-1.0"),
        ((*COMPRESS, "--max-error-db", "1"), "cannot bound an error"),
        (("decompress", "missing.sarc", "x.tif"), "missing.sarc: cannot be read .No such file"),
        (("decompress", ".", "x.tif"), "cannot be read .Is a directory"),
        (("decompress", "a.tif", "x.tif"), r"a.tif: not a \.sarc file"),
        (("decompress", "empty", "x.tif"), "empty: "),
        (("info", "a.tif"), r"a.tif: not a \.sarc file"),
        (("info", "missing.sarc"), "missing.sarc: cannot be read"),
        (("verify", "text.tif"), "text.tif: "),
        (("verify", "folder"), "folder: "),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tool: Tool, arguments: tuple[str, ...], pattern: str
) -> None:
    Path("folder").mkdir()
    Path("empty").touch()
    Path("text.tif").write_text("II*\0 is how a TIFF begins")
    Path("cut.tif").write_bytes(Path("a.tif").read_bytes()[:100_000])
    write("complex.tif", SPECKLE[:1].astype(np.complex64))
    write("five.tif", np.ones((5, 3, 3), np.float32))
    before = in_folder()
    assert re.search(pattern, tool.refuses(*arguments))
    assert in_folder() == before


@pytest.mark.parametrize("threads", ["0", "-1", "1000000"])
@pytest.mark.parametrize("command", ["compress", "decompress", "verify"])
def test_a_number_of_threads_that_cannot_be_is_refused(
    tool: Tool, command: str, threads: str
) -> None:
    tool(*COMPRESS)
    paths = {
        "compress": ("a.tif", "b.sarc", "--quantity", "power"),
        "decompress": ("a.sarc", "b.tif"),
        "verify": ("a.sarc",),
    }
    line = tool.refuses(command, *paths[command], "--threads", threads, model=False)
    assert f"threads={threads}: expected 1 to 1024" in line


@pytest.mark.parametrize("arguments", [(), ("squeeze",), ("compress", "a.tif"), (*COMPRESS, "-z")])
def test_a_wrong_command_line_is_2(tool: Tool, arguments: tuple[str, ...]) -> None:
    code, out, said = tool(*(arguments or ("--nonsense",)), model=False)
    assert (code, out) == (2, "") and "usage: sar-codec" in said


def test_help_documents_the_exit_codes(tool: Tool) -> None:
    code, out, _ = tool("--help", model=False)
    assert code == 0 and "exit codes:" in out
    assert all(f"\n  {each}" in out for each in ("0  ", "1  ", "2  ", "3  ", "128 + N"))


def test_an_image_that_is_too_large_is_refused_before_anything_is_made(tool: Tool) -> None:
    tool(*COMPRESS)
    for command in (("decompress", "a.sarc", "b.tif"), ("verify", "a.sarc")):
        line = tool.refuses(*command, "--max-pixels", "59999")
        assert "60,000 pixels, more than the 59,999" in line and "--max-pixels" in line
    assert tool("decompress", "a.sarc", "b.tif", "--max-pixels", "60000")[0] == 0


def test_the_model_that_is_needed_is_named(tool: Tool, tiny_weights: Weights) -> None:
    tool(*COMPRESS)
    needed = json.loads(tool("info", "a.sarc", "--json")[1])["about"]["model"]
    line = tool.refuses("decompress", "a.sarc", "b.tif", model=False)
    assert line.startswith("error: a.sarc: ") and needed in line and "--model FILE" in line
    for kind in ("hyperprior", "interlaced", "autoencoder"):
        for command in (("decompress", "a.sarc", "b.tif"), ("verify", "a.sarc")):
            line = tool.refuses(*command, "--model", tiny_weights[kind], model=False)
            assert needed in line or "not of its kind" in line or "makes no bits" in line


@pytest.mark.parametrize("content", ["missing", "text", "cut", "other", "folder", "pth"])
def test_a_model_that_is_none_is_refused(tool: Tool, content: str) -> None:
    data = tool.model.read_bytes()
    path = Path("w.pth" if content == "pth" else "w.safetensors")
    contents = {"text": b"hello", "cut": data[:-100], "other": data[:9] + data[10:], "pth": b"PK"}
    if content in contents:
        path.write_bytes(contents[content])
    if content == "folder":
        path.mkdir()
    line = tool.refuses(*COMPRESS, "--model", path, model=False)
    assert str(path) in line
    assert "a.sarc" not in in_folder()


def damaged(source: str, target: str, tiles: list[int]) -> None:
    """A file of which some parts have a wrong byte, as a disk might give it."""
    with Reader(source) as file:
        data = bytearray(Path(source).read_bytes())
        for number in tiles:
            offset, length, *_ = file._index.tiles[number].item()
            data[offset + length // 2] ^= 1
    Path(target).write_bytes(bytes(data))


def test_damaged_tiles_become_nodata_and_all_others_decode(tool: Tool) -> None:
    array = SPECKLE.copy()
    array[:, 100:, :90] = -9999
    write("a.tif", array, nodata=-9999)
    tool(*COMPRESS)
    tool("decompress", "a.sarc", "whole.tif")
    damaged("a.sarc", "b.sarc", [2, 9])  # the first band of tile 1, the second of tile 4
    code, _, said = tool("decompress", "b.sarc", "b.tif")
    assert code == 3 and said.count("is nodata in the output") == 2
    assert "tile 2" in said and "tile 9" in said
    found, whole = pixels("b.tif"), pixels("whole.tif")
    assert (found[0, :64, 64:128] == -9999).all() and (found[1, 64:128, :64] == -9999).all()
    # What is beside depends on it, by as far as the network reaches.
    near = np.zeros(found.shape, bool)
    near[0, : 64 + 16, 64 - 16 : 128 + 16] = near[1, 64 - 16 : 128 + 16, : 64 + 16] = True
    np.testing.assert_allclose(found[~near], whole[~near], 1e-4)
    code, _, said = tool("verify", "b.sarc")
    assert code == 3 and said.count("cannot be decoded") == 2


def test_damage_is_told_briefly(tool: Tool) -> None:
    tool(*COMPRESS)
    damaged("a.sarc", "b.sarc", list(range(24)))
    code, _, said = tool("verify", "b.sarc")
    assert code == 3 and said.count("\n") == 21 and said.endswith("and 4 more\n")


def test_a_damaged_mask_hides_its_tile(tool: Tool) -> None:
    with quiet(), rasterio.open("a.tif", "r+") as target:
        target.write_mask(np.ones((150, 200), bool))
    tool(*COMPRESS)
    damaged("a.sarc", "b.sarc", [2])
    assert tool("decompress", "b.sarc", "b.tif")[0] == 3
    with quiet(), rasterio.open("b.tif") as source:
        mask = source.dataset_mask() != 0
    assert not mask[:64, :64].any() and mask[64:].all() and mask[:, 64:].all()


def test_a_file_of_a_newer_program_is_refused(tool: Tool) -> None:
    with Writer("new.sarc") as writer:
        writer.add_section("Next", b"")
        writer.finish({})
    for command in (("decompress", "new.sarc", "b.tif"), ("info", "new.sarc")):
        assert "does not know" in tool.refuses(*command)


def test_a_file_that_would_not_decode_never_appears(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.sarc").write_text("mine")
    image = Network.image
    monkeypatch.setattr(Network, "image", lambda *given: image(*given) * np.nan)
    monkeypatch.setattr(
        "sar_codec.coding.pixels.Stored.to_pixels",
        lambda self, decibels: np.zeros(decibels.shape, self.dtype),
    )
    line = tool.refuses(*COMPRESS, "--overwrite", "--keep", "decibels")
    assert "a.sarc: valid pixels would become invalid; nothing was written" in line
    assert Path("a.sarc").read_text() == "mine" and in_folder() == ["a.sarc", "a.tif"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_compilation_is_told_once(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Network.encode

    def compiling(*given: Any) -> Any:
        with event.trigger_event("numba:compile"):
            pass
        return encode(*given)

    monkeypatch.setattr(Network, "encode", compiling)
    assert "compiling" not in tool(*COMPRESS)[2]
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(SystemExit):
        main([*COMPRESS, "--overwrite", "--model", str(tool.model)])
    told = [line for line in screen.getvalue().splitlines() if line.endswith("this once")]
    assert told == ["compiling the loops of coding, this once"]


def test_a_bar_on_a_terminal_knows_its_end_and_leaves_no_trace(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    for command in (COMPRESS, ("decompress", "a.sarc", "b.tif"), ("verify", "a.sarc")):
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        with pytest.raises(SystemExit) as stop:
            main([*command, "--model", str(tool.model)])
        assert stop.value.code == 0
        shown = screen.getvalue()
        assert f"{command[0]}: " in shown and "/60.0k" in shown
        lines = shown.split("\n")
        assert lines[-1] == ""
        # Before each line that stays, the cursor is at the start of an empty one.
        for line in lines[:-1]:
            before, _, stays = line.rpartition("\r")
            assert stays and "px/s]" not in stays
            assert not before or before.rpartition("\r")[2].strip() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    tool: Tool, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("ignored, as below nohup")
    before, handlers = in_folder(), [signal.getsignal(number)]
    encode, begun = Network.encode, []

    def interrupted(*given: Any) -> Any:
        begun.extend(in_folder())
        if len(begun) == len(begun[:1] * 3 * 4):  # while the fourth tile is coded
            os.kill(os.getpid(), number)
        return encode(*given)

    monkeypatch.setattr(Network, "encode", interrupted)
    code, _, said = tool(*COMPRESS)
    assert any(name.endswith(".tmp") for name in begun)
    assert (code, said) == (128 + number, "stopped; nothing was written\n")
    assert in_folder() == before and handlers == [signal.getsignal(number)]


def test_a_signal_that_is_ignored_stays_so(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Network.encode

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)  # as when the terminal of `nohup` is closed
        return encode(*given)

    monkeypatch.setattr(Network, "encode", interrupted)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert tool(*COMPRESS)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Makes longer ones fail as on a full disk; python ignores the signal that also tells of it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_and_leaves_nothing(tool: Tool) -> None:
    tool(*COMPRESS)
    before = in_folder()
    for command in (
        ("compress", "a.tif", "b", "--quantity", "power"),
        ("decompress", "a.sarc", "b"),
    ):
        with files_of_at_most(2048):
            line = tool.refuses(*command)
        assert "b: cannot be written" in line
        assert in_folder() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_told(tool: Tool) -> None:
    Path("closed").mkdir(mode=0o500)
    line = tool.refuses("compress", "a.tif", "closed/a.sarc", "--quantity", "power")
    assert "closed/a.sarc: cannot be written" in line


def test_a_pipe_that_nobody_reads_is_no_error(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(*COMPRESS)
    read, written = os.pipe()
    os.close(read)
    with open(written, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code, _, said = tool("info", "a.sarc", "--json")
    assert (code, said) == (128 + signal.SIGPIPE, "")


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Times the tool alone: to search what all tests of this process left takes 60 to 150 ms."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_headers_that_claim_to_be_huge_are_refused_at_once(tool: Tool) -> None:
    tool(*COMPRESS)
    tool("decompress", "a.sarc", "a_again.tif")  # imports what is imported once
    with Reader("a.sarc") as file:
        header = file.header
        tiles = [file.tile(number) for number in range(file.tile_count)]
    sizes = [2**exponent + extra for exponent in range(10, 30) for extra in (0, 1, 63, 64)]
    claims: list[Callable[[dict[str, Any]], None]] = []
    for size in sizes:
        claims += [
            lambda found, size=size: found["raster"].update(height=size),
            lambda found, size=size: found["raster"].update(width=size, height=size),
        ]
    claims += [lambda found: found["about"].update(tile=[2**20, 2**20])] * 40
    assert len(claims) == 200
    for claim in claims:
        changed = copy.deepcopy(header)
        claim(changed)
        with Writer("huge.sarc", overwrite=True) as writer:
            for tile in tiles:
                writer.add_tile(*tile)
            writer.finish(changed)
        with without_garbage_collection():
            began = time.process_time()
            line = tool.refuses("decompress", "huge.sarc", "b.tif")
            assert time.process_time() - began < 0.05
        assert "huge.sarc: " in line and "damaged" in line
