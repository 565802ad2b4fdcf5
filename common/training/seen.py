"""The pictures that weights have seen, as far as the manifest and the runs of this suite tell."""

import functools
from collections.abc import Iterable

from common.data.same_split import split_key
from common.data.split import Split
from common.downloads.manifest import read_manifest
from common.downloads.origin import Origin, origin_of
from common.training import run_folder
from common.weights.weights import Weights

suite_manifest = functools.cache(read_manifest)


def origin(weights: Weights) -> Origin | None:
    """The manifest's entry that brought the weights; None for weights from elsewhere, a run's too."""
    return origin_of(weights.path, suite_manifest())


def trained_on(weights: Weights) -> tuple[str, ...] | None:
    """The manifest's training sets that published weights, or those that a run began with, have seen.

    None where nothing tells. The pictures of the run itself are in its folder: see `run_folder.read_pictures`.
    """
    if found := origin(weights):
        return found.trained_on
    told = (run_folder.read_summary(weights.path.parent) or {}).get("init_trained_on")
    return tuple(told) if isinstance(told, list) else None


def has_seen(training_sets: Iterable[str], split: Split) -> bool | None:
    """Whether weights of these training sets were trained on pictures of `split`; None where nothing tells."""
    if split.is_sample:
        return False  # drawn pictures are seen by runs alone, which list them
    return suite_manifest().has_seen(training_sets, "" if split.card.source else split_key(split))
