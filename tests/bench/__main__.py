"""`make bench`: how long things take, as medians and as ratios measured in alternation, into results/bench.json."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from common.data import sample
from common.data.lists import read_split
from common.data.masks import read_pair
from common.data.sets.voc import VOC2012
from common.data.shards import build
from common.data.split import Split
from common.files import write_text
from common.inference.segmenter import Segmenter
from common.nets import dilation
from common.recipe.recipe import Recipe
from common.results import records
from common.tf1 import session, tf
from common.training.batches import TrainingBatches
from common.training.step import train_step
from reproductions.v2.model import network
from reproductions.v2.recipe import DEEPLAB, VARIANTS
from reproductions.v3plus import recipe as v3plus
from reproductions.v3plus.model import network as v3plus_network
from tests.bench import crf as bench_crf
from tests.conftest import SHARED

ROUNDS = 5
BATCH = 4
NOISE = 4  # levels of 255; makes JPEGs of quality 95 as large as VOC's


def alternate(**actions: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each action, run in turn so that the machine's drift meets all alike; one warm-up.

    An action that gives a number has measured itself.
    """
    seconds = {name: [] for name in actions}
    for turn in range(ROUNDS + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            measured = action()
            if turn:
                seconds[name].append(measured if isinstance(measured, float) else time.perf_counter() - started)
    return {name: round(statistics.median(values), 4) for name, values in seconds.items()}


def forward() -> dict[str, float]:
    """ResNet-101 at 513 x 513, one picture: the same graph with native and with decomposed dilation."""
    picture = np.random.RandomState(0).randint(0, 256, (513, 513, 3)).astype(np.uint8)
    kinds = {"native": "regular", "decomposed": "decompose"}
    made = {k: Segmenter(network, DEEPLAB.derive(dilated_type=t), None) for k, t in kinds.items()}
    return alternate(**{k: lambda s=s: s.label(picture) for k, s in made.items()})


def training() -> dict[str, float]:
    """ResNet-101, one update on 2 crops of 321 x 321, native dilation; and on one op at a time against side by side."""
    rng = np.random.RandomState(0)
    images, labels = rng.randn(2, 321, 321, 3).astype(np.float32), rng.randint(0, 21, (2, 321, 321, 1), np.uint8)
    with tf.Graph().as_default() as graph:
        x, y = tf.placeholder(tf.float32, images.shape), tf.placeholder(tf.uint8, labels.shape)
        step = train_step(network, x, y, DEEPLAB)
        sessions = {"one_op_at_a_time": session(graph), "side_by_side": tf.Session(graph=graph)}
        for made in sessions.values():
            made.run(tf.global_variables_initializer())
        feed = {x: images, y: labels}
        return alternate(**{k: lambda s=s: s.run(step.update, feed) for k, s in sessions.items()})


def pipeline() -> dict[str, float]:
    """Sample pictures a second through decode, scale, mirror, crop 145, batch 4."""
    with tempfile.TemporaryDirectory() as folder:
        sample.write(Path(folder) / "s")
        split = read_split(VOC2012, Path(folder) / "s", "train")
        count = 64
        started = time.perf_counter()
        batches = sum(1 for _ in TrainingBatches(split, VARIANTS["sample"], last_step=count))
        return {"pictures_per_second": round(4 * batches / (time.perf_counter() - started), 1)}


def input_against_training() -> dict[str, float]:
    """Pictures a second: decode, scale, mirror, crop 513, batch, from a folder and from TFRecords; a v3+ update.

    The update is MobileNetV2's at output stride 16 with the batch of BATCH; pictures are 500 x 375 of about 95 KB, as
    VOC's. Each has the machine for itself, in turn, and what waits in queues was made before the clock starts.
    """
    recipe = v3plus.VARIANTS["mnv2_pascal_train_aug"].derive(batch_size=BATCH)
    rng = np.random.RandomState(0)
    images = rng.randn(BATCH, 513, 513, 3).astype(np.float32)
    labels = rng.randint(0, 21, (BATCH, 513, 513, 1), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        kilobytes = _voc_sized(folder)
        build.build(read_split(VOC2012, folder, "train"), Path(name) / "tfrecords", 4, workers=2, quiet=True)
        splits = {n: read_split(VOC2012, Path(name) / n, "train") for n in ("folder", "tfrecords")}
        with tf.Graph().as_default() as graph:
            x, y = tf.placeholder(tf.float32, images.shape), tf.placeholder(tf.uint8, labels.shape)
            step = train_step(v3plus_network, x, y, recipe)
            made = session(graph)
            made.run(tf.global_variables_initializer())

            def update():
                made.run((step.update, step.pixel_loss), {x: images, y: labels})

            actions = {n: lambda s=split: seconds_per_batch(s, recipe) for n, split in splits.items()}
            seconds = alternate(**actions, update=update)
    rates = {n: round(BATCH / s, 1) for n, s in seconds.items()}
    ratios = {f"{n}_to_update": round(rates[n] / rates["update"], 1) for n in splits}
    return {"unit": "pictures a second", "kilobytes_per_picture": kilobytes, **rates, **ratios}


def seconds_per_batch(split: Split, recipe: Recipe, untimed: int = 8, timed: int = 12) -> float:
    """Of batches from a fresh start, without the first, in which the queues fill."""
    with TrainingBatches(split, recipe) as batches:
        for _ in range(untimed):
            next(batches)
        started = time.perf_counter()
        for _ in range(timed):
            next(batches)
        return (time.perf_counter() - started) / timed


def _voc_sized(folder: Path) -> int:
    """The drawn set, pictures and masks enlarged to 500 x 375, with a camera's noise; the mean size of a JPEG in KB."""
    sample.write(folder)
    rng = np.random.RandomState(0)
    for path in folder.glob("SegmentationClassAug/*"):
        Image.open(path).resize((500, 375), Image.NEAREST).save(path)
    pictures = sorted(folder.glob("JPEGImages/*"))
    for path in pictures:
        pixels = np.asarray(Image.open(path).resize((500, 375), Image.NEAREST))
        noisy = np.clip(pixels + rng.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=95)
    return round(sum(path.stat().st_size for path in pictures) / len(pictures) / 1000)


def crf() -> dict[str, float | str]:
    """The dense CRF on a picture of 500 x 375, 21 classes, 10 iterations, against pydensecrf (C++, one thread)."""
    try:
        import pydensecrf  # noqa: F401
    except ImportError:
        return {"skipped": "pydensecrf is not installed"}
    folder = SHARED / "data/VOC2012-subset"
    if folder.is_dir():
        path = next(p for p in sorted((folder / "JPEGImages").glob("*.jpg")) if Image.open(p).size == (500, 375))
        image, mask = read_pair(path, folder / f"SegmentationClassAug/{path.stem}.png", VOC2012)
    else:
        image, mask = (np.asarray(Image.fromarray(a).resize((500, 375), Image.NEAREST)) for a in sample.draw(7))
    ours, theirs = bench_crf.bench(image, bench_crf.soft_probabilities(mask))
    return {"dense_crf": round(ours, 3), "pydensecrf": round(theirs, 3), "ratio": round(ours / theirs, 2)}


def main() -> None:
    assert dilation.native_dilation_trains()
    figures = {
        "unit": "seconds, median of 5 in alternation, unless the name says otherwise",
        "v2_forward_513": forward(),
        "v2_update_2x321": training(),
        "v2_sample_pipeline": pipeline(),
        "input_513_against_v3plus_mobilenetv2_update": input_against_training(),
        "crf_500x375": crf(),
        "cores": os.cpu_count(),
        "cpu": records.cpu(),
        "versions": records.versions(),
    }
    path = records.results_dir() / "bench.json"
    write_text(path, records.dumps(figures))
    print(path.read_text())


if __name__ == "__main__":
    main()
