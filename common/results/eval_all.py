"""`python -m common.results.eval_all`: evaluate every known checkpoint under every protocol of its paper, once.

A job is done if there is a record of this checkpoint, data, protocol and code. The others run in separate processes, as
many at a time as memory allows. Each writes its record when it ends, so after a kill only the rest is left to do.
Several machines with one disk share the work by `--shard`: each takes every n-th job.
"""

import argparse
import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from common import program
from common.console import Progress, say, show, stage
from common.data.lists import is_sample_set, open_data
from common.data.same_split import split_key
from common.data.sample import SAMPLE
from common.data.split import Split
from common.downloads.manifest import read_manifest
from common.engines.network_file import NetworkFile, open_weights
from common.errors import UserError
from common.export.choice import AUTO, ENGINES, TENSORFLOW
from common.memory import free_memory
from common.recipe.recipe import format_value
from common.reproduction import Reproduction, reproductions
from common.results import known, records
from common.results.code_version import code_version
from common.results.known import KnownCheckpoint
from common.results.matching import reported_protocols
from common.results.parts import WHOLE, shard
from common.results.protocol import protocol_text
from common.results.published import PublishedRow, read_published
from common.results.tables import write_results
from common.training import run_folder
from common.weights.checkpoint_files import newest_checkpoint, step_of

DEFAULT_MEMORY = 3000  # MiB of an evaluation that nobody measured
MEMORY_SHARE = 0.8  # share of the free memory that jobs may take together


@dataclass
class Job:
    """One checkpoint under one protocol; `record` is set when it is done."""

    checkpoint: KnownCheckpoint
    changes: Mapping[str, Any]
    recipe: dict[str, Any]
    protocol: dict[str, Any]
    sha256: str
    memory: int  # MiB, as the last such evaluation took
    record: dict[str, Any] | None = None
    keep: bool = False  # put its record among the tables' whatever it is of
    engine: str = TENSORFLOW  # one of ENGINES
    state: str = "was there"
    process: subprocess.Popen | None = field(default=None, repr=False)
    errors: IO[str] | None = field(default=None, repr=False)  # a file: a pipe that nobody reads fills up

    @property
    def out(self) -> Path:
        """The evaluation's folder."""
        engine = {} if self.engine == TENSORFLOW else {"engine": self.engine}  # its label maps replace no others
        return run_folder.evaluation_dir(self.checkpoint.out, {**self.changes, **engine})

    @property
    def title(self) -> str:
        how = protocol_text(self.protocol)
        return f"{self.checkpoint.reproduction.name} {self.checkpoint.path}: {how}"

    def command(self, data: Path, split_name: str, split: Split) -> list[str]:
        """The command line that evaluates it on `split`, which `split_name` names."""
        settings = [*self.checkpoint.settings, *(f"{key}={format_value(value)}" for key, value in self.changes.items())]
        words = ["-m", self.checkpoint.reproduction.package, "evaluate", "--data", str(data)]
        words += ["--split", split_name, "--checkpoint", str(self.checkpoint.path)]
        words += ["--out", str(self.out), "--save-labels"]
        if (seen := self.checkpoint.val_seen.get(split_key(split))) is not None:
            words.append("--val-seen" if seen else "--val-unseen")
        words += ["--engine", self.engine] if self.engine != TENSORFLOW else []
        words += ["--quiet", *(["--record"] if self.keep else [])]
        return [sys.executable, *words, *(["--set", *settings] if settings else [])]


def jobs_of(
    checkpoint: KnownCheckpoint, split: Split, done: Sequence[dict[str, Any]], published: Sequence[PublishedRow],
    keep: bool = False, engine: str = TENSORFLOW,
) -> list[Job]:  # fmt: skip
    """List a job for the recipe's own protocol, and one for each protocol published for its training on this data set.

    None when its classes are not the data set's. A network's file has its own protocol alone: it fixes the others.
    `engine` is one of ENGINES; a record by any will do for AUTO.
    """
    weights = open_weights(checkpoint.path)
    reproduction, settings = checkpoint.reproduction, list(checkpoint.settings)
    recipe = reproduction.recipe_to_run(settings, weights)
    if recipe.num_classes != len(split.card.classes) or recipe.dataset not in (split.card.name, split.card.source):
        return []
    sha256 = weights.digest()
    measured = [r["peak_memory_mib"] for r in done if r["reproduction"] == reproduction.name and r["peak_memory_mib"]]
    found: list[Job] = []
    if isinstance(weights, NetworkFile):
        reported, engine = [], TENSORFLOW  # which stands for the file's own program
    else:
        reported = reported_protocols(published, reproduction.name, recipe, split, checkpoint.path)
    for changes in ({}, *reported):
        evaluated = recipe.derive(**changes, **({"dataset": split.card.source} if split.card.source else {}))
        how = evaluated.at_evaluation().protocol()
        if any(job.protocol == how for job in found):  # the recipe's own protocol is among the published ones
            continue
        memory = max(measured, default=DEFAULT_MEMORY)
        job = Job(checkpoint, changes, evaluated.to_json(), how, sha256, memory, keep=keep, engine=engine)
        job.record = _record_of(job, done, split)
        found.append(job)
    return found


