"""Outlines of objects as people draw them: labelme's JSON, one file a picture, and COCO's, as CVAT exports it.

A point (x, y) lies between pixels: the box from (1, 1) to (4, 3) holds 3 x 2 of them. Shapes become COCO's
segmentations, so that one rasteriser draws them all: pycocotools, called by `regions.region_mask`. On random polygons
of 30 pixels it differs from "the pixel's centre is inside" by 1 % of the area. PIL.ImageDraw also draws the outline,
which makes every object larger: it differs by 8 %.
"""

import base64
import binascii
import io
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from common.console import Progress, say
from common.data.figures import drawn_by_us
from common.data.folders import files_below
from common.data.masks import ON_THEIR_SIDE, Encoded, picture_size, picture_turn
from common.data.polygons.note import classes_of
from common.errors import UserError, brief
from common.files import read_json
from common.words import NAMED, some


@dataclass(frozen=True)
class Shape:
    """One object: its place in labelme's file or its id in COCO's, its label, and COCO's polygons or RLE."""

    number: Any
    label: str
    segmentation: Any
    is_crowd: bool = False


@dataclass(frozen=True)
class Annotated:
    """A picture and its shapes, in the order of the file.

    Attributes:
      source: the JSON file.
      name: the picture's name in it, with slashes.
      image: its file as an absolute path, links not followed; None when the picture is inside the JSON.
      height, width: in pixels, of the picture that the shapes were drawn on.
      turn: the EXIF orientation that makes a mask of that size upright; 1 where it is upright already.
      in_order: whether a shape covers those before it; otherwise smaller ones cover larger ones.
      classes: all classes by their numbers, where the file says what they are, as `note.noted` writes it.
    """

    source: Path
    name: str
    image: Path | None
    height: int
    width: int
    shapes: tuple[Shape, ...]
    in_order: bool
    turn: int = 1
    classes: tuple[str, ...] = ()

    def where(self, shape: Shape) -> str:
        """The name of a shape in messages."""
        return f"{'shape' if self.in_order else 'annotation'} {shape.number} ('{shape.label}') of {self.name}"


def read_annotations(
    paths: Sequence[Path], images: Path | None = None, boxes: bool = False, quiet: bool = False
) -> tuple[list[Annotated], list[str]]:
    """Read all pictures of the JSON files and folders (and those below) in `paths`, and the labels' names.

    Args:
      paths: JSON files, and folders of them.
      images: the pictures' folder; by default they are looked for beside the JSON file and in CVAT's `images`.
      boxes: whether a COCO annotation that has only a box becomes that rectangle.
      quiet: no progress.

    Returns:
      Pictures by file and by name. Labels of labelme are sorted; COCO's are its categories in the order of the file,
      also those that no picture shows. A category that only groups others, as Roboflow writes first, is left out.

    Raises:
      UserError: nothing there, a file that is no JSON or of another kind, a picture that is missing or of another size,
      a shape without an area, one picture twice.
    """
    pictures, labels, groups = [], {}, set()
    files = _json_files(paths)
    with Progress("reading", len(files), quiet=quiet) as progress:
        for path in files:
            data = read_json(path)
            kind = next((kind for kind, keys in _KINDS.items() if isinstance(data, dict) and keys <= set(data)), None)
            if kind is None:
                raise UserError(
                    f"{path}: is neither labelme's JSON (with `shapes`) nor COCO's (with `images`, `annotations` and "
                    f"`categories`); leave it out"
                )
            if kind == "COCO":
                found, names = _read_coco(path, data, images, boxes)
                labels |= dict.fromkeys(names)
                groups |= set(names).intersection(map(_group, data["categories"]))
            else:
                found = _read_labelme(path, data, images)
            pictures += [replace(picture, classes=classes_of(data)) for picture in found]
            progress.advance()
    unused = groups - {shape.label for picture in pictures for shape in picture.shapes}
    if unused:
        say(f"{some(sorted(unused), NAMED)}: left out: only the supercategory of others, without a shape", quiet)
    labels = {label: None for label in labels if label not in unused}
    labels |= dict.fromkeys(sorted({s.label for p in pictures if p.in_order for s in p.shapes}))
    if not pictures:
        raise UserError(f"{files[0]}: lists no pictures; export the annotations of some")
    seen: dict[Path, Path] = {}
    for picture in pictures:
        key = picture.image or picture.source
        if key in seen:
            raise UserError(
                f"{picture.source}: annotates {picture.image}, and so does {seen[key]}; leave one of the two out"
            )
        seen[key] = picture.source
    return pictures, list(labels)


