"""The training curve as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data.figures import plot_note
from common.plots import save_plot
from common.recipe.recipe import Recipe
from common.training import epochs, run_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entries = Sequence[Mapping[str, Any]]

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def plot_training_curve(run_dir: Path, recipe: Recipe, pictures: int, records: Sequence[str] = ()) -> Path | None:
    """Write `training_curve.png`: the loss per step, its mean per epoch of `pictures`, mIoU and pixel accuracy.

    The file carries the ids of the `records` of the run's evaluations.

    A score is drawn of the training batches and of the validations, as far as the logs have it.
    """
    log = run_folder.read_log(run_dir)
    if not log:
        return None
    validation = run_folder.read_log(run_dir, run_folder.VALIDATION)
    scores = [name for name in SCORES if epochs.means([*log, *validation], name) is not None]
    # Here, not above: pyplot takes half a second that `predict` need not wait for.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    per_epoch = epochs.by_epoch(log, epochs.steps_per_epoch(recipe, pictures))
    columns = 2 + len(scores)
    figure, axes = pyplot.subplots(1, columns, figsize=(4.5 * columns, 3.2), layout="constrained")
    left, right, *rest = axes
    right.sharey(left)
    left.plot([e["step"] for e in log], [e.get("pixel_loss") for e in log], linewidth=0.8)
    left.set(xlabel="step", ylabel="pixel loss", yscale="log", title="per step")
    means = [values["pixel_loss"] for values in per_epoch.values()]
    right.plot([epoch + 1 for epoch in per_epoch], means, marker="o", markersize=3)
    right.set(xlabel=f"epoch of {pictures} pictures", title="per epoch (mean)")
    for name, score_axes in zip(scores, rest, strict=True):
        _plot_score(score_axes, name, log, list(per_epoch.values()), validation)
    for each in axes:
        each.grid(alpha=0.3)
    path = run_dir / run_folder.CURVE
    save_plot(figure, path, plot_note(path, records), dpi=110)
    pyplot.close(figure)
    return path


def _plot_score(axes: "Axes", name: str, log: Entries, per_epoch: Entries, validation: Entries) -> None:
    """One score: of each training batch faintly, its mean per epoch, and of the validation pictures."""

    def plot(entries: Entries, **style: Any) -> None:
        known = [e for e in entries if e.get(name) is not None]
        if known:
            axes.plot([e["step"] for e in known], [e[name] for e in known], **style)

    plot(log, color="C0", linewidth=0.6, alpha=0.4)
    plot(per_epoch, color="C0", marker="o", markersize=3, label="training batches, mean per epoch")
    pictures = validation[-1]["images"] if validation else 0
    plot(validation, color="C1", marker="o", markersize=3, label=f"{pictures} val pictures")
    axes.set(xlabel="step", title=SCORES[name])
    axes.legend(fontsize=7)