def _record_of(job: Job, done: Sequence[dict[str, Any]], split: Split) -> dict[str, Any] | None:
    """The job's record among those of the tables, or beside its evaluation where that will do."""
    beside = []
    if not job.keep:
        with contextlib.suppress(UserError):  # there is none, or it is broken: it is evaluated again
            beside = [records.read_record(job.out / records.BESIDE)]
    return next((r for r in (*done, *beside) if _is_of(r, job, split)), None)


def _is_of(record: dict, job: Job, split: Split) -> bool:
    engine = record["protocol"].get("engine", TENSORFLOW)
    told = {} if engine == TENSORFLOW else {"engine": engine}
    by_engine = bool(told) or "network_file" in job.protocol
    return (
        job.engine in (engine, AUTO)
        and record["checkpoint"]["sha256"] == job.sha256
        and record["code"] == code_version(job.checkpoint.reproduction.module, by_engine)
        and record["data"]["title"] == split.title
        and record["data"]["images"] == len(split.pairs)
        and record["protocol"] == job.protocol | told
        and record["recipe"] == job.recipe | told
    )


def missing_runs(ours: Iterable[Reproduction]) -> list[tuple[Reproduction, str]]:
    """The sample variants whose run is missing or not finished."""
    found = []
    for reproduction in ours:
        for variant in reproduction.sample_variants:
            newest = newest_checkpoint(run_folder.RUNS / f"{reproduction.name}-{variant}")
            if not newest or step_of(newest) < reproduction.variants[variant].num_steps:
                found.append((reproduction, variant))
    return found


def train(reproduction: Reproduction, variant: str, quiet: bool) -> None:
    """Train a sample run, or continue it. Raises UserError when that fails."""
    stage()  # the terminal is the other process's
    say(f"{reproduction.name} {variant}: has no checkpoint yet; training it", quiet)
    words = ["-m", reproduction.package, "reproduce", "--set", f"variant={variant}"]
    words_and_flags = [sys.executable, *words, *(["--quiet"] if quiet else [])]
    done = subprocess.run(words_and_flags, stdout=subprocess.DEVNULL, preexec_fn=end_with_parent)
    if done.returncode:
        raise UserError(
            f"python {shlex.join(words)}: ended with status {done.returncode}; finished work is kept; the same "
            f"command continues"
        )


def run(jobs: Sequence[Job], where: tuple[Path, str, Split], most: int, quiet: bool) -> None:
    """Run the jobs that have no record, at most `most` at a time and no more than memory allows.

    `where` is the data folder, the name that its split goes by, and the split.
    """
    waiting = sorted((job for job in jobs if job.record is None), key=lambda job: job.memory)
    running: list[Job] = []
    total, started, budget = len(waiting), time.monotonic(), MEMORY_SHARE * free_memory()
    if waiting:
        say(f"{total} evaluations, {len(jobs) - total} have their records", quiet)
    with Progress("evaluations", total, quiet=quiet or not total, at_once=True, logs=False) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    if running and sum(job.memory for job in (*running, waiting[0])) > budget:
                        break
                    running.append(_start(waiting.pop(0), *where))
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    _end(job)
                    ended = total - len(waiting) - len(running)
                    say(f"{ended}/{total} ({time.monotonic() - started:.0f} s) {job.state}: {job.title}", quiet)
                    bar.advance()
                time.sleep(0.2)
        finally:
            for job in running:  # this process is told to stop: so are they
                job.process.terminate()
                job.process.wait()


def _start(job: Job, data: Path, split_name: str, split: Split) -> Job:
    job.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it is closed when the job has ended)
    job.process = subprocess.Popen(
        job.command(data, split_name, split), stdout=subprocess.DEVNULL, stderr=job.errors, preexec_fn=end_with_parent
    )
    return job


def _end(job: Job) -> None:
    """Take down how a job's process ended."""
    job.errors.seek(0)
    failed = job.process.returncode != 0
    job.state = f"failed: {_last_line(job.errors.read().strip())}" if failed else "evaluated"
    job.errors.close()


