"""Training batches by tf.data: decode, scale, mirror, crop, preprocess, batch, prefetch.

Example e of a run (e = step * batch + position) is picture `order(e)` (see `common.training.order`) under augmentation
`numbers(e)`. Both depend on (seed, e) alone, so a resumed run reads the same batches as a run that never stopped.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np

from common.data.split import Split
from common.errors import UserError
from common.nets import layers
from common.nets.pictures import bring_into_range, pad, padding_to, preprocess
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training.order import picture_order


class TrainingBatches:
    """Iterator over the batches of `split` from `first_step` on, read in the background.

    A replica gets its part of each batch: the examples at its positions.

    Yields:
      images: float32 [batch, crop h, crop w, 3], preprocessed; padding is the mean, that is 0.
      labels: uint8 [batch, crop h, crop w, 1]; padding is the ignore label.

    Raises UserError, while iterating, for a file that can't be read.
    """

    def __init__(
        self,
        split: Split,
        recipe: Recipe,
        first_step: int = 0,
        last_step: int | None = None,
        replicas: Replicas = ALONE,
    ):
        self._split, self._recipe = split, recipe
        self._error: UserError | None = None
        per_step = recipe.batch_size * recipe.grad_update_every
        first, last = first_step * per_step, (last_step or recipe.num_steps) * per_step
        part = recipe.batch_size // replicas.count
        numbers, order = (
            examples.reshape(-1, recipe.batch_size)[:, part * replicas.index :][:, :part].ravel()
            for examples in (np.arange(first, last), picture_order(split, recipe, first, last))
        )
        # A graph and session of its own: see common.tf1.session.
        with tf.Graph().as_default() as graph:
            examples = tf.data.Dataset.from_tensor_slices((numbers, order))
            examples = examples.map(self._example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            batches = examples.batch(part, drop_remainder=True).prefetch(2)
            iterator = tf.data.make_initializable_iterator(batches)
            self._next = iterator.get_next()
            with contextlib.ExitStack() as opened:
                self._session = opened.enter_context(contextlib.closing(tf.Session(graph=graph)))
                self._session.run(iterator.initializer)
                opened.pop_all()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting = self._pool.submit(self._fetch)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            batch = self._waiting.result()
        except tf.errors.OutOfRangeError:
            raise StopIteration from None
        except tf.errors.OpError:
            if self._error:  # as it was, not as TensorFlow wraps it
                raise self._error from None
            raise
        self._waiting = self._pool.submit(self._fetch)
        return batch

    def _fetch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch, while the step before it runs."""
        images, labels = self._session.run(self._next)
        return aligned(images), aligned(labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)
        self._session.close()

    def _read(self, index: np.int64) -> tuple[np.ndarray, np.ndarray]:
        try:
            image, mask = self._split.read(index)
        except UserError as error:
            self._error = error
            raise
        return image, self._recipe.class_ids(mask)[..., None]

    def _example(self, number: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(self._read, [index], (tf.uint8, tf.uint8), stateful=False)
        image.set_shape([None, None, 3])
        label.set_shape([None, None, 1])
        numbers = tf.random.stateless_uniform([4], seed=tf.stack([np.int64(self._recipe.seed), number]))
        return augment(preprocess(image, self._recipe), label, numbers, self._recipe)


ALIGNMENT = 64  # bytes, of what TensorFlow takes without a copy


def aligned(array: np.ndarray) -> np.ndarray:
    """The array at an address that TensorFlow is fed from without a copy (16 crops of 513: .05 ms instead of 2.2)."""
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    result = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def augment(image: tf.Tensor, label: tf.Tensor, numbers: tf.Tensor, recipe: Recipe) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize into a range, scale, mirror and crop one preprocessed picture [h, w, 3] and its label [h, w, 1].

    `numbers` are four uniform draws in [0, 1): scale, mirror, crop's row, crop's column. A smaller picture is padded
    with the mean and the ignore label, unless the recipe has others: below and to the right, or for a centred crop on
    all sides.
    """
    if recipe.resize_range:
        image = bring_into_range(image, recipe.resize_range, recipe)
        label = _resized_mask(label[None], tf.shape(image)[:2], recipe)[0]
    if recipe.random_scale:
        scale = recipe.min_scale + numbers[0] * (recipe.max_scale - recipe.min_scale)
        if recipe.scale_step:
            choices = int((recipe.max_scale - recipe.min_scale) / recipe.scale_step + 1e-6) + 1
            scale = recipe.min_scale + recipe.scale_step * tf.floor(numbers[0] * choices)
        sides = layers.scaled_size(tf.shape(image)[:2], scale)
        image = layers.resize_bilinear(image[None], sides, align_corners=recipe.align_corners)[0]
        label = layers.resize_labels(label[None], sides, align_corners=recipe.align_corners)[0]
    # The crop comes first: a picture of Cityscapes is ten times as large as what is left of it.
    crop, sides, centred = tf.constant(recipe.crop_size), tf.shape(image)[:2], recipe.crop_position == "centre"
    spare, kept = tf.maximum(sides - crop, 0), tf.minimum(sides, crop)
    corner = spare // 2 if centred else tf.cast(numbers[2:] * tf.cast(spare + 1, tf.float32), tf.int32)
    mirror = numbers[1] < 0.5 if recipe.random_mirror else tf.constant(False)
    corner = tf.stack([corner[0], tf.where(mirror, spare[1] - corner[1], corner[1])])  # the mirrored picture's
    image, label = (_cut(each, corner, kept, mirror) for each in (image, label))
    padding = padding_to(sides, crop, around=centred)
    image = pad(image, padding, recipe)
    class_id = 0 if recipe.crop_padding == "background" else recipe.ignore_label
    label = tf.pad(label, padding, constant_values=class_id)
    return tf.ensure_shape(image, [*recipe.crop_size, 3]), tf.ensure_shape(label, [*recipe.crop_size, 1])


def _cut(image: tf.Tensor, corner: tf.Tensor, size: tf.Tensor, mirror: tf.Tensor) -> tf.Tensor:
    """The part of a picture [h, w, c] from `corner` on, int32 [2], of `size`; mirrored where that is true."""
    part = tf.slice(image, tf.pad(corner, [[0, 1]]), tf.concat([size, tf.shape(image)[2:]], axis=0))
    return tf.cond(mirror, lambda: tf.reverse(part, [1]), lambda: part)


def _resized_mask(masks: tf.Tensor, sides: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    if recipe.mask_interpolation == "nearest":
        return layers.resize_labels(masks, sides, align_corners=recipe.resize_align_corners)
    mixed = layers.resize_bilinear(masks, sides, align_corners=recipe.resize_align_corners)
    return tf.cast(tf.floor(mixed + 0.5), tf.uint8)