def embedded_picture(path: Path) -> bytes:
    """The picture file in labelme's JSON. Raises UserError when it can't be decoded."""
    try:
        return base64.b64decode(read_json(path)["imageData"], validate=True)
    except (binascii.Error, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: imageData is no base64 ({error}); save it again, or add the picture") from None


def _json_files(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; name what labelme or CVAT wrote")
        files = files_below(path, (".json",)) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path}: holds no JSON files; name the folder or files that labelme or CVAT wrote")
        found |= dict.fromkeys(files)
    return list(found)


_KINDS = {"labelme": {"shapes"}, "COCO": {"images", "annotations", "categories"}}


def _read_labelme(path: Path, data: dict[str, Any], images: Path | None) -> list[Annotated]:
    try:
        name = PureWindowsPath(data["imagePath"]).as_posix()
        shapes = [(s["label"].strip(), str(s.get("shape_type") or "polygon"), s["points"], s) for s in data["shapes"]]
        stated = data.get("imageHeight"), data.get("imageWidth")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not as labelme writes it ({brief(error)}); save it again in labelme") from None
    folders = [images] if images else [path.parent]
    image = _find(folders, name)
    if image is None and not data.get("imageData"):
        raise UserError(
            f"{path}: its picture {name} is not there; put it beside the JSON file, or name its folder by --images"
        )
    file = image or Encoded(f"{path}: imageData", embedded_picture(path))
    height, width, turn = _drawn_on(path, name, stated, file)
    found = []
    for number, (label, kind, points, shape) in enumerate(shapes, 1):
        where = f"{path}: shape {number} ('{label}')"
        if not label:
            raise UserError(f"{where} has no label; give it one or delete it")
        if kind not in _SHAPES:
            raise UserError(f"{where} is a {kind}, which has no area; draw a polygon or delete it")
        try:
            segmentation = _SHAPES[kind](_points(points), shape, height, width)
        except Exception as error:  # whatever numpy, base64 and Pillow meet in broken values
            raise UserError(f"{where} is no {kind} ({error}); draw it again") from None
        found.append(Shape(number, label, segmentation))
    return [Annotated(path, name, image, height, width, tuple(found), in_order=True, turn=turn)]


def _points(points: Any) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("its points are not pairs of numbers")
    return points


def _polygon(points: np.ndarray, shape: dict, height: int, width: int) -> list:
    if len(points) < 3:
        raise ValueError(f"it has {len(points)} points")
    return [points.ravel().tolist()]


def _rectangle(points: np.ndarray, shape: dict, height: int, width: int) -> list:
    """Two opposite corners, or all four."""
    if len(points) == 2:
        (x, y), (x_end, y_end) = points
        points = np.array([(x, y), (x_end, y), (x_end, y_end), (x, y_end)])
    return _polygon(points, shape, height, width)


def _circle(points: np.ndarray, shape: dict, height: int, width: int) -> dict:
    """The centre, and a point of the circle."""
    (x, y), (x_there, y_there) = points
    ys, xs = np.mgrid[:height, :width] + 0.5
    with np.errstate(over="ignore"):  # infinity, for a point far away, is as right
        return _rle((xs - x) ** 2 + (ys - y) ** 2 <= (x_there - x) ** 2 + (y_there - y) ** 2)


def _mask(points: np.ndarray, shape: dict, height: int, width: int) -> dict:
    """A small mask, as labelme's AI tools make it, and the place of its corner."""
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"] or "", validate=True))) as image:
        patch = np.asarray(image.convert("L")) > 0
    x, y = np.rint(points[0]).astype(int)
    inside = np.zeros((height, width), bool)
    top, left = max(y, 0), max(x, 0)
    seen = patch[top - y : max(height - y, 0), left - x : max(width - x, 0)]
    inside[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return _rle(inside)


_SHAPES = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "rotation": _polygon,
    "oriented_rectangle": _polygon,
    "circle": _circle,
    "mask": _mask,
}


def _rle(inside: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))


