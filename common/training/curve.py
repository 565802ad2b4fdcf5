"""The training curve as a picture."""

from pathlib import Path

import numpy as np

from common.recipe.recipe import Recipe
from common.training import run_folder


def plot_training_curve(run_dir: Path, recipe: Recipe, pictures: int) -> Path | None:
    """Write `training_curve.png`: the loss per step, its mean per epoch of `pictures`, and mIoU if it was measured."""
    log = run_folder.read_log(run_dir)
    if not log:
        return None
    # Here, not above: pyplot takes half a second that `predict` need not wait for.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = np.array([e["step"] for e in log])
    losses = np.array([e["pixel_loss"] for e in log])
    per_epoch = pictures / (recipe.batch_size * recipe.grad_update_every)
    epochs = ((steps - 1) // per_epoch).astype(int)
    validation = run_folder.read_log(run_dir, run_folder.VALIDATION)
    columns = 3 if validation else 2
    figure, (left, right, *rest) = pyplot.subplots(1, columns, figsize=(4.5 * columns, 3.2), layout="constrained")
    right.sharey(left)
    left.plot(steps, losses, linewidth=0.8)
    left.set(xlabel="step", ylabel="pixel loss", yscale="log", title="per step")
    means = [losses[epochs == e].mean() for e in np.unique(epochs)]
    right.plot(np.unique(epochs) + 1, means, marker="o", markersize=3)
    right.set(xlabel=f"epoch of {pictures} pictures", title="per epoch (mean)")
    for axes in rest:
        axes.plot([e["step"] for e in validation], [e["miou"] for e in validation], marker="o", markersize=3)
        axes.set(xlabel="step", title=f"mIoU on {validation[-1]['images']} val pictures")
    for axes in (left, right, *rest):
        axes.grid(alpha=0.3)
    path = run_dir / run_folder.CURVE
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
