"""The report: one Markdown page and its figures, from the results' files alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from dslora.errors import DsLoraError
from dslora.files import write_text
from dslora.reproduce import paper, plots, sections
from dslora.reproduce.cost import cost
from dslora.reproduce.experiments import EXPERIMENTS, Experiment
from dslora.reproduce.gain import gain, read_gain
from dslora.reproduce.markdown import bullets
from dslora.reproduce.presets import Preset
from dslora.reproduce.results import Results
from dslora.reproduce.rows import Row, gather
from dslora.reproduce.search import search
from dslora.reproduce.source import title_of
from dslora.reproduce.study import Study

PAGE: Final = "README.md"
PAPER: Final = Study("tiny")

_HEAD: Final = """\
Written by `dslora reproduce`; every figure follows from the files in `cells/`, one a run. Don't edit it.
"""

_HOW_TO_READ: Final = """\
How to read it:

- Every setting is fixed or chosen on the development split. The test split is scored once for each cell, at its end;
  where data have none, the table says so.
- A seed decides rows (where they are limited), initial weights, order and dropout. Methods of one seed have the same
  rows in the same order.
- Intervals are 95 % percentile intervals of a bootstrap over seeds and texts at once (10,000 resamples); differences
  are paired by seed and text, over the seeds that both have. With three seeds intervals come out somewhat too narrow;
  with one they cover texts alone, and no detectable difference is given. "Seen" means that the interval excludes 0 at
  the tenth of a point that is printed.
- No correction is made for looking at several rows: of twenty without any true difference, one will look as if it had
  one. All rows of a table share LoRA's runs and the texts, so their errors come together.
- "Detectable" is the smallest true difference that such a run tells from none in four cases of five (2.8 standard
  errors).
- The paper's differences are taken as exact, since their intervals are not known to us: "outside the interval" is said
  a little too readily. At 860 texts one system's macro-F1 alone has about ±2.4 points.
- A method without L1 takes its best epoch of all; one with L1 only of those after the shrinkage has ended. This favours
  the former a little.
- Gates fixed to their mean (over the development split, each module its own) is the control: what is lost then is what
  the gates' dependence on the text is worth.
- "—" in the paper's column: the figure is not known to us. The paper's base models are Llama-3 8B and Gemma 7B.
"""


def write_report(
    out: Path,
    results: Results,
    presets: Sequence[Preset],
    experiments: Sequence[Experiment] = tuple(EXPERIMENTS.values()),
    study: Study = PAPER,
) -> None:
    """Writes the page and its figures anew.

    Args:
        out: Folder.
        results: What there is.
        presets: Each with results gets a part.
        experiments: Tables and figures to look for.
        study: What the page is about.

    Raises:
        DsLoraError: Of all that is looked for nothing is there: a page may stand there that has figures.
    """
    figures: dict[str, Figure] = {}
    text = render(out, results, presets, experiments, figures, study)
    for name, figure in figures.items():
        plots.save(figure, out / name)
    write_text(out / PAGE, text)


def render(
    out: Path,
    results: Results,
    presets: Sequence[Preset],
    experiments: Sequence[Experiment] = tuple(EXPERIMENTS.values()),
    figures: dict[str, Figure] | None = None,
    study: Study = PAPER,
) -> str:
    """The page as text.

    Args:
        out: Folder, for figures of cost, which are kept beside the cells.
        results: What there is.
        presets: Each with results gets a part.
        experiments: Tables and figures to look for.
        figures: Gets the figures by file name without ending; without it none is drawn.
        study: What the page is about.

    Raises:
        DsLoraError: Of all that is looked for nothing is there.
    """
    lines, absent = [*_head(out, study), _HOW_TO_READ], []
    for preset in presets:
        if part := _preset(out, results, preset, experiments, figures):
            lines += [f"## Preset {preset.name}", "", preset.summary, "", *part]
        else:
            absent.append(preset.name)
    if len(absent) == len(presets):
        raise DsLoraError(
            f"{results.folder} has no results that `{study.command(study.names or ('report',), out)}` looks for, so "
            "there is nothing to report. Give the command with the options that they were computed with."
        )
    if absent:
        lines += ["## Not run", "", f"With these presets nothing has been run: {', '.join(absent)}."]
    return "\n".join(lines).rstrip("\n") + "\n"


def _head(out: Path, study: Study) -> list[str]:
    """Title and commands."""
    about = study if study.is_own else replace(PAPER, names=("table3",))
    compute, write = about.command(about.names, out), about.command(["report"], out)
    does = "computes what is missing, then writes this page", "writes this page alone"
    if study.is_own:
        lines = [f"    {compute}", f"    {write}", "", f"The first line {does[0]}; the second {does[1]}."]
    else:
        compute += " --seeds 3"
        lines = [f"    {compute:<50}   {does[0]}", f"    {write:<50}   {does[1]}"]
    return [f"# {about.title}", "", _HEAD, *lines, ""]


def _preset(
    out: Path,
    results: Results,
    preset: Preset,
    experiments: Sequence[Experiment],
    figures: dict[str, Figure] | None,
) -> list[str]:
    """Its parts, and which of them are missing; nothing where all are."""
    parts = list(_parts(out, results, preset, experiments, figures))
    shown = [(title, body) for title, body in parts if body]
    if not shown:
        return []
    absent = [title for title, body in parts if not body]
    return [
        *(line for title, body in shown for line in (f"### {title}", "", *body)),
        *(["### Not run", "", *bullets(absent)] if absent else []),
    ]


def _parts(
    out: Path,
    results: Results,
    preset: Preset,
    experiments: Sequence[Experiment],
    figures: dict[str, Figure] | None,
) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of each; without lines where nothing has been run."""
    known: dict[tuple[str, str], dict[str, Row]] = {}
    for experiment in experiments:
        if experiment.kind == "cost":
            development = {
                base: {label: row.development for label, row in by_label.items() if row.by_seed}
                for (base, data), by_label in known.items()
                if data in experiment.data
            }
            yield experiment.title, cost(out, preset, development)
            continue
        for base in preset.bases:
            for data in experiment.data:
                title = _title(experiment, preset, base, data)
                if experiment.kind == "search":
                    yield title, search(experiment, preset, base, data, results)
                    continue
                rows = gather(experiment, preset, base, data, results)
                body = list(_experiment(experiment, preset, base, data, rows, figures))
                if experiment.kind == "strengths" and body:
                    body += _gain(out, experiment, preset, base, data, figures)
                yield title, body
                if experiment.kind == "comparison":
                    by_label = known.setdefault((base, data), {})
                    for row in rows:
                        by_label.setdefault(row.label, row)
    for (base, data), by_label in known.items():
        if body := sections.safeguards(list(by_label.values())):
            which = f", {base}" if len(preset.bases) > 1 else ""
            yield f"Identity terms and other data sets: models trained on {title_of(data)}{which}", body


