"""The processes of a run must train the same: code, TensorFlow, recipe, pictures and weights to start from."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.console import say
from common.data.split import Split
from common.errors import UserError, brief
from common.nets.network import Network
from common.paths import ROOT
from common.recipe.recipe import Recipe, format_value
from common.tf1 import tf
from common.training.placement import Placement
from common.weights.weights import Weights

READERS = 8  # threads; hashing lets them run side by side


def refuse_unlike(
    placement: Placement,
    network: Network,
    recipe: Recipe,
    split: Split,
    init: Weights | None,
    val_split: Split | None,
    quiet: bool = False,
) -> None:
    """Compare this process with the others of its run.

    Raises UserError that names the first host that is unlike the chief, and in what; every host raises the same one.
    """
    if placement.replicas.count == 1:
        return
    splits = {"pictures": split, **({"validation pictures": val_split} if val_split else {})}
    texts = placement.exchange(facts(network, recipe, splits, init, quiet))
    refuse_difference(texts, [placement.name_of(index) for index in range(len(texts))])


def facts(
    network: Network, recipe: Recipe, splits: Mapping[str, Split], init: Weights | None, quiet: bool = False
) -> str:
    """All that the processes of a run must have in common, as JSON; `splits` are named as a message names them."""
    count = sum(len(split.pairs) for split in splits.values())
    say(f"comparing {count} pictures with those of the other hosts", quiet)
    found = {
        "code": _digest(_code(network)),
        "TensorFlow": tf.__version__,
        "recipe": recipe.to_json(),
        **{f"names of {what}": _names(each) for what, each in splits.items()},
        **{f"contents of {what}": _contents(each) for what, each in splits.items()},
        "weights to start from": init.digest() if init else None,
    }
    return json.dumps(found)


def refuse_difference(texts: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError when the `facts` of a process are others than the chief's, which come first."""
    chief, *others = map(json.loads, texts)
    for name, other in zip(names[1:], others, strict=True):
        pairs = {fact: (other.get(fact), chief.get(fact)) for fact in chief | other}
        unlike = [_difference(fact, one, chiefs) for fact, (one, chiefs) in pairs.items() if one != chiefs]
        if unlike:
            settings = ", and give --resume the run's own --set" if other.get("recipe") != chief["recipe"] else ""
            raise UserError(
                f"host {name} is unlike {names[0]}: it has other {', '.join(unlike)}; start the same command on the "
                f"same files everywhere{settings}"
            )


def _difference(name: str, one: Any, chiefs: Any) -> str:
    if isinstance(chiefs, dict) and isinstance(one, dict):
        fields = [key for key in chiefs | one if one.get(key) != chiefs.get(key)]
        told = [f"{k} {format_value(one.get(k))} instead of {format_value(chiefs.get(k))}" for k in fields[:3]]
        return f"{name} ({brief(', '.join(told))})"
    return f"{name} ({brief(str(one))} instead of {brief(str(chiefs))})" if name == "TensorFlow" else name


def _code(network: Network) -> Iterable[bytes]:
    """The source files of the suite's common rooms and of the network's package."""
    package = Path(sys.modules[network.__module__].__file__ or "").parent
    for path in sorted({*(ROOT / "common").rglob("*.py"), *package.glob("*.py")}):
        yield f"{path.name}\n".encode() + path.read_bytes()


def _names(split: Split) -> str:
    """A digest of the names of the pictures' and masks' files."""
    return _digest(f"{image.name} {mask.name}\n".encode("utf-8", "surrogateescape") for image, mask in split.pairs)


def _contents(split: Split) -> str:
    """A digest of the pictures' and masks' files."""

    def digest(index: int) -> bytes:
        try:
            return _digest(split.stored(index)).encode()
        except OSError as error:
            raise UserError(f"{split.pairs[index][0]}: cannot be read ({error.strerror})") from None

    with ThreadPoolExecutor(READERS) as pool:
        return _digest(pool.map(digest, range(len(split.pairs))))


def _digest(parts: Iterable[bytes]) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.hexdigest()
