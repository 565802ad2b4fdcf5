"""The networks on this disk that the page offers: what `make weights` fetched, runs trained, and `export` wrote."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.downloads.origin import FOLDERS
from common.engines import network_file
from common.errors import UserError
from common.export.folder import SUMMARY, entries
from common.recipe.recipe import field_types
from common.reproduction import Reproduction, reproductions
from common.results import known
from common.training.run_folder import RUNS
from common.training.seen import suite_manifest
from common.weights import checkpoint_files

EXPORTED = (FOLDERS["weights"], RUNS, Path("out"))  # below these lie files that `export` wrote

COMMON_NAMES = ("model.", "best.", "saved_model", "frozen_inference_graph", "init.", "train_iter")


@dataclass(frozen=True)
class Model:
    """A network on the disk.

    Attributes:
      reproduction: its name.
      path: the checkpoint's prefix, or a network's file.
      settings: `--set` arguments: the variant, for weights from elsewhere.
      is_sample: whether a run on drawn pictures trained it.
      changed: when its files were written, so that a file in its place is another model.
    """

    reproduction: str
    path: Path
    settings: tuple[str, ...]
    is_sample: bool
    changed: float

    @property
    def title(self) -> str:
        """The file's name, with the folder's where many are called so, and a word on drawn pictures."""
        folder = f"{self.path.parent.name}/" if self.path.name.startswith(COMMON_NAMES) else ""
        return f"{folder}{self.path.name}{' (drawn pictures)' if self.is_sample else ''}"

    @property
    def is_file(self) -> bool:
        """Whether it is a network's file, which runs as it is."""
        return network_file.format_of(self.path) is not None

    @property
    def has_strides(self) -> bool:
        """Whether its output stride can be chosen."""
        first = next(iter(reproductions()[self.reproduction].variants.values()))
        return not self.is_file and "eval_output_stride" in field_types(type(first))


def find_models() -> dict[str, Model]:
    """Title -> model: fetched ones first, then those of runs; networks' files stand behind checkpoints."""
    ours = reproductions()
    found = [*known.fetched(ours, suite_manifest(), quiet=True), *known.trained(ours, quiet=True)]
    models = [_model(one.reproduction.name, one.path, one.settings, one.sample) for one in found]
    models += _exported(ours)
    titles = Counter(model.title for model in models)
    models.sort(key=lambda model: model.is_file)
    return {model.title if titles[model.title] == 1 else str(model.path): model for model in models}


def _exported(ours: Mapping[str, Reproduction]) -> Iterator[Model]:
    for folder in (path.parent for root in EXPORTED for path in sorted(root.rglob(SUMMARY))):
        try:
            files = [entry for entry in entries(folder).values() if entry.get("reproduction") in ours]
        except UserError:  # a summary that was damaged
            continue
        for path, entry in ((folder / str(entry.get("file")), entry) for entry in files):
            if path.exists() and network_file.format_of(path):
                yield _model(entry["reproduction"], path)


def _model(reproduction: str, path: Path, settings: tuple[str, ...] = (), is_sample: bool = False) -> Model:
    files = network_file.files_of(path) if path.exists() else checkpoint_files.files_of(path)
    changed = max((file.stat().st_mtime for file in files), default=0.0)
    return Model(reproduction, path, settings, is_sample, changed)
