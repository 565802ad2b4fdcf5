"""The bundled sample set: drawn pictures in VOC layout, so that everything runs without a download.

`python -m common.data.sample --out DIR` writes it. Each picture shows one to three textured objects
of six VOC classes on a mottled ground, every object edged with a band of 255 as in VOC. Only integer
arithmetic and exact rationals are used, so every machine draws the same pixels. Scores on it show only that
the programs work; runs are marked `sample` everywhere.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common import program
from common.data.masks import save_label_png
from common.data.sets.voc import VOC2012
from common.data.split import MARKER
from common.errors import UserError

SAMPLE = "sample"  # --data sample: the drawn set
SAMPLE_DIR = Path("data/sample")
TRAIN_PICTURES, VAL_PICTURES = 64, 16
BORDER = 2  # pixels of 255 on either side of an object's edge

Mask = np.ndarray
Grid = tuple[np.ndarray, np.ndarray]  # u, v: object coordinates, -100..100 inside the object's box


@dataclass(frozen=True)
class Drawn:
    """How one class looks: its outline, its texture, and the texture's two colours."""

    class_id: int
    outline: Callable[[Grid], Mask]
    texture: Callable[[Grid, np.random.RandomState], Mask]
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]


def _box(g: Grid):
    return (abs(g[0]) <= 95) & (abs(g[1]) <= 60)


