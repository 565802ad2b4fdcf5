"""Boundary quality: mIoU in bands around the labels' boundaries ("trimaps"), as in figure 5 of arXiv 1802.02611.

`evaluate --trimap` measures it. `python -m common.inference.trimap A/metrics.json B/metrics.json --labels
"decoder,no decoder" --out plot.png` draws several evaluations into one plot.

The paper dilates the void label of VOC's val masks, which mostly runs along the objects' edges, and counts the labelled
pixels that the dilated void covers. It does not name its structuring element; here it is a disc: a pixel is in the
band of width w when its Euclidean distance from the nearest void pixel is at most w.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import program
from common.console import show
from common.data.figures import plot_note, refuse_foreign
from common.errors import UserError
from common.files import read_json
from common.inference.metrics import ConfusionMatrix
from common.plots import save_plot

PLOT = "trimap.png"
PLOT_TYPES = (".png", ".pdf", ".svg")

Trimap = dict[str, dict[str, Any]]  # width -> miou, pixel_accuracy, pixels


def boundary_distance(mask: np.ndarray, ignore_label: int) -> np.ndarray:
    """The smallest band width that holds each pixel of the mask [h, w]: float64 [h, w], inf where none does.

    The void pixels are the boundary. In a mask without void it lies between 4-neighbours of different classes, and
    these pixels have width 1. In both cases a band of width w is w pixels wide on each side. A mask of one class
    without void has no boundary and no band.
    """
    from scipy.ndimage import distance_transform_edt  # takes 0.2 s, and no other command needs it

    void = mask == ignore_label
    if void.any():
        return distance_transform_edt(~void)
    edge = np.zeros(mask.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        changes = mask[here] != mask[there]
        edge[here] |= changes
        edge[there] |= changes
    return distance_transform_edt(~edge) + 1 if edge.any() else np.full(mask.shape, np.inf)


class BandMatrices:
    """A confusion matrix for the band of each width, in pixels.

    Attributes:
      matrices: width -> its confusion matrix.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, ignore_label: int = 255):
        self._ignore_label = ignore_label
        self.matrices = {w: ConfusionMatrix(num_classes, ignore_label) for w in widths}

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count the labelled pixels of one picture [h, w] in every band that holds them."""
        distance = boundary_distance(label, self._ignore_label) if self.matrices else None
        for width, matrix in self.matrices.items():
            band = distance <= width
            matrix.update(label[band], prediction[band])

    def summary(self, classes: tuple[str, ...]) -> Trimap:
        """`miou`, `pixel_accuracy` and the number of `pixels` by width (as text); nan becomes None."""
        bands = {}
        for width, matrix in self.matrices.items():
            figures = matrix.summary(classes)
            pixels = int(matrix.counts.sum())
            bands[str(width)] = {k: figures[k] for k in ("miou", "pixel_accuracy")} | {"pixels": pixels}
        return bands


def plot(path: Path, evaluations: Sequence[dict[str, Any]], labels: Sequence[str], records: Sequence[str] = ()) -> None:
    """Draw mIoU against band width, one curve for each evaluation.

    Args:
      path: the file to write; its ending is one of PLOT_TYPES.
      evaluations: as in metrics.json: `trimap`, and for the legend `miou` over whole pictures.
      labels: their names in the legend.
      records: the ids of their records, which the file carries.
    """
    # Imported here because pyplot takes half a second, and most evaluations draw no plot.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2 + 0.3 * len(labels)), layout="constrained")
    markers, names = "osD^vP*X", []
    for index, (evaluation, label) in enumerate(zip(evaluations, labels, strict=True)):
        bands = {int(w): b["miou"] for w, b in evaluation["trimap"].items() if b["miou"] is not None}
        widths = sorted(bands)
        whole = evaluation.get("miou")
        axes.plot(widths, [100 * bands[w] for w in widths], marker=markers[index % len(markers)], markersize=5)
        name = label if whole is None else f"{label} (whole pictures: {100 * whole:.2f} %)"
        names.append(textwrap.fill(name, 72).replace("$", r"\$"))  # a dollar would begin a formula
    ticks = sorted({int(w) for e in evaluations for w in e["trimap"]})
    axes.set(xlabel="band width around the boundaries (pixels)", ylabel="mIoU in the band (%)", xlim=(0, None))
    if len(ticks) <= 10 and 40 * np.diff([0, *ticks]).min() >= ticks[-1]:  # else they would overlap
        axes.set_xticks(ticks)
    axes.grid(alpha=0.3)
    figure.legend(axes.lines, names, loc="outside lower center", fontsize=10)
    save_plot(figure, path, plot_note(path, records), dpi=110)
    pyplot.close(figure)


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read a metrics.json, or a record, that holds a trimap. Raises UserError when it holds none."""
    evaluation = read_json(path)
    if evaluation is None:
        raise UserError(f"{path}: no such file; evaluate --trimap writes metrics.json into its --out folder")
    trimap = evaluation.get("trimap") if isinstance(evaluation, dict) else None
    if trimap is None:
        raise UserError(f"{path}: holds no trimap; evaluate again with --trimap")
    if not _is_trimap(trimap) or not _is_share(evaluation.get("miou")):
        raise UserError(f"{path}: its trimap was not written by evaluate; evaluate again with --trimap")
    return evaluation


