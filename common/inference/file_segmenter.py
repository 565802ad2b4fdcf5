"""The segmenter of a network's file, which another program may have written: see common/engines."""

import functools
from collections.abc import Iterator

import numpy as np
import scipy.special

from common.engines.interface import LABELS, PROBABILITIES, SCORES, Port
from common.engines.network_file import NetworkFile
from common.errors import UserError, WeightsError
from common.inference.base import BaseSegmenter, Picture, pixels_of, running
from common.inference.canvas import Canvas, place
from common.inference.resizing import resize_bilinear
from common.recipe.recipe import Recipe

# Fields of what happens between a picture and its scores: inside a file of this suite.
INSIDE = (
    "eval_size", "eval_padding", "padding_pixel", "resize_range", "resize_factor", "resize_rule", "align_corners",
    "picture_interpolation", "channel_order", "pixel_mean", "pixel_scale", "eval_output_stride", "msc_scales",
)  # fmt: skip
PASSES = ("eval_scales", "eval_flip", "scale_fusion")
IF_IT_PADS = "if it pads to N pixels, --set eval_size=N resize_range=N,N brings pictures to that size"


class FileSegmenter(BaseSegmenter):
    """A network in a file, ready to segment pictures one by one, by the same protocols as `Segmenter`.

    The file's own size, preprocessing and argmax are honoured, and what it does inside is not done twice. Around it
    pictures are resized into `recipe.eval_resize_range`, padded to `recipe.eval_size`, scaled and mirrored. A file of
    one size gets pictures padded to it, and larger ones resized to fit.

    Raises UserError for what the file cannot do: scales of one with a fixed size, or a CRF on labels alone.
    """

    def __init__(self, file: NetworkFile, recipe: Recipe):
        """Load `file` into its engine; `recipe` is `Reproduction.recipe_to_run`'s."""
        self.recipe = recipe = recipe.at_evaluation()
        self._file = file
        self._engine, self._roles = file.load(recipe)
        self._around = self._recipe_around()
        if self._roles.size and any(scale != 1 for scale in self._around.eval_scales):
            raise UserError(
                f"--scales: {file.path} takes pictures of {self._size_text} alone; leave scales other than 1 out"
            )
        if not self._around.is_single_pass and self._around.scale_fusion == "max_logits":
            self._port(SCORES, "scale_fusion=max_logits")
        elif wanted := self._wants_probabilities():
            self._probability_port(wanted)

    def _wants_probabilities(self) -> str:
        """The flags that need probabilities; empty where none does."""
        flags = {
            "--scales": self._around.eval_scales != (1.0,),
            "--flip": self._around.eval_flip,
            "--crf": self.recipe.crf,
            "eval_tile": self.recipe.eval_tile > 0,
        }
        return " and ".join(flag for flag, is_given in flags.items() if is_given)

    @property
    def _size_text(self) -> str:
        return "x".join(map(str, self._roles.size))

    def _recipe_around(self) -> Recipe:
        """The recipe of what happens outside the file. Raises UserError for changes of what is fixed inside."""
        stored, now = self._file.recipe(), self.recipe.to_json()
        if stored is None:
            self._check_sizes()
            return self.recipe
        is_single = stored.get("eval_scales") == [1.0] and not stored.get("eval_flip")
        fixed = INSIDE if is_single else (*INSIDE, *PASSES)
        if changed := [name for name in fixed if name in stored and stored[name] != now[name]]:
            raise UserError(
                f"{' and '.join(changed)}: is fixed in {self._file.path}; leave it out, or export the network with it"
            )
        around = self.recipe.derive(eval_size="native", resize_range=()) if self._roles.is_whole else self.recipe
        return around if is_single else around.at_one_scale()

    def _check_sizes(self) -> None:
        recipe = self.recipe
        if recipe.resize_range and recipe.eval_size == "native":
            raise UserError(
                "resize_range: needs eval_size=N beside it; the eval_size 'native' takes pictures as they are"
            )
        if self._roles.size and recipe.eval_size not in ("native", max(self._roles.size)):
            raise UserError(
                f"eval_size={recipe.eval_size}: {self._file.path} takes {self._size_text} alone; leave it out"
            )

    def _port(self, role: str, wanted: str) -> Port:
        """The output of that role. Raises WeightsError, which names what wants it, when the file has none."""
        if role not in self._roles.outputs:
            given = ", ".join(port.name for port in self._roles.outputs.values())
            what = {SCORES: "scores", PROBABILITIES: "probabilities"}[role]
            raise WeightsError(
                f"{wanted}: needs the network's {what}, and {self._file.path} gives {given} alone; leave it out"
            )
        return self._roles.outputs[role]

    def _probability_port(self, wanted: str) -> Port:
        if SCORES in self._roles.outputs and PROBABILITIES not in self._roles.outputs:
            return self._roles.outputs[SCORES]
        return self._port(PROBABILITIES, wanted)

    def _run(self, canvas: Canvas, port: Port, picture: np.ndarray) -> np.ndarray:
        """The output for a canvas: labels [h, w], or scores or probabilities [h, w, classes]."""
        values = canvas.values[None]
        if self._roles.channels_first:
            values = values.transpose(0, 3, 1, 2)
        with running(str(self._file.path), picture, IF_IT_PADS):
            inputs = {self._roles.picture.name: self._roles.picture.of_picture(values)}
            (answer,) = self._engine.run(inputs, [port.name])
        if port is self._roles.outputs.get(LABELS):
            return _labels(answer, self._roles.channels_first)
        if answer.ndim != 4:
            raise WeightsError(
                f"{self._file.path}: {port.name} is of {answer.ndim} axes, not [n, h, w, classes]; name another node"
            )
        values = port.to_real(answer[0].transpose(1, 2, 0) if self._roles.has_channels_first(port) else answer[0])
        if not np.isfinite(values).all():
            raise WeightsError(
                f"the scores of this picture are not finite, with {self._file.path}; fetch or export it again"
            )
        return values

    def _maps(self, picture: np.ndarray, port: Port) -> Iterator[np.ndarray]:
        """The output at the picture's size, float32 [h, w, classes], of each scale, as it stands and mirrored."""
        for scale in self._around.eval_scales:
            for mirror in (False, True) if self._around.eval_flip else (False,):
                canvas = place(picture, self._around, self._roles, scale, mirror)
                yield canvas.back(self._run(canvas, port, picture), self._resize)

    @functools.cached_property
    def _resize(self):  # noqa: ANN202
        return functools.partial(resize_bilinear, align_corners=self.recipe.align_corners)

    def whole_label(self, picture: np.ndarray) -> np.ndarray:
        """The class ids of a picture, uint8 [h, w]: the file's own where it gives them for a single pass."""
        if not self._around.is_single_pass:
            return self.whole_probabilities(picture).argmax(axis=-1).astype(np.uint8)
        if LABELS not in self._roles.outputs:
            (values,) = self._maps(picture, self._roles.outputs.get(SCORES) or self._probability_port("labels"))
            return values.argmax(axis=-1).astype(np.uint8)
        canvas = place(picture, self._around, self._roles)
        labels = canvas.back_labels(self._run(canvas, self._roles.outputs[LABELS], picture))
        least, greatest = int(labels.min()), int(labels.max())
        if least < 0 or greatest >= self.recipe.num_classes:
            raise WeightsError(
                f"{self._file.path}: gives class {least if least < 0 else greatest}, and the recipe has "
                f"{self.recipe.num_classes}; --set num_classes=N says how many, and dataset=NAME of what"
            )
        return labels.astype(np.uint8)

    def logits(self, picture: Picture) -> np.ndarray:
        """The network's scores at scale 1, float32 [h / os, w / os, classes]."""
        picture = pixels_of(picture, self.recipe.channels)
        port = self._port(SCORES, "--save-logits")
        return self._run(place(picture, self._around, self._roles), port, picture)

    def label_and_logits(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The label map and `logits`."""
        return self.label(picture), self.logits(picture)

    def whole_probabilities(self, picture: np.ndarray) -> np.ndarray:
        """The mean probabilities of all passes, or the softmax of their highest scores: float32 [h, w, classes]."""
        if not self._around.is_single_pass and self._around.scale_fusion == "max_logits":
            scores = self._maps(picture, self._port(SCORES, "scale_fusion=max_logits"))
            return scipy.special.softmax(functools.reduce(np.maximum, scores), axis=-1)
        port = self._probability_port("--save-probabilities")
        maps = self._maps(picture, port)
        if port is self._roles.outputs.get(SCORES):
            maps = map(_probabilities, maps)
        count = len(self._around.eval_scales) * (2 if self._around.eval_flip else 1)
        return functools.reduce(np.add, maps) / np.float32(count)

    def close(self) -> None:
        self._file.close()


def _labels(answer: np.ndarray, channels_first: bool) -> np.ndarray:
    """The label map [h, w] of an answer [h, w], [1, h, w], [1, h, w, 1] or [1, 1, h, w]."""
    if answer.ndim == 4:
        is_first = answer.shape[1] == 1 and (channels_first or answer.shape[3] != 1)
        return answer[0, 0] if is_first else answer[0, ..., 0]
    if answer.ndim == 3:
        return answer[0] if answer.shape[0] == 1 else answer[..., 0]
    return answer


def _probabilities(values: np.ndarray) -> np.ndarray:
    """The softmax of scores [h, w, classes]; of values that are probabilities already, as they are."""
    if values.min() >= 0 and np.abs(values.sum(axis=-1) - 1).max() < 1e-3:
        return values
    return scipy.special.softmax(values, axis=-1)
