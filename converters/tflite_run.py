"""Run a TensorFlow Lite file in a process of its own: a damaged one may end the process, or fill its memory."""

import multiprocessing
import resource
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from common.errors import UserError, one_line

SECONDS = 300
MEMORY = 2 << 30  # bytes beside TensorFlow itself


def run(path: Path, picture: np.ndarray, wanted: list[int]) -> dict[int, np.ndarray]:
    """Tensor's number -> its values, as they are stored, after the network of the file has run.

    Args:
      path: the file.
      picture: as the file's only input takes it.
      wanted: numbers of tensors.

    Raises:
      UserError: TensorFlow Lite refuses the file, crashes on it, or takes too long or too much memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(_run, path, picture, wanted)
        try:
            return future.result(SECONDS)
        except BrokenProcessPool:
            reason = "it ends the process"
        except Late:
            reason = f"it takes more than {SECONDS} seconds"
        except (RuntimeError, ValueError, MemoryError, SystemError) as error:
            reason = one_line(error)
        for process in list((pool._processes or {}).values()):
            process.kill()
    raise UserError(f"TensorFlow Lite cannot run it ({reason}); --no-report converts it without running it")


def _run(path: Path, picture: np.ndarray, wanted: list[int]) -> dict[int, np.ndarray]:
    from common.tf1 import tf, without_start_up_notes

    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with without_start_up_notes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move into another package one day
        # Without the delegate, which joins ops, every tensor keeps its values.
        interpreter = tf.lite.Interpreter(
            model_content=path.read_bytes(),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        interpreter.invoke()
    return {number: interpreter.get_tensor(number) for number in wanted}
