"""The command line that every reproduction shares."""

import argparse
import json
import re
import shlex
import sys
import time
from pathlib import Path

from common import draw_cell, program
from common.errors import UserError
from common.reproduction import Reproduction

SAMPLE = "sample"  # --data sample: the drawn set
SAMPLE_DIR = Path("data/sample")
TRIMAP_WIDTHS = "1,2,5,10,20,40"  # a bare --trimap; arXiv 1802.02611 figure 5 goes to 40


def main(reproduction: Reproduction, arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0 all done, 2 wrong arguments or input, 128 + n on signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(reproduction).parse_args(arguments)
    args.command_line = f"python -m reproductions.{reproduction.name} {shlex.join(arguments)}"
    return program.run(lambda: _run(reproduction, args))


def _run(reproduction: Reproduction, args: argparse.Namespace) -> int | None:
    if getattr(args, "config", None):
        command = "train" if args.command == "reproduce" else args.command
        args.settings = reproduction.config_settings(args.config, command, args.quiet) + args.settings
    return args.run(reproduction, args)


def _parser(reproduction: Reproduction) -> argparse.ArgumentParser:
    parser = program.ArgumentParser(
        prog=f"python -m reproductions.{reproduction.name}",
        description=f"{reproduction.title}. Variants: {', '.join(reproduction.variants)}.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, about):
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run, command=name)
        sub.add_argument(
            "--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[],
            help="override fields of the recipe; variant=NAME chooses the recipe to start from",
        )  # fmt: skip
        sub.add_argument("--quiet", action="store_true", help="no progress, for scripts")
        if reproduction.config_settings:
            sub.add_argument(
                "--config",
                type=Path,
                metavar="FILE",
                help="the original's configuration file (JSON); --set goes before it",
            )
        return sub

    def data(sub, split):
        sub.add_argument(
            "--data", required=True, metavar="DIR",
            help=f"data set folder, folder of TFRecords, your own dataset.yaml, or '{SAMPLE}' for the drawn sample set",
        )  # fmt: skip
        sub.add_argument("--split", help=f"split name or list file (default: the recipe's {split})")

    def inference(sub):
        formats = "checkpoint prefix, V1 file or .npz" + ", or Keras .h5" * bool(reproduction.keras_names)
        sub.add_argument("--checkpoint", required=True, metavar="WEIGHTS", help=formats)
        sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
        sub.add_argument("--scales", type=_scales, metavar="S,S", help="scales to fuse, e.g. 0.5,0.75,1")
        sub.add_argument("--flip", action="store_true", default=None, help="mirror too")
        sub.add_argument("--crf", action="store_true", default=None, help="refine by the dense CRF")

    train = command("train", _train, "train a recipe into a run folder")
    data(train, "train_split")
    train.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run's folder (default: one for each recipe below runs/)"
    )
    train.add_argument("--init", metavar="WEIGHTS", help="weights to start from")
    train.add_argument(
        "--limit", type=program.whole_number(1), metavar="N", help="validate on the first N pictures only"
    )
    train.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    train.add_argument(
        "--keep",
        type=program.whole_number(0),
        default=5,
        metavar="N",
        help="checkpoints to keep, 0 for all (default: 5)",
    )

    evaluate = command("evaluate", _evaluate, "mIoU of a checkpoint on a split, with a record")
    data(evaluate, "val_split")
    inference(evaluate)
    evaluate.add_argument("--limit", type=program.whole_number(1), metavar="N", help="only the first N pictures")
    evaluate.add_argument(
        "--save-results",
        action="store_true",
        help="picture, label, result and overlay of each, in results/ below --out",
    )
    evaluate.add_argument("--save-labels", action="store_true", help="label maps, in labels/ below --out, for reports")
    evaluate.add_argument(
        "--trimap", type=_widths, nargs="?", const=TRIMAP_WIDTHS, default=(), metavar="W,W",
        help=f"also mIoU within W pixels of the labels' boundaries, with a plot (without W: {TRIMAP_WIDTHS})",
    )  # fmt: skip
    seen = evaluate.add_mutually_exclusive_group()
    seen.add_argument(
        "--val-seen", action="store_true", default=None, help="the weights were trained on these pictures"
    )
    seen.add_argument(
        "--val-unseen", dest="val_seen", action="store_false",
        help="they were not; weights from elsewhere are marked val_seen? unless one of the two is said",
    )  # fmt: skip

    predict = command("predict", _predict, "label maps and overlays of pictures")
    predict.add_argument("pictures", nargs="+", metavar="IMAGE|DIR|GLOB")
    inference(predict)
    predict.add_argument("--save-logits", action="store_true", help="also <stem>.npy: the network's own scores")

    describe = command(
        "describe", _describe, "the resolved recipe, its head's graph, variables, parameters, multiply-adds"
    )
    describe.add_argument(
        "--draw", type=_png, metavar="FILE.png", help="draw the graph of a head that is designed in JSON"
    )
    describe.add_argument(
        "--size",
        type=program.whole_number(1),
        default=513,
        metavar="N",
        help="input side for multiply-adds (default: 513)",
    )
    describe.add_argument(
        "--table",
        action="store_true",
        help="the networks that the papers report instead: parameters, multiply-adds, receptive field beside what was "
        "published",
    )

    reproduce = command("reproduce", _reproduce, "train, evaluate and draw, on the sample set or on real data")
    reproduce.add_argument(
        "--data",
        default=SAMPLE,
        metavar="DIR",
        help="data set folder, or your own dataset.yaml (default: the sample set)",
    )
    reproduce.add_argument("--init", metavar="WEIGHTS", help="weights to start from")
    reproduce.add_argument(
        "--steps", type=program.whole_number(1), metavar="N", help="training steps (default: the recipe's)"
    )
    reproduce.add_argument(
        "--limit", type=program.whole_number(1), metavar="N", help="evaluate only the first N pictures"
    )
    reproduce.add_argument("--run-dir", type=Path, metavar="DIR", help="the run's folder (default: below runs/)")
    return parser


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} must end in .png")
    return Path(text)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a list of numbers like 0.5,0.75,1") from None
    return scales


