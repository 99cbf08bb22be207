"""From a trained run to a bundle: gathers what the exporter states about the model."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dslora.assess import load_calibration, other_data, split_for
from dslora.data import Dataset
from dslora.data.dataset import SPLITS
from dslora.errors import DsLoraError
from dslora.export import (
    AUTO,
    BundleDetails,
    BundleReport,
    Calibration,
    DataTerms,
    LabelledTexts,
    Training,
    TrainingData,
    attributes_for,
    write_bundle,
)
from dslora.export.comparison import Compared, compare
from dslora.export.parity import LEAST_TEXTS, check_enough
from dslora.run import Run
from dslora.run_record import is_own_data

# A parity check reads at most this many texts: enough for the rarest label flips, soon enough for a laptop.
_PARITY_TEXTS = 2000
# Training posts that the fixed scales of int8 are taken from. Maxima of features hardly grow after some hundreds.
_CALIBRATION_TEXTS = 400


def publish(
    run: Run,
    dataset: Dataset,
    bundle: Path,
    *,
    name: str,
    version: str,
    precisions: tuple[str, ...],
    languages: tuple[str, ...],
    license: str,
    splits: tuple[str, ...] = ("development", "test"),
    layout: str = AUTO,
    provider: str = "cpu",
    replace: bool = False,
) -> BundleReport:
    """Writes the bundle of a run, with figures of PyTorch and of each graph on the given splits.

    Args:
        run: A finished run.
        dataset: The data that it was trained on.
        bundle: Folder to write.
        name: Model name.
        version: Model version.
        precisions: Names in ``PRECISIONS``.
        languages: Of the training data.
        license: SPDX id of adapter and head.
        layout: Of the graphs, or ``auto``: the fastest on this machine.
        provider: That graphs made for it are checked on: ``cpu`` or ``cuda``.
        splits: To state figures of; one that the data set lacks is left out.
        replace: Whether a bundle that is there may be replaced.

    Raises:
        DsLoraError: A graph is outside its tolerance, the target exists, or the data are others.
    """
    spec = run.classifier.spec
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise DsLoraError(f"There is no split {unknown[0]!r}. Expected some of: {', '.join(SPLITS)}.")
    labelled, calibration = _labelled(run, dataset), load_calibration(run, dataset)
    development = labelled("development")
    details = BundleDetails(
        name=name,
        version=version,
        description=f"Classifies posts as {', '.join(spec.labels)}; {spec.method} on {dataset.name}.",
        license=license,
        languages=languages,
        calibration=Calibration("development", calibration.temperature, calibration.ece_before, calibration.ece_after),
        thresholds=calibration.thresholds,
        distribution=calibration.distribution,
        training=Training(
            data=[
                TrainingData(f"{dataset.name}/{file.name}", split, file.sha256, file.rows)
                for split, rows in dataset.splits.items()
                for file in rows.files
            ],
            seed=run.settings.seed,
            settings={
                **asdict(run.settings),
                "adapter": asdict(spec.adapter),
                "l1": asdict(spec.l1) if spec.l1 else None,
                "developmentSplit": asdict(dataset.carving) if dataset.carving else "official",
                "result": run.record["result"],
            },
            libraries=run.record["libraries"],
            commit=run.record["commit"],
        ),
        terms=[DataTerms(dataset.name, dataset.license, dataset.citation)],
        attributes=attributes_for(dataset.name, spec.positive_labels),
    )
    return write_bundle(
        bundle,
        run.classifier,
        run.tokenizer,
        run.encoder,
        details,
        _parity_texts(development, labelled("train")),
        [labelled(split) for split in splits if split in dataset.splits],
        precisions=precisions,
        layout=layout,
        provider=provider,
        calibration_texts=labelled("train").texts[:_CALIBRATION_TEXTS],
        replace=replace,
        say=lambda message: print(f"{bundle.name}: {message}", flush=True),
    )


def compare_precisions(run: Run, dataset: Dataset, *, layout: str = AUTO) -> list[Compared]:
    """Every precision of a run's graph against PyTorch, on the texts that an export compares.

    Args:
        run: A finished run.
        dataset: The data that it was trained on.
        layout: As for an export.

    Raises:
        DsLoraError: The data are others, or a graph does not load.
    """
    labelled = _labelled(run, dataset)
    return compare(
        run.classifier,
        load_calibration(run, dataset).temperature,
        run.encoder,
        _parity_texts(labelled("development"), labelled("train")),
        labelled("train").texts[:_CALIBRATION_TEXTS],
        layout=layout,
        say=lambda message: print(message, file=sys.stderr, flush=True),
    )


def _labelled(run: Run, dataset: Dataset) -> Callable[[str], LabelledTexts]:
    """Splits of the run's own data by name."""
    if not is_own_data(run, dataset):
        raise other_data(run, dataset)

    def labelled(split: str) -> LabelledTexts:
        rows = split_for(run, dataset, split)
        return LabelledTexts(dataset.name, split, rows.texts, rows.labels.tolist())

    return labelled


def check_provable(dataset: Dataset) -> None:
    """Refuses data with too few rows for an export, before anything is trained on them.

    Raises:
        DsLoraError: Development and training split together have too few.
    """
    check_enough([text for split in ("development", "train") for text in dataset.splits[split].texts])


def _parity_texts(development: LabelledTexts, train: LabelledTexts) -> LabelledTexts:
    """Development texts; training texts fill up what a small development split lacks.

    Raises:
        DsLoraError: Both together are too few.
    """
    missing = max(0, LEAST_TEXTS - len(development.texts))
    texts = LabelledTexts(
        development.dataset,
        development.split,
        (*development.texts[:_PARITY_TEXTS], *train.texts[:missing]),
        (*development.labels[:_PARITY_TEXTS], *train.labels[:missing]),
    )
    check_enough(texts.texts)
    return texts


def summary(report: BundleReport) -> str:
    """What was written, in a few lines."""
    lines = [f"{report.folder}: {report.bytes / 2**20:.1f} MiB"]
    for precision, parity in report.parity.items():
        lines.append(
            f"{precision}: {report.nodes[precision]} nodes; {parity.texts} texts against PyTorch: probabilities within "
            f"{parity.probabilities:.2g}, gates within {parity.gates:.2g}, {parity.label_flips} labels flipped"
        )
    for entry in report.evaluation:
        if entry.metric == "macroF1":
            low, high = entry.interval95
            lines.append(
                f"{entry.dataset} {entry.split}, {entry.precision}: macro-F1 {entry.value:.4f} [{low:.4f}, {high:.4f}]"
            )
    dropped = [f"{column.layer}.{column.module}" for column in report.pruned.dropped]
    if dropped:
        lines.append(f"no rank left, so no gate: {', '.join(dropped)}")
    return "\n".join(lines)
