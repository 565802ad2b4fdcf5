"""Evaluation: compare the label map of every picture of a split with its mask."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from common.console import Progress
from common.data.lists import check_classes
from common.data.split import Split
from common.errors import UserError
from common.inference.metrics import ConfusionMatrix
from common.inference.trimap import BandMatrices

if TYPE_CHECKING:
    from common.inference.segmenter import Segmenter

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass
class Counts:
    """All that an evaluation counts; the counts of a split's parts add up to those of the split.

    Attributes:
      matrix: over whole pictures.
      bands: in the bands around the boundaries.
      losses: of each picture, in the order of the split; empty when they are not measured.
      images: how many pictures.
    """

    matrix: ConfusionMatrix
    bands: BandMatrices
    losses: list[float] = field(default_factory=list)
    images: int = 0

    def to_json(self) -> dict[str, Any]:
        """The counts as plain lists, for files and other machines."""
        return {
            "confusion_matrix": self.matrix.counts.tolist(),
            "bands": {str(width): matrix.counts.tolist() for width, matrix in self.bands.matrices.items()},
            "losses": self.losses,
            "images": self.images,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The counts that `to_json` gave."""
        matrix = ConfusionMatrix.of(content["confusion_matrix"])
        bands = BandMatrices((), matrix.num_classes)
        bands.matrices = {int(width): ConfusionMatrix.of(rows) for width, rows in content["bands"].items()}
        return cls(matrix, bands, content["losses"], content["images"])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The counts of a split from those of its n parts, of which part i has the pictures i, i + n, i + 2n, ...

        The losses are in the order of the split again, so that their mean has the bits of an evaluation in one.
        """
        first = parts[0].matrix
        whole = cls(
            ConfusionMatrix(first.num_classes, first.ignore_label),
            BandMatrices(tuple(parts[0].bands.matrices), first.num_classes, first.ignore_label),
            interleaved([part.losses for part in parts]),
            sum(part.images for part in parts),
        )
        for part in parts:
            whole.matrix.counts += part.matrix.counts
            for width, matrix in part.bands.matrices.items():
                whole.bands.matrices[width].counts += matrix.counts
        return whole

    def metrics(self, classes: tuple[str, ...], protocol: dict[str, Any]) -> dict[str, Any]:
        """The content of metrics.json: `miou`, `pixel_accuracy`, `mean_accuracy`, `frequency_weighted_iou`,
        `per_class_iou`, `confusion_matrix`, `images` and `protocol`; also `trimap` (see `BandMatrices.summary`) and the
        mean `loss` when they are measured.
        """
        return {
            **self.matrix.summary(classes),
            **({"trimap": self.bands.summary(classes)} if self.bands.matrices else {}),
            **({"loss": float(np.mean(self.losses))} if self.losses else {}),
            "images": self.images,
            "protocol": protocol,
        }


def interleaved(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """The items of a list from its n parts, of which part i has the items i, i + n, i + 2n, ..."""
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def evaluate(segmenter: "Segmenter", split: Split, **options: Any) -> dict[str, Any]:
    """Count as `count` does, with its options; returns `Counts.metrics`."""
    return count(segmenter, split, **options).metrics(split.card.classes, segmenter.recipe.protocol())


def count(
    segmenter: "Segmenter",
    split: Split,
    *,
    trimap: Sequence[int] = (),
    limit: int | None = None,
    with_loss: bool = False,
    then: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None] | None = None,
    quiet: bool = False,
) -> Counts:
    """Segment the pictures of `split` and compare the label maps with the masks.

    Args:
      segmenter: the network with its weights.
      split: the pictures and masks.
      trimap: widths in pixels of bands around the boundaries, in which mIoU is measured too.
      limit: only the first so many pictures.
      with_loss: measure the recipe's loss on each picture too. The label maps are then those of scale 1.
      then: called with the index, the picture, the mask and the label map of each picture, on another thread.
      quiet: show no progress.

    Raises:
      UserError: the network's classes are not the data set's, or a file is bad.
    """
    recipe, card = segmenter.recipe, split.card
    check_classes(recipe, card)
    counts = Counts(
        ConfusionMatrix(recipe.num_classes, card.ignore_label),
        BandMatrices(trimap, recipe.num_classes, card.ignore_label),
        images=len(split.pairs[:limit]),
    )

    def compare(index: int, image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> None:
        if then:
            then(index, image, mask, label)
        counts.matrix.update(mask, label)
        counts.bands.update(mask, label)
        progress.advance(f"mIoU {counts.matrix.miou:.3f}")

    with Progress("evaluating", counts.images, quiet=quiet) as progress, Behind() as behind:
        for index, (image, mask) in enumerate(read_ahead(split.read, range(counts.images), ahead=1)):
            mask = recipe.class_ids(mask)
            try:
                if with_loss:
                    label, loss = segmenter.label_and_loss(image, mask)
                    counts.losses.append(float(loss))
                else:
                    label = segmenter.label(image)
            except UserError as error:
                raise UserError(f"{split.pairs[index][0]}: {error}") from None
            behind.do(compare, index, image, mask, label)
    return counts


class Behind:
    """Does work in the background, in order, one piece at a time: the next one waits until the last one is done.

    An error of a piece is raised by the next `do`, or at the end of the `with` block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._last: Future | None = None

    def do(self, work: Callable[..., object], *arguments: Any) -> None:
        """Wait for the last piece, and start `work(*arguments)`."""
        self._wait()
        self._last = self._pool.submit(work, *arguments)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait()


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item], ahead: int = 4) -> Iterator[Result]:
    """Yield `read(item)` for each item in order, and read up to `ahead` items in the background."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
