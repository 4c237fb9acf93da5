"""The report: a page that holds all that it shows, for a screen, a telephone or paper."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.crops import RATIO_DB, crops, middle, one_of_each_place, shown
from sar_codec.evaluation.distortion import distortion
from sar_codec.evaluation.radiometry import bias
from sar_codec.evaluation.results import TITLES, Results
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.summary import FAITHFUL_FROM
from sar_codec.evaluation.usage import RATE
from sar_codec.evaluation.verdict import verdict
from sar_codec.files import write_whole

_PLACES = 3  # that crops are shown of
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#111}
h1,h2,h3{line-height:1.2;break-after:avoid}img{max-width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
.crops{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.8rem}
figure{margin:0;break-inside:avoid}figcaption{font-size:.8rem}
.crops img{width:100%;image-rendering:pixelated;display:block;margin-bottom:2px}
p,dd{overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .5rem;font-size:.85rem}
@media print{body{margin:0;max-width:none;font-size:11px}.wide{overflow:visible}
table{font-size:8px}.crops{grid-template-columns:repeat(5,1fr)}}
"""
_CURVES = {
    "savings": "Rates at the same error in decibels, the mean of bands: lower is better.",
    "rmse_db_by_kind": "Error in decibels by kind of scene, by how much the mean power of 24 x 24 "
    "pixels varies: below 1 dB, below 2.5 dB, and above. Means over bands, setting by setting.",
    "rmse_db": "Error in decibels to the noisy original: lower is better.",
    "ssim": "Structural similarity of decibels over the scene's window: higher is better.",
    "bias_db": "Mean linear power, decoded over original: 0 is right.",
    "max_error_db": "The largest error of any valid pixel. Codecs of integers clip what lies "
    "beyond the window, so theirs ends at what the brightest target has.",
}


def write_report(
    path: Path,
    scenes: Sequence[Scene],
    codecs: Sequence[Codec],
    results: Results,
    curves: Mapping[str, bytes],
    left_out: Sequence[str],
    seen: Sequence[str],
    program: str,
) -> None:
    """Writes the page, for which some scenes are coded again, at equal rate.

    Args:
        path: of the page.
        scenes: that were coded.
        codecs: that coded them.
        results: of all that was measured.
        curves: PNGs by what they show, see `plots.pngs`.
        left_out: a line of each codec that is not installed.
        seen: bands that our model was trained on.
        program: that made the page, and its version.

    Raises:
        UserError: it cannot be written.
    """
    side_by_side = [each for each in codecs if each.mode == "rate"]
    parts = [
        "<h1>Rate and distortion on SAR scenes</h1>",
        _text(f"{len(scenes)} bands of {len({each.place for each in scenes})} places, {program}."),
        *(_text(f"Our model was trained on this folder: {each}.") for each in seen),
        "<h2>What it does to radiometry</h2>",
        *map(_text, verdict(results)),
        _text(
            "Codecs of integers lose some power before they code: what lies beyond the window, "
            "bright targets above all, is clipped. How much that is alone stands at the end."
        ),
        *(
            f"<h2>{escape(title)}</h2>{_table(lines)}{_text(_notes(results.anchor)[title])}"
            for title, lines in results.tables().items()
        ),
        *(f"<h3>{escape(_CURVES[name])}</h3>{_image(png, name)}" for name, png in curves.items()),
    ]
    if side_by_side:
        parts += [
            f"<h2>Side by side at about {RATE:g} bits a pixel</h2>",
            _text(
                f"Below each, original over decoded: black -{RATIO_DB:g} dB, white {RATIO_DB:g} dB."
            ),
            *(
                _crops(scene, side_by_side, results.rows)
                for scene in one_of_each_place(scenes, _PLACES)
            ),
        ]
    parts += ["<h2>How it was made</h2>", _settings(scenes, codecs, left_out)]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Rate and distortion</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )
    write_whole(path, [page.encode()])


def _notes(anchor: str) -> dict[str, str]:
    """What there is to say of tables, by their titles."""
    return {
        TITLES["rate"]: "Percentages, if any, are rates at the same RMSE in dB, relative to those "
        f"of {anchor}, where both reach it (Bjontegaard, PCHIP; 95 % by a bootstrap over "
        "places, of which few make a rough interval), and over what all codecs reach, so that "
        "they can be compared among each other; then at rates of it one by one. "
        f"Biases are the worst of any band and setting of {FAITHFUL_FROM:g} bits a pixel and "
        "above: of a mean over blocks, and of one block.",
        TITLES["usage"]: "Medians over bands. Looks and correlation are those of homogeneous "
        "blocks: more looks than before are no gain, the measured values were smoothed, by "
        "nobody's choice of filter, and are lost. What to smooth is for who uses the data to say. "
        "The ratio image is original over decoded power; its structure is 0 where only noise was "
        "taken, whatever the amount. Peaks of point targets: original minus decoded, and how far "
        "they moved. The ratio of bands, VV/VH or HH/HV, is of blocks of 64 x 64 pixels. Water is "
        "what lies below a threshold that parts the scene's two modes; few scenes have these.",
        TITLES["bounded"]: "Of the bound: the largest error that any pixel had. Block bias: of the "
        "mean over blocks, the worst of any band and bound.",
        TITLES["lossless"]: "Of amplitudes as integers of 16 bits, as Sentinel-1 products have "
        "them.",
    }


def _crops(scene: Scene, codecs: Sequence[Codec], rows: Sequence[Row]) -> str:
    original = shown(middle(scene.filled), scene.low_db, scene.high_db)
    figures = [_figure("original", [original])]
    for each in crops(scene, codecs, rows, RATE):
        caption = f"{each.codec}, {each.bits_per_pixel:.3f}"
        figures.append(_figure(caption, [each.image, each.ratio]))
    title = f"<h3>{escape(scene.name)} {escape(scene.band)}</h3>"
    return f'{title}<div class="crops">{"".join(figures)}</div>'


def _figure(caption: str, images: Iterable[bytes]) -> str:
    shown_images = "".join(_image(each, caption) for each in images)
    return f"<figure>{shown_images}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(png: bytes, text: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _table(lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in lines[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in line)}</tr>" for line in lines[1:]
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _settings(scenes: Sequence[Scene], codecs: Sequence[Codec], left_out: Sequence[str]) -> str:
    entries: list[tuple[str, Any]] = [
        (each.name, f"{each.about}; settings {', '.join(f'{s:g}' for s in each.settings)}")
        for each in codecs
    ]
    entries += [("not installed, left out", each) for each in left_out]
    entries.append(
        (
            "integers",
            "For codecs of pictures, decibels are mapped over the [0.01, 99.99] percentiles of the "
            "scene; errors are to the original, which is not clipped. Their window and their "
            "invalid pixels are not counted; of ours, the whole file is.",
        )
    )
    entries += [(f"{each.name} {each.band}", _clipping(each)) for each in scenes]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries)
    return f"<dl>{items}</dl>"


def _clipping(scene: Scene) -> str:
    """What a codec of integers loses before it has coded anything."""
    best = scene.from_integers(scene.to_integers(16), 16)
    found = bias(scene, best)
    return (
        f"{scene.low_db:.2f} to {scene.high_db:.2f} dB; clipping alone is an RMSE of "
        f"{distortion(scene, best).rmse_db:.3f} dB, a bias of {found.overall_db:+.2f} dB, in one "
        f"block of {found.largest_block_db:.2f} dB"
    )


def _text(text: str) -> str:
    return f"<p>{escape(text)}</p>"