def _ellipse(g: Grid):
    return g[0] ** 2 + (g[1] * 4 // 3) ** 2 <= 95**2


def _triangle(g: Grid):
    return (g[1] <= 80) & (g[1] >= -90) & (abs(g[0]) * 2 <= g[1] + 90)


def _person(g: Grid):
    head = g[0] ** 2 + (g[1] + 65) ** 2 <= 30**2
    return head | ((abs(g[0]) <= 45) & (g[1] >= -35) & (g[1] <= 98))


def _diamond(g: Grid):
    return abs(g[0]) + abs(g[1]) <= 95


def _cross(g: Grid):
    return (abs(g[0]) <= 35) & (abs(g[1]) <= 95) | (abs(g[0]) <= 95) & (abs(g[1]) <= 35)


def _bands(g: Grid, rng: np.random.RandomState):
    return (g[1] // 25) % 2 == 0


def _stripes(g: Grid, rng: np.random.RandomState):
    return (g[0] // 18) % 2 == 0


def _checks(g: Grid, rng: np.random.RandomState):
    return (g[0] // 25 + g[1] // 25) % 2 == 0


def _dots(g: Grid, rng: np.random.RandomState):
    return ((g[0] + 400) % 40 - 20) ** 2 + ((g[1] + 400) % 40 - 20) ** 2 <= 144


def _rings(g: Grid, rng: np.random.RandomState):
    return ((g[0] ** 2 + g[1] ** 2) // 1500) % 2 == 0


def _speckle(g: Grid, rng: np.random.RandomState):
    return rng.randint(0, 2, g[0].shape).astype(bool)


CLASSES = tuple(
    Drawn(VOC2012.classes.index(name), outline, texture, colours)
    for name, outline, texture, colours in (
        ("bus", _box, _bands, ((200, 40, 40), (235, 225, 215))),
        ("cat", _ellipse, _dots, ((225, 140, 50), (110, 60, 25))),
        ("boat", _triangle, _stripes, ((245, 245, 245), (40, 70, 190))),
        ("person", _person, _speckle, ((230, 170, 150), (190, 60, 160))),
        ("pottedplant", _diamond, _checks, ((40, 160, 50), (20, 70, 30))),
        ("bird", _cross, _rings, ((250, 220, 40), (30, 190, 200))),
    )
)

# Rotations by exact rationals (Pythagorean triples), so that no machine's sine is asked.
ROTATIONS = ((1, 0, 1), (4, 3, 5), (12, 5, 13), (15, 8, 17), (4, -3, 5), (12, -5, 13), (15, -8, 17))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture, uint8 RGB [h, w, 3], and its class ids, uint8 [h, w]; sides are 144 to 224 pixels."""
    rng = np.random.RandomState(seed)
    height, width = (8 * rng.randint(18, 29) + rng.randint(0, 8) for _ in range(2))
    ys, xs = np.mgrid[:height, :width]

    tint = rng.randint(70, 150, 3)
    cells = rng.randint(-25, 26, (height // 12 + 2, width // 12 + 2))
    image = tint + cells[ys // 12, xs // 12][..., None] + ((xs * 30) // width)[..., None]
    label = np.zeros((height, width), np.uint8)

    first_quarter = rng.randint(4)
    for k in range(rng.randint(1, 4)):
        # Every class comes up about equally often, each object in a quarter of its own.
        drawn = CLASSES[(seed + k * (1 + seed % 2)) % len(CLASSES)]
        size = rng.randint(40, 70)  # half of the object's box, in pixels
        down, right = divmod((first_quarter + k) % 4, 2)
        cy = height * (1 + 2 * down) // 4 + rng.randint(-height // 10, height // 10)
        cx = width * (1 + 2 * right) // 4 + rng.randint(-width // 10, width // 10)
        cos, sin, norm = ROTATIONS[rng.randint(len(ROTATIONS))]
        dx, dy = (xs - cx) * 100, (ys - cy) * 100
        grid = (dx * cos + dy * sin) // (norm * size), (dy * cos - dx * sin) // (norm * size)
        inside = drawn.outline(grid)
        shade = rng.randint(-30, 31)
        first, second = (np.array(c) + shade + rng.randint(-15, 16, 3) for c in drawn.colours)
        colour = np.where(drawn.texture(grid, rng)[..., None], first, second)
        image = np.where(inside[..., None], colour, image)
        label[inside] = drawn.class_id
        label[_edge(inside)] = 255
    image = image + rng.randint(-12, 13, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), label


def _edge(inside: Mask) -> Mask:
    """Pixels within BORDER of the outline, on either side."""
    grown, shrunk = inside.copy(), inside.copy()
    for _ in range(BORDER):
        for mask, combine in ((grown, np.logical_or), (shrunk, np.logical_and)):
            padded = np.pad(mask, 1, mode="edge")
            for part in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
                combine(mask, part, out=mask)
    return grown & ~shrunk


def write(folder: Path) -> None:
    """Write the whole set to `folder`, in VOC layout; a folder that holds it already is left alone."""
    if (folder / MARKER).exists():
        return
    images, masks = folder / VOC2012.image_folder, folder / VOC2012.mask_folders[0]
    lists = folder / VOC2012.list_folders[0]
    for path in (images, masks, lists):
        path.mkdir(parents=True, exist_ok=True)
    names = [f"sample_{i:06d}" for i in range(TRAIN_PICTURES + VAL_PICTURES)]
    for seed, name in enumerate(names):
        image, label = draw(seed)
        Image.fromarray(image).save(images / f"{name}.jpg", quality=95)
        save_label_png(masks / f"{name}.png", label, VOC2012.palette)
    train, val = names[:TRAIN_PICTURES], names[TRAIN_PICTURES:]
    splits = {"train": train, "train_aug": train, "val": val, "trainval": names}
    for split, members in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{n}\n" for n in members))
    # Last, so that an interrupted drawing is drawn again.
    about = {"about": "drawn by common/data/sample.py", "train": len(train), "val": len(val)}
    (folder / MARKER).write_text(json.dumps(about, indent=1) + "\n")


def data_dir(argument: str) -> Path:
    """The folder that `--data` names; `sample` draws the sample set first, unless there is a folder of that name."""
    if argument != SAMPLE or Path(argument).is_dir():
        return Path(argument)
    write(SAMPLE_DIR)
    return SAMPLE_DIR


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.data.sample",
        description="Draw the sample set in VOC layout.",
        example="--out data/sample",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    stranger = None if (args.out / MARKER).exists() else _stranger(args.out)
    if stranger:
        raise UserError(f"--out {args.out}: holds {stranger}, which is not of the sample set; name an empty folder")
    write(args.out)


def _stranger(folder: Path) -> str:
    """The name of a file in `folder` that no unfinished drawing left there; empty when there is none."""
    for path in folder.rglob("*"):
        is_list = path.suffix == ".txt" and path.is_file() and path.read_bytes().startswith(b"sample_")
        if not (path.is_dir() or path.name.startswith("sample_") or is_list):
            return str(path.relative_to(folder))
    return ""


if __name__ == "__main__":
    sys.exit(main())