def _widths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers of pixels, 1 to 9999, like 1,2,5")
    return tuple(sorted({int(part) for part in text.split(",")}))


def data_dir(argument: str) -> Path:
    """The folder that `--data` names; `sample` draws the sample set first, unless there is a folder of that name."""
    if argument != SAMPLE or Path(argument).is_dir():
        return Path(argument)
    from common.data import sample

    sample.write(SAMPLE_DIR)
    return SAMPLE_DIR


def located(reproduction: Reproduction, args: argparse.Namespace, init=None) -> Path:
    """The folder of `--data`; a person's own data set, named by its dataset.yaml, also settles what training takes."""
    from common.data.own import locate, training_settings

    card, data = locate(data_dir(args.data))
    if card:
        args.settings = [*training_settings(card), *reproduction.settings_for_own_classes(init), *args.settings]
    return data


def _train(reproduction: Reproduction, args: argparse.Namespace) -> int:
    from common import checkpoints, training
    from common.console import say
    from common.data.lists import card_by_name, read_split
    from common.run_folder import version_dir
    from common.validation import validation_split

    init = checkpoints.Weights(args.init) if args.init else None
    data = located(reproduction, args, init)
    recipe = None if args.run_dir else reproduction.recipe_to_train(args.settings, init)
    run_dir = args.run_dir or version_dir(reproduction.name, recipe, [args.data, args.split, args.init])
    newest = checkpoints.newest_checkpoint(run_dir) if args.resume else None
    if newest:
        recipe = reproduction.recipe_to_resume(args.settings, checkpoints.Weights(newest))
    elif args.resume and not args.run_dir:
        raise UserError(
            f"--resume: there is no run of this recipe, data and start ({run_dir}); name its folder by --run-dir, or "
            f"say --set, --data, --split and --init as it was begun"
        )
    recipe = recipe or reproduction.recipe_to_train(args.settings, init)
    split = read_split(card_by_name(recipe.dataset), data, args.split or recipe.train_split)
    recipe = training.for_data(recipe, split, args.quiet)
    if not (init or args.resume or recipe.calibration_batches):
        say("no --init: training starts from random weights; variant=scratch is made for that", args.quiet)
    trained = training.train(
        reproduction.load_network(), recipe, split, run_dir,
        init=init, resume=args.resume, keep=args.keep, quiet=args.quiet, command=args.command_line,
        val_split=validation_split(recipe, data), val_limit=args.limit,
    )  # fmt: skip
    return _report_training(trained, recipe, args)


