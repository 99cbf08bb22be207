"""Computes the cells that are missing; several processes, also on several machines, may share the folders."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dslora.bases import load_tokenizer, resolve_base
from dslora.data import Dataset
from dslora.encoding import is_uncased
from dslora.errors import DataError, DsLoraError, MemoryShortError, OtherRunError
from dslora.failures import is_of_the_machine
from dslora.methods import find_method
from dslora.ngram_run import load_any_run, train_ngrams
from dslora.ngrams import NAME as NGRAMS
from dslora.normalization import default_steps
from dslora.plan import check_fits
from dslora.plan.fit import device_memory
from dslora.reproduce.cell import Cell
from dslora.reproduce.measure import measure_run
from dslora.reproduce.results import Results, claimed
from dslora.reproduce.source import settings_of
from dslora.reproduce.transfer import loaded
from dslora.run import train_run
from dslora.run_record import RUN_FILE, checksums, contents, read_record
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.processes import resolve_device
from dslora.workers import run_workers

# How often a process that has nothing left to claim looks whether the others have finished.
_POLL_SECONDS = 5.0


def compute(cell: Cell, folder: Path, data_dir: str | None, sharing: int = 1) -> dict[str, Any]:
    """Trains a cell, or goes on where a killed process stopped, and scores it.

    Args:
        cell: What.
        folder: Its run; the finished model stays there.
        data_dir: Folder with the named data sets.
        sharing: Processes that share the memory.

    Raises:
        DsLoraError: The method or the base refuses it, or its memory is too small for it even alone.
        TooManyWorkersError: It is too small for so many processes.
    """
    dataset = loaded(cell.data, data_dir)
    if (folder / RUN_FILE).is_file() and _trained_on(folder) != contents(dataset):
        shutil.rmtree(folder)
    if not (folder / RUN_FILE).is_file():
        try:
            _train(cell, folder, dataset, data_dir, sharing)
        except OtherRunError:
            # Its settings are in its name: it was begun on other data.
            shutil.rmtree(folder)
            _train(cell, folder, dataset, data_dir, sharing)
    measured = measure_run(load_any_run(folder), dataset, cell, data_dir)
    # Optimizer state is the largest part of a run, and of no use any more.
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return measured


class TooManyWorkersError(DsLoraError):
    """They have too little memory together: no fault of the cell, which would fit alone."""

    def __init__(self, cell: Cell, workers: int) -> None:
        super().__init__(
            f"{cell.name} needs more memory than each of {workers} workers has. Use fewer --workers and give the "
            "command again: finished cells are kept."
        )


def _train(cell: Cell, folder: Path, dataset: Dataset, data_dir: str | None, sharing: int) -> None:
    data = settings_of(cell.data, data_dir)
    if cell.method == NGRAMS:
        train_ngrams(folder, data, cell.ngram_spec(dataset), cell.settings(), dataset)
        return
    method = find_method(cell.method)
    method.check_machine()
    tokenizer = load_tokenizer(resolve_base(cell.base))
    spec = cell.spec(dataset, default_steps(dataset.name, is_uncased(tokenizer)))
    if method.trains:
        # Before anything is loaded: memory that runs out may end the process instead of the cell.
        device = resolve_device(cell.settings().device).type
        needed = check_fits(spec, cell.settings(), device).memory.total
        if needed > device_memory(device) // sharing:
            raise TooManyWorkersError(cell, sharing)
    try:
        train_run(folder, data, spec, cell.settings(), dataset=dataset, quiet=True)
    except MemoryShortError as error:
        if sharing > 1:
            raise TooManyWorkersError(cell, sharing) from error
        # What training advises are no options here.
        raise DsLoraError("Memory ran out while training.") from error


def _trained_on(folder: Path) -> dict[str, list[str]]:
    """Checksums of the files that a finished run was trained on, by split."""
    return {name: checksums(split["files"]) for name, split in read_record(folder)["dataset"]["splits"].items()}


def drain(
    cells: Sequence[Cell],
    folder: Path,
    results: Results,
    data_dir: str | None,
    say: Callable[[str], None] = print,
    since: float | None = None,
    sharing: int = 1,
) -> None:
    """Computes every cell without a result, in order, leaving out those that another process works on.

    Returns when all have a result, also those of other processes. A cell that its method or base refuses is recorded
    with the reason and tried again by the next command.

    Args:
        cells: What is wanted.
        folder: Runs and locks.
        results: Where results go.
        data_dir: Folder with the named data sets.
        say: Gets one line a cell.
        since: When the command began, in seconds since 1970: what was refused after that is not tried again.
        sharing: Processes that share the memory.

    Raises:
        DsLoraError: The data are missing, or are not those that earlier results were made with, the disk fails, or
            memory is too small for so many processes.
    """
    since = time.time() if since is None else since
    for data in dict.fromkeys(cell.data for cell in cells):
        results.check_data(data, contents(loaded(data, data_dir)))
    # Besides what files say: their times may be another machine's.
    refused: set[str] = set()

    def open_yet(cell: Cell) -> bool:
        return results.load(cell) is None and cell.key not in refused and not results.refused_since(cell, since)

    while True:
        left = [cell for cell in cells if open_yet(cell)]
        if not left:
            return
        worked = False
        for cell in left:
            with claimed(folder, cell) as ours:
                # Another process may have finished it between the look above and the claim.
                if not ours or not open_yet(cell):
                    continue
                worked = True
                started = time.perf_counter()
                try:
                    result = compute(cell, folder / cell.name, data_dir, sharing)
                except (DataError, TooManyWorkersError):
                    # Of the latter a grid would choose among what happened to fit.
                    raise
                except DsLoraError as error:
                    if is_of_the_machine(error):
                        # A full disk, say: no fault of the cell, whose absence would change what a grid chooses.
                        raise
                    refused.add(cell.key)
                    results.save(cell, {"refused": str(error)})
                    if not (folder / cell.name / CHECKPOINT).exists():
                        shutil.rmtree(folder / cell.name, ignore_errors=True)
                    say(f"{cell.name}: refused: {error}")
                    continue
                results.save(cell, result)
                say(
                    f"{cell.name}: development macro-F1 {result['development']['macroF1']:.4f}, "
                    f"zeros {result['zeros']:.1%}, {time.perf_counter() - started:.0f} s"
                )
        if not worked:
            time.sleep(_POLL_SECONDS)


def drain_in_processes(
    cells: Sequence[Cell], folder: Path, results: Results, data_dir: str | None, workers: int
) -> None:
    """The same in several processes of this machine.

    Raises:
        DsLoraError: A process failed; what it printed says why. The others finish what they have begun.
    """
    failed = run_workers(workers, _drain, (list(cells), folder, results, data_dir, time.time(), workers), ("base",))
    if failed:
        raise DsLoraError(
            f"{', '.join(failed)} of {workers} failed; the reason is above. Give the command again to go on: "
            "finished cells are kept."
        )


def _drain(
    cells: Sequence[Cell],
    folder: Path,
    results: Results,
    data_dir: str | None,
    since: float,
    workers: int,
    number: int,
) -> None:
    """One worker; they need nothing of their own."""
    drain(cells, folder, results, data_dir, since=since, sharing=workers)
