"""What the READMEs say is typed: commands that parse, links that lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sar_codec.__main__ import _parser
from sar_codec.config import CONF_DIR

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *sorted((ROOT / "sar_codec").glob("*/README.md"))]


def commands(readme: Path) -> list[str]:
    """Lines of indented blocks, whole where a backslash breaks them, without comments."""
    text = readme.read_text().replace("\\\n", " ")
    block = [line for line in text.splitlines() if line.startswith("    ")]
    typed = [shlex.join(shlex.split(line, comments=True)) for line in block if "$(" not in line]
    return [part for line in typed for part in line.split(" '&&' ")]


COMMANDS = [each for readme in READMES for each in commands(readme)]
RUNS = [each for each in COMMANDS if "-m sar_codec." in each and "sar_codec.compare" not in each]
FILES = [each for each in COMMANDS if each.startswith("sar-codec")]


def test_there_are_commands() -> None:
    assert len(RUNS) > 20
    assert len(FILES) > 6


@pytest.mark.parametrize("command", sorted(set(RUNS)))
def test_a_program_composes_what_is_typed(command: str) -> None:
    words = shlex.split(command)
    (at,) = [n for n, word in enumerate(words) if word.startswith("sar_codec.")]
    program, given = words[at].removeprefix("sar_codec."), words[at + 1 :]
    assert (CONF_DIR / f"{program}.yaml").exists()
    is_sweep = given[:1] == ["-m"]
    swept = [each.split(",")[0] if is_sweep else each for each in given[is_sweep:]]
    overrides = [each for each in swept if not each.startswith("hydra")]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        compose(program, overrides)


@pytest.mark.parametrize("command", sorted(set(FILES)))
def test_the_file_tool_takes_what_is_typed(command: str) -> None:
    _parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(readme: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", readme.read_text())
    assert links or readme.parent.name == "weights"
    for path, heading in links:
        if path.startswith("http"):
            continue
        target = readme.parent / path if path else readme
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if heading else []
        assert not heading or heading in [each.lower().replace(" ", "-") for each in headings]