def _title(experiment: Experiment, preset: Preset, base: str, data: str) -> str:
    parts = [*([title_of(data)] if len(experiment.data) > 1 else []), *([base] if len(preset.bases) > 1 else [])]
    return ", ".join([experiment.title, *parts])


def _experiment(
    experiment: Experiment,
    preset: Preset,
    base: str,
    data: str,
    rows: Sequence[Row],
    figures: dict[str, Figure] | None,
) -> Iterator[str]:
    if not rows:
        return
    wanted = len(experiment.rows(preset))
    if len(rows) < wanted:
        yield from (f"Unfinished: {len(rows)} of {wanted} rows have been run.", "")
    name = _name(experiment, preset, base, data)
    title = f"{title_of(data)}, {base.rpartition('/')[2]}"
    if experiment.kind in ("gates", "examples"):
        shown = sections.gates(rows) if experiment.kind == "gates" else sections.examples(rows)
        yield from shown or sections.refusals(rows)
        return
    draw = {"comparison": plots.differences, "ranks": plots.ranks, "strengths": plots.strengths}[experiment.kind]
    yield from _figure(draw(rows, title), experiment.title, name, figures)
    if experiment.kind == "strengths":
        yield from (f"The paper: {paper.FIGURE3}.", "")
    yield from sections.comparison(rows, data)


def _gain(
    out: Path, experiment: Experiment, preset: Preset, base: str, data: str, figures: dict[str, Figure] | None
) -> list[str]:
    found = read_gain(out, preset, base)
    if found is None:
        return []
    variants = experiment.rows(preset)
    drawn = plots.gains(found, variants, f"{title_of(data)}, {base.rpartition('/')[2]}, seed {found['seed']}")
    name = f"{_name(experiment, preset, base, data)}-gain"
    return [*gain(found, variants), *_figure(drawn, "What zeros buy", name, figures)]


def _figure(figure: Figure | None, title: str, name: str, figures: dict[str, Figure] | None) -> Iterator[str]:
    """Its line, and the figure itself to whoever wants it."""
    if figure is None:
        return
    yield from (f"![{title}]({name}.svg)", "")
    if figures is None:
        plots.drop(figure)
    else:
        figures[name] = figure


def _name(experiment: Experiment, preset: Preset, base: str, data: str) -> str:
    return "-".join(
        [
            preset.name,
            experiment.name,
            *([data] if len(experiment.data) > 1 else []),
            *([base.rpartition("/")[2]] if len(preset.bases) > 1 else []),
        ]
    )