def _report_training(trained, recipe, args) -> int:
    from common import checkpoints
    from common.console import say

    if trained.stopped_by:
        print(
            f"stopped by signal {trained.stopped_by} after step {trained.step} of {recipe.num_steps}; "
            f"{trained.checkpoint} is saved, go on with --resume",
            file=sys.stderr,
        )
        return 128 + trained.stopped_by
    for best in checkpoints.checkpoints(trained.checkpoint.parent, checkpoints.BEST):
        say(f"{best}: the best by validation {recipe.best_by}", args.quiet)
    print(trained.checkpoint)
    return 0


def _evaluate(reproduction: Reproduction, args: argparse.Namespace) -> None:
    from common.checkpoints import Weights
    from common.data.lists import card_by_name, read_split
    from common.data.own import locate
    from common.reproduce import RESULTS, evaluate_and_record
    from common.trimap import PLOT

    weights = Weights(args.checkpoint)
    recipe = _with_protocol(reproduction.recipe_to_run(args.settings, weights), args)
    card, data = locate(data_dir(args.data))
    if card:
        recipe = recipe.derive(dataset=card.source)
    split = read_split(card or card_by_name(recipe.dataset), data, args.split or recipe.val_split)
    metrics, record = evaluate_and_record(
        reproduction, recipe, split, weights, args.out,
        trimap_widths=args.trimap, limit=args.limit, val_seen=args.val_seen, quiet=args.quiet,
        save_results=args.save_results, save_labels=args.save_labels, command=args.command_line,
    )  # fmt: skip
    for name, iou in metrics["per_class_iou"].items():
        if iou is not None:
            print(f"{name:>15s} {iou:.4f}")
    for width, band in metrics.get("trimap", {}).items():
        print(f"mIoU within {width} pixels of the boundaries {band['miou']}  pixels {band['pixels']}")
    print(f"mIoU {metrics['miou']}  pixel accuracy {metrics['pixel_accuracy']}  pictures {metrics['images']}")
    print(f"{args.out / 'metrics.json'}\n{record}")
    if args.save_results:
        print(args.out / RESULTS)
    if args.trimap:
        print(args.out / PLOT)


def _with_protocol(recipe, args):
    changes = {"eval_scales": args.scales, "eval_flip": args.flip, "crf": args.crf}
    return recipe.derive(**{k: v for k, v in changes.items() if v is not None})


def _predict(reproduction: Reproduction, args: argparse.Namespace) -> int:
    from common import prediction
    from common.checkpoints import Weights
    from common.data.lists import card_by_name
    from common.data.own import FILE
    from common.inference import Segmenter

    pictures = prediction.find_pictures(args.pictures)
    weights = Weights(args.checkpoint)
    recipe = _with_protocol(reproduction.recipe_to_run(args.settings, weights), args)
    kept = weights.path.parent / FILE
    card = card_by_name(str(kept) if kept.is_file() else recipe.dataset)
    segmenter = Segmenter(reproduction.load_network(), recipe, weights)
    failures = prediction.predict(
        segmenter, pictures, card, args.out,
        scales=recipe.eval_scales, flip=recipe.eval_flip, save_logits=args.save_logits, quiet=args.quiet,
    )  # fmt: skip
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{len(pictures) - len(failures)} of {len(pictures)} pictures written to {args.out}")
    return 2 if failures else 0


def _describe(reproduction: Reproduction, args: argparse.Namespace) -> None:
    if args.table:
        if args.settings or args.draw:
            raise UserError("--table: describes the papers' networks as they are; leave --set, --config and --draw out")
        from common.model_table import print_models

        print_models([reproduction], args.size, args.quiet)
        return
    recipe = reproduction.recipe_to_train(args.settings)
    if args.draw and not recipe.cell:
        raise UserError(f"--draw {args.draw}: the head of {recipe.variant} is not designed in JSON")
    print(json.dumps(recipe.to_json(), indent=1), flush=True)
    if recipe.cell:
        print("\n" + draw_cell.tree(recipe.cell))
    if args.draw:
        draw_cell.draw(recipe.cell, args.draw)
        print(f"\n{args.draw}")
    from common.describe import describe

    print("\n" + describe(reproduction.load_network(), recipe, args.size))


def _reproduce(reproduction: Reproduction, args: argparse.Namespace) -> int:
    from common.checkpoints import Weights
    from common.reproduce import reproduce

    started = time.monotonic()
    init = Weights(args.init) if args.init else None
    trained, recipe, summary = reproduce(reproduction, args, located(reproduction, args, init), init)
    if trained.stopped_by:
        return _report_training(trained, recipe, args)
    print(f"{summary}\ndone in {time.monotonic() - started:.0f} s")
    return 0
