"""Parts of an evaluation: each machine counts a shard of the pictures, and the parts are joined.

Confusion matrices are whole numbers and add up exactly, so that the joined evaluation has the numbers of one in one
process. A part is a JSON file, and beside it the scores of its pictures. It is there when the JSON file is.
"""

import argparse
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Self

from common.data.split import Split
from common.errors import UserError, quoted
from common.files import read_json, refuse_foreign_json, write_text
from common.inference.evaluation import Counts
from common.results import records, schema
from common.weights.checkpoint_files import digest as digest_of_file
from common.words import some

if TYPE_CHECKING:
    from common.inference.picture_scores import PictureScores

SCHEMA = 1
FILES = "part-*.json"
AGAIN = "move the file away, and evaluate this part again"


@dataclass(frozen=True, order=True)
class Shard:
    """Every `count`-th item of a list, from item `number` on; numbers begin at 1."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def places(self) -> slice:
        """The places of its items in the list."""
        return slice(self.number - 1, None, self.count)

    def path(self, folder: Path) -> Path:
        """The file of its part in an evaluation's folder."""
        return folder / f"part-{self.number}-of-{self.count}.json"


WHOLE = Shard()


def shard(text: str) -> Shard:
    """The type of `--shard`: `2/8` is the second of eight."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text)
    if not found or int(found[1]) > int(found[2]):
        what = "is not I/N with I from 1 to N, such as 2/8, the second of eight"
        raise argparse.ArgumentTypeError(f"{quoted(text)} {what}")
    return Shard(int(found[1]), int(found[2]))


_SHARD = schema.Kind(
    "a list of two whole numbers from 1 on, the first not above the second",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(schema.WHOLE.test, v)) and 1 <= v[0] <= v[1],
)
_PART = schema.Of(
    {
        "schema": schema.WHOLE,
        "shard": _SHARD,
        "known": schema.Of(schema.FACTS, optional=("miou_before_training",)),
        "why_beside": schema.OrNone(schema.TEXT),
        "classes": schema.Each(schema.TEXT, list),
        "pictures": schema.TEXT,
        "how": schema.Of(schema.CIRCUMSTANCES, optional=("engine", "graphics")),
        "confusion_matrix": schema.MATRIX,
        "bands": schema.Each(schema.MATRIX),
        "losses": schema.Each(schema.NUMBER, list),
        "images": schema.WHOLE,
        "scores": schema.TEXT,
        "digest": schema.TEXT,
    }
)


@dataclass
class Part:
    """The result of an evaluation on one shard of its pictures, and what its record says besides.

    Attributes:
      shard: which pictures.
      known: the record's `facts`; they are of all pictures.
      why_beside: the answer of `records.why_beside`.
      classes: their names.
      pictures: `digest_of_pictures` of all pictures.
      how: the record's `circumstances`.
      counts, scores: of the shard.
    """

    shard: Shard
    known: dict[str, Any]
    why_beside: str | None
    classes: tuple[str, ...]
    pictures: str
    how: dict[str, Any]
    counts: Counts
    scores: "PictureScores"

    def save(self, folder: Path) -> Path:
        """Write what `read` reads, the JSON file last; returns its path."""
        path = self.shard.path(folder)
        self.scores.save(path.with_suffix(".npz"))
        content = {
            "schema": SCHEMA,
            "shard": [self.shard.number, self.shard.count],
            "known": self.known,
            "why_beside": self.why_beside,
            "classes": self.classes,
            "pictures": self.pictures,
            "how": self.how,
            **self.counts.to_json(),
            "scores": digest_of_file(path.with_suffix(".npz")),
        }
        write_text(path, records.dumps({**content, "digest": records.digest(content)}))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a part. Raises UserError when it is none, not all of one, or was changed."""
        from common.inference.picture_scores import PictureScores  # with SciPy, which refusals need not wait for

        content, scores = _content(path), path.with_suffix(".npz")
        if not scores.is_file() or digest_of_file(scores) != content["scores"]:
            raise UserError(f"{scores}: is missing, or not of the same evaluation as {path.name}; {AGAIN}")
        its = Shard(*content["shard"])
        counts = Counts.from_json(content)
        found = cls(
            its, content["known"], content["why_beside"], tuple(content["classes"]), content["pictures"],
            content["how"], counts, PictureScores.load(scores),
        )  # fmt: skip
        images = len(range(content["known"]["data"]["images"])[its.places])
        sizes = counts.images, len(found.scores.names), len(counts.losses) or images, found.scores.classes
        if sizes != (images, images, images, len(found.classes)):
            raise UserError(f"{path}: does not have the pictures of part {its}; {AGAIN}")
        return found

    def fixed(self) -> dict[str, Any]:
        """The values that all parts of an evaluation have alike, by their names in a message."""
        known = self.known
        return {
            "reproduction": known["reproduction"],
            "weights": known["checkpoint"]["sha256"],
            "code": known["code"],
            "data": known["data"],
            "pictures": self.pictures,
            "classes": self.classes,
            "protocol": known["protocol"],
            "recipe": known["recipe"],
            "trimap": list(self.counts.bands.matrices),
            "losses": bool(self.counts.losses),
            "marks": known["marks"],
            "versions": self.how["versions"],
        }