def end_with_parent() -> None:
    """In a child process: get SIGTERM when the parent ends, even when it is killed (on Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("error: ")] or text.splitlines() or ["no word"]
    return lines[-1].removeprefix("error: ")


def summary(jobs: Iterable[Job], done: Sequence[dict[str, Any]], split: Split) -> str:
    """A line for each job, with the mIoU of its record."""
    lines = []
    for job in jobs:
        record = _record_of(job, done, split)
        score = f"{100 * record['miou']:6.2f}" if record and record["miou"] is not None else "     -"
        lines.append(f"{score}  {job.state:10s} {job.title}")
    return "\n".join([f"mIoU on {split.title}, {len(split.pairs)} pictures", *sorted(lines, key=lambda t: t[8:])])


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 when every job has its record, 2 otherwise."""
    parser = program.ArgumentParser(
        prog="python -m common.results.eval_all",
        description="Evaluate every known checkpoint under every protocol that its paper reports.",
        example="--data sample --list",
    )
    parser.add_argument(
        "--data", default=SAMPLE, metavar="DIR",
        help="data set folder or dataset.yaml (default: the drawn sample set, whose missing runs are trained)",
    )  # fmt: skip
    parser.add_argument("--dataset", default="voc2012", help="its card (default: %(default)s)")
    parser.add_argument("--split", default="val", help="split name or list file (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=program.whole_number(1, program.MOST_WORKERS), default=os.cpu_count(), metavar="N",
        help="evaluations at a time, if memory allows (default: one for each core)",
    )  # fmt: skip
    parser.add_argument("--engine", choices=ENGINES, default=TENSORFLOW, help="what runs them (default: %(default)s)")
    program.add_record(parser)
    parser.add_argument(
        "--shard", type=shard, default=WHOLE, metavar="I/N",
        help="only the evaluations I, I + N, I + 2 N, ..., with I from 1 to N, those counted too that have their "
        "records; the tables are left to `make results`, when all shards have ended",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="only list what is left to do")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ours = reproductions()
    data = open_data(args.data)
    on_sample = is_sample_set(data.folder)
    broken = _train_missing(ours, args) if on_sample else []
    split = data.split(args.split, args.dataset)
    checkpoint_list = [c for c in known.trained(ours, args.quiet) if c.sample == on_sample]
    if not on_sample:
        checkpoint_list += known.fetched(ours, read_manifest(), args.quiet)
    if not checkpoint_list and not on_sample:
        raise UserError(
            f"no checkpoint to evaluate on {split.title}: train one (`make reproduce-v3 DATA=...`), or fetch one "
            f"(`make weights NAME=max_image_segmenter`)"
        )
    stage("looking up what is evaluated already")
    left_out: list[str] = []
    done, published = records.read_records(left_out=left_out), read_published()
    every: list[Job] = []
    for checkpoint in checkpoint_list:
        try:
            every += jobs_of(checkpoint, split, done, published, args.record, args.engine)
        except UserError as error:
            broken.append(str(error))
    jobs = every[args.shard.places]  # of all, done or not, so that no two shards ever have the same
    if args.list:
        for job in jobs:
            show(f"{'has its record' if job.record else 'to evaluate   '} {job.title}")
        return program.report_failures(left_out)
    run(jobs, (data.folder, args.split, split), args.jobs, args.quiet)
    if args.shard == WHOLE:
        stage("making the tables")
        left_out = write_results()
    show(summary(jobs, records.read_records(left_out=[]), split))
    if args.shard != WHOLE:
        show(f"shard {args.shard}: {len(jobs)} of {len(every)} evaluations; `make results` writes the tables when all "
             f"shards have ended")  # fmt: skip
    return _status(jobs, broken, left_out)


def _train_missing(ours: Mapping[str, Reproduction], args: argparse.Namespace) -> list[str]:
    """Train the sample runs that are missing, or list them; returns a sentence for each that failed.

    Raises UserError for a shard: others would train the same runs, and which jobs there are depends on them.
    """
    missing, broken = missing_runs(ours.values()), []
    if missing and args.shard != WHOLE and not args.list:
        raise UserError(
            f"--shard {args.shard}: {len(missing)} runs on the sample set are not trained yet; one machine must do "
            f"that first, by the same command without --shard"
        )
    for reproduction, variant in missing:
        if args.list:
            show(f"to train        {reproduction.name} {variant}")
            continue
        try:
            train(reproduction, variant, args.quiet)
        except UserError as error:  # the others can be made all the same
            broken.append(str(error))
    return broken


def _status(jobs: Sequence[Job], broken: Sequence[str], left_out: Sequence[str]) -> int:
    """Say what failed; returns the exit status. Raises UserError when an evaluation or a checkpoint did."""
    failed = sum(job.state.startswith("failed") for job in jobs)
    program.report_failures(broken)
    if failed or broken:
        raise UserError(
            f"{failed} of {len(jobs)} evaluations failed, {len(broken)} checkpoints could not be made or read; the "
            f"same command tries them again"
        )
    return program.report_failures(left_out)


if __name__ == "__main__":
    sys.exit(main())