def _is_trimap(trimap: Any) -> bool:
    return (
        isinstance(trimap, dict)
        and bool(trimap)
        and all(w.isascii() and w.isdigit() and len(w) <= 4 and int(w) > 0 for w in trimap)
        and all(isinstance(b, dict) and "miou" in b and isinstance(b.get("pixels"), int) for b in trimap.values())
        and all(_is_share(b["miou"]) for b in trimap.values())
    )


def _is_share(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and 0 <= value <= 1)


def check_comparable(evaluations: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    """Raise UserError unless all evaluations count the same pixels, as those of the same pictures do."""
    seen: dict[str, tuple[int, Path]] = {}
    for evaluation, path in zip(evaluations, paths, strict=True):
        for width, band in evaluation["trimap"].items():
            pixels, first = seen.setdefault(width, (band["pixels"], path))
            if pixels != band["pixels"]:
                raise UserError(
                    f"{path}: counts {band['pixels']} pixels at width {width} where {first} counts {pixels}; "
                    f"evaluate both on the same pictures"
                )


def default_labels(paths: Sequence[Path]) -> list[str]:
    """The folder's name for a metrics.json, the stem for another file; whole paths if two names would be equal."""
    names = [p.resolve().parent.name if p.name == "metrics.json" else p.stem for p in paths]
    return names if len(set(names)) == len(names) else [str(p) for p in paths]


def _run(args: argparse.Namespace) -> None:
    paths, labels, out = args.files, args.labels, args.out
    names = [n.strip() for n in labels.split(",")] if labels is not None else default_labels(paths)
    if len(names) != len(paths) or not all(names):
        raise UserError(f"--labels {labels}: needs {len(paths)} names with commas between them, one for each file")
    if out.suffix not in PLOT_TYPES:
        raise UserError(f"--out {out}: a plot's name ends in {', '.join(PLOT_TYPES)}")
    refuse_foreign(out, f"--out {out}")
    evaluations = [read_evaluation(p) for p in paths]
    check_comparable(evaluations, paths)
    ids = [evaluation.get("record") or evaluation.get("id") for evaluation in evaluations]
    plot(out, evaluations, names, [record for record in ids if isinstance(record, str)])
    show(out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.inference.trimap",
        description="Draw the mIoU near the boundaries of several evaluations into one plot.",
        example="out/v3-evaluated/metrics.json out/v3plus-evaluated/metrics.json --labels v3,v3+ --out out/trimap.png",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="metrics.json of evaluate --trimap")
    parser.add_argument("--labels", metavar="NAME,NAME", help="names for the legend (default: the folders')")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the plot: .png, .pdf or .svg")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