def _content(path: Path) -> dict[str, Any]:
    """The content of a part's JSON file. Raises UserError when `save` did not write it."""
    try:
        content = read_json(path)
    except UserError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no part that evaluate --shard wrote, or not all of it; {AGAIN}")
    schema.check_fields(content, _PART, str(path), SCHEMA, again=AGAIN)
    if content["digest"] != records.digest(content):
        raise UserError(f"{path}: was changed after its evaluation wrote it; {AGAIN}")
    if Path(content["known"]["id"]).name != content["known"]["id"]:  # the record's file is named so
        raise UserError(f"{path}: its id is no name of a file; {AGAIN}")
    matrices, classes = [content["confusion_matrix"], *content["bands"].values()], len(content["classes"])
    are_square = all({len(matrix), *map(len, matrix)} == {classes} for matrix in matrices)
    if not are_square or not all(re.fullmatch(r"[1-9][0-9]{0,3}", width) for width in content["bands"]):
        raise UserError(f"{path}: its matrices are not {classes} x {classes}, one for each width; {AGAIN}")
    return content


def refuse_foreign(path: Path, flag: str) -> None:
    """Raise UserError, which begins with `flag`, when the part at `path` would replace what no evaluation wrote.

    Scores alone are there when an evaluation was killed between its two files.
    """
    from common.inference.picture_scores import PictureScores

    refuse_foreign_json(path, flag, "shard")
    scores = path.with_suffix(".npz")
    if scores.exists() and not path.exists():
        try:
            PictureScores.load(scores)
        except UserError:
            what = "is there, and not written by this command; name another folder, or move it away"
            raise UserError(f"{flag}: {scores.name} {what}") from None


def join(folder: Path) -> Part:
    """Join the parts in a folder to one of all pictures.

    Raises UserError when there are none, when some are missing or there twice, and when they are of different
    evaluations.
    """
    paths = sorted(folder.glob(FILES))
    if not paths:
        raise UserError(f"--merge {folder}: holds no parts; evaluate --shard 1/N --out {folder} writes the first of N")
    found: dict[Shard, Part] = {}
    where: dict[Shard, Path] = {}
    for path in paths:
        part = Part.read(path)
        if part.shard in where:
            raise UserError(f"{path}: is part {part.shard}, as {where[part.shard].name} is; move one of them away")
        found[part.shard], where[part.shard] = part, path
        first = next(iter(found))
        _refuse_other(path, part, where[first], found[first])
    shards = [Shard(number, part.shard.count) for number in range(1, part.shard.count + 1)]
    if missing := [each for each in shards if each not in found]:
        raise UserError(f"--merge {folder}: lacks {len(missing)} of its parts; evaluate --shard {some(missing)}")
    return _joined([found[each] for each in shards])


def _refuse_other(path: Path, part: Part, first_path: Path, first: Part) -> None:
    """Raise UserError when two parts are not of the same evaluation."""
    if part.shard.count != first.shard.count:
        raise UserError(
            f"{path}: is part {part.shard}, and {first_path.name} is part {first.shard}; move the parts of one of the "
            f"two evaluations away"
        )
    mine, theirs = part.fixed(), first.fixed()
    if word := next((word for word in mine if mine[word] != theirs[word]), None):
        raise UserError(
            f"{path}: differs from {first_path.name} in {word}{_fields(mine[word], theirs[word])}; evaluate one of the "
            f"two as the other was, or move the parts of one evaluation away"
        )


def _fields(mine: Any, theirs: Any) -> str:
    """The names of the fields in which two mappings differ, in brackets; empty for what has no fields."""
    if not isinstance(mine, dict):
        return ""
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name, ...) != theirs.get(name, ...))
    return f" ({some(names)})"


def _joined(parts: Sequence[Part]) -> Part:
    first = parts[0]
    scores = type(first.scores).joined([part.scores for part in parts])
    counts = Counts.joined([part.counts for part in parts])
    how = _joined_circumstances([part.how for part in parts])
    return Part(WHOLE, first.known, first.why_beside, first.classes, first.pictures, how, counts, scores)


def _joined_circumstances(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The seconds of all machines, the most memory of one, the least agreement, and what else they have alike."""
    first = parts[0]
    engines = [part["engine"] for part in parts if part.get("engine")]
    alike = {name: first[name] for name in ("commit", "cpu", "cores")}
    return {
        **first,
        "seconds": round(sum(part["seconds"] or 0 for part in parts), 1),
        "peak_memory_mib": max(part["peak_memory_mib"] or 0 for part in parts),
        **{name: value if all(part[name] == value for part in parts) else None for name, value in alike.items()},
        **({"engine": min(engines, key=lambda engine: engine["agreement"])} if engines else {}),
    }


def digest_of_pictures(split: Split) -> str:
    """sha256 of the names of a split's pictures and masks, with their folders', and of the sizes of their files.

    A split in TFRecords has names only.
    """
    sha = hashlib.sha256()
    for path in (path for pair in split.pairs for path in pair):
        sha.update(f"{'/'.join(path.parts[-2:])} {_size(path)}\n".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()


def _size(path: PurePath) -> int | None:
    return path.stat().st_size if isinstance(path, Path) else None