def _read_coco(path: Path, data: dict[str, Any], images: Path | None, boxes: bool) -> tuple[list[Annotated], list[str]]:
    try:
        names = {_number(c["id"]): c["name"].strip() for c in data["categories"]}
        listed = [
            (_number(i["id"]), PureWindowsPath(i["file_name"]).as_posix(), i["height"], i["width"])
            for i in data["images"]
        ]
        shapes = defaultdict(list)
        for number, a in enumerate(data["annotations"], 1):
            number, label = a.get("id", number), names[_number(a["category_id"])]
            segmentation = a.get("segmentation")
            if not segmentation:
                if not boxes:
                    raise UserError(
                        f"{path}: annotation {number} ('{label}') has a box and no outline; draw one, or take boxes "
                        f"for outlines by --boxes"
                    )
                segmentation = _box(*a["bbox"])
            if not isinstance(segmentation, dict) and any(not isinstance(p, list) or len(p) % 2 for p in segmentation):
                raise UserError(f"{path}: annotation {number} ('{label}') has neither polygons nor an RLE; correct it")
            shapes[_number(a["image_id"])].append(Shape(number, label, segmentation, bool(a.get("iscrowd"))))
        strange = list(shapes.keys() - {image_id for image_id, *_ in listed})
        if strange:
            raise KeyError(f"image {strange[0]}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: is not as COCO's instances files are ({brief(error)}); export it again") from None
    subset = path.stem.removeprefix("instances_")
    up = path.parent.parent
    folders = [images] if images else [path.parent, path.parent / "images", up / "images", up / "images" / subset,
                                       up / subset, up]  # fmt: skip
    found = {name: _find(folders, name) for _, name, _, _ in listed}
    missing = [name for name, image in found.items() if image is None]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of its pictures are not there, name their folder, --images: {some(missing)}"
        )
    pictures = []
    for image_id, name, height, width in sorted(listed, key=lambda entry: entry[1]):
        *size, turn = _drawn_on(path, name, (height, width), found[name])
        pictures.append(Annotated(path, name, found[name], *size, tuple(shapes[image_id]), in_order=False, turn=turn))
    return pictures, list(names.values())


def _number(value: Any) -> Any:
    """Some programs write a number as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else value


def _group(category: dict[str, Any]) -> str:
    """The name of the other category that this one belongs to, or ""."""
    group = str(category.get("supercategory") or "").strip()
    return "" if group == category["name"].strip() else group


def _box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _find(folders: Sequence[Path], name: str) -> Path | None:
    """The first that is there: by its path below one of the folders, then by its bare name.

    A label map of `predict`, which has the picture's name beside `coco`, is not the picture.
    """
    candidates = [folder / part for part in (name, PurePosixPath(name).name) for folder in folders]
    found = next((path for path in candidates if path.is_file() and not drawn_by_us(path)), None)
    return found and Path(os.path.normpath(found.absolute()))


def _drawn_on(path: Path, name: str, stated: tuple[Any, Any], picture: Path | Encoded) -> tuple[int, int, int]:
    """Height and width of the picture that shapes were drawn on, and the EXIF tag by which it becomes upright, or 1.

    Programs that draw show a picture upright, but some take its size, and shapes, from the stored pixels. Raises
    UserError for shapes of another picture.
    """
    actual = picture_size(picture)
    height, width = map(_number, stated)
    if stated == (None, None) or (height, width) == actual:
        return *actual, 1
    turn = picture_turn(picture)
    if (width, height) == actual and turn in ON_THEIR_SIDE:
        return height, width, turn
    raise UserError(
        f"{path}: was drawn on {brief(width)}x{brief(height)} pixels, but {name} has {actual[1]}x{actual[0]}; take the "
        f"picture it was drawn on"
    )
