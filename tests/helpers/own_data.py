"""A person's own data set, drawn: photographs of coins and bricks, their masks, and labelme's and COCO's outlines."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("background", "brick", "coin")
SUFFIXES = (".jpg", ".png", ".JPG", ".jpeg")  # of the photographs, in turn
Shape = tuple[str, tuple[int, ...]]  # ("coin", (x, y, radius)) or ("brick", (left, top, right, bottom)), in pixels


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, list[Shape]]:
    """A photograph, uint8 RGB [h, w, 3] of 96 to 160 pixels; its class ids, uint8 [h, w]; its shapes, later on top."""
    rng = np.random.RandomState(seed)
    height, width = rng.randint(96, 161, 2)
    ys, xs = np.mgrid[:height, :width]
    cells = rng.randint(-20, 21, (height // 10 + 1, width // 10 + 1))
    image = rng.randint(80, 140, 3) + cells[ys // 10, xs // 10][..., None]
    label = np.zeros((height, width), np.uint8)
    shapes: list[Shape] = []
    for k in range(rng.randint(2, 4)):
        x, y = rng.randint(20, width - 20), rng.randint(20, height - 20)
        if (seed + k) % 2:
            radius = rng.randint(14, 26)
            distance = (2 * xs + 1 - 2 * x) ** 2 + (2 * ys + 1 - 2 * y) ** 2  # of the pixel's centre, doubled
            inside = distance <= (2 * radius) ** 2
            colour = np.where((distance // 500 % 2 == 0)[..., None], (235, 200, 60), (190, 150, 20))
            shapes.append(("coin", (x, y, radius)))
        else:
            right, bottom = x + rng.randint(24, 45), y + rng.randint(18, 30)
            inside = (xs >= x - 10) & (xs < right) & (ys >= y - 10) & (ys < bottom)
            colour = np.where(((xs // 9 + ys // 7) % 2 == 0)[..., None], (180, 60, 45), (140, 40, 35))
            shapes.append(("brick", (x - 10, y - 10, right, bottom)))
        image = np.where(inside[..., None], colour + rng.randint(-15, 16), image)
        label[inside] = CLASSES.index(shapes[-1][0])
    image = image + rng.randint(-12, 13, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), label, shapes


def drawn_photos(folder: Path, count: int = 24) -> list[Path]:
    """Photographs alone, in `folder`, of several formats; those that `draw(0)`, `draw(1)`, ... give."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"find_{seed:02d}{SUFFIXES[seed % len(SUFFIXES)]}" for seed in range(count)]
    for seed, path in enumerate(paths):
        Image.fromarray(draw(seed)[0]).save(path, quality=95)
    return paths


def drawn_set(folder: Path, count: int = 24) -> Path:
    """Photographs in `photos`, grey masks of class ids in `masks`, and the shortest dataset.yaml; returns its path."""
    (folder / "masks").mkdir(parents=True)
    for seed, photo in enumerate(drawn_photos(folder / "photos", count)):
        Image.fromarray(draw(seed)[1]).save(folder / "masks" / f"{photo.stem}.png")
    path = folder / "dataset.yaml"
    path.write_text(f"name: finds\nclasses: [{', '.join(CLASSES)}]\nimages: photos\nmasks: masks\n")
    return path


def write_labelme(photos: list[Path]) -> None:
    """labelme's JSON beside each of `drawn_photos`."""
    for seed, photo in enumerate(photos):
        image, _, shapes = draw(seed)
        outlines = []
        for label, numbers in shapes:
            if label == "coin":
                x, y, radius = (int(n) for n in numbers)
                outlines.append((label, "circle", [[x, y], [x, y + radius]]))
            else:
                left, top, right, bottom = (int(n) for n in numbers)
                outlines.append((label, "rectangle", [[left, top], [right, bottom]]))
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [
                {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
                for label, kind, points in outlines
            ],
            "imagePath": photo.name,
            "imageData": None,
            "imageHeight": image.shape[0],
            "imageWidth": image.shape[1],
        }
        photo.with_suffix(".json").write_text(json.dumps(content, indent=2))
