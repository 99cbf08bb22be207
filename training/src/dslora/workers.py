"""Processes of this machine that share a command's work; each talks to the terminal as the command itself does."""

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Container
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, Final, NoReturn

from dslora.errors import DsLoraError
from dslora.failures import explained

# An interrupted worker keeps what it has within this time.
_FAREWELL_SECONDS: Final = 30


def quieten_libraries() -> None:
    """Leaves the terminal to our own messages and progress bar."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # It would tell of every attempt to reach the Hub; ours says once that it was not reached.
    hub.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
    # PEFT looks for AdaLoRA's ranks as if they were LoRA's, and has set them itself before.
    warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")


def run_workers(
    count: int, start: Callable[..., None], arguments: tuple[Any, ...], options: Container[str]
) -> list[str]:
    """Runs ``start(*arguments, number)`` in ``count`` processes; with one, in this one.

    Args:
        count: How many.
        start: A function of a module.
        arguments: What it gets, before its number from 0.
        options: What the command has, by destination: as for :func:`dslora.failures.explained`.

    Returns:
        Names of the workers that failed; each has said why. Of one alone the error itself is raised.
    """
    if count == 1:
        start(*arguments, 0)
        return []
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_run_worker, args=(start, arguments, options, number), name=f"worker {number}")
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        # A terminal interrupts all of them, and each keeps what it has.
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        raise
    finally:
        for worker in workers:
            worker.terminate()
    return [worker.name for worker in workers if worker.exitcode]


def _run_worker(start: Callable[..., None], arguments: tuple[Any, ...], options: Container[str], number: int) -> None:
    """One process. Says what ends it in a line, as the command itself does, and does not outlive it."""
    quieten_libraries()
    signal.signal(signal.SIGTERM, _interrupt)
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        start(*arguments, number)
    except DsLoraError as error:
        sys.exit(f"dslora: worker {number}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        explanation = explained(error, options)
        if explanation is None:
            raise
        sys.exit(f"dslora: worker {number}: {explanation}")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Ends this process as if it had been told to, once the command has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
