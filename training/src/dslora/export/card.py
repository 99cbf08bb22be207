"""The bundle's README: what a moderator has to know about a model before trusting it with a decision."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dslora.export.details import DataTerms
from dslora.methods import Method, find_method

Manifest = Mapping[str, Any]

_METRICS: Final = {
    "macroF1": "macro-F1",
    "f1OfMeans": "F1 of mean precision and recall",
    "accuracy": "accuracy",
    "aurocOffensive": "AUROC, offensive or not",
}
# Methods whose rank differs from module to module.
_EQUAL: Final = "lora-equal"
_ADALORA: Final = "adalora"
_PYTORCH: Final = {"pytorch-fp32": "PyTorch, fp32"}
# When to use a threshold; what it costs is in its figures.
_USES: Final = {
    "balanced": "both kinds of error weigh the same",
    "high-precision": "a false alarm weighs more than a miss",
    "high-recall": "a miss weighs more than a false alarm: to choose what people shall look at",
}
# An interval from fewer texts of a class says little: the bootstrap knows no other errors than those that were seen.
_ENOUGH: Final = 100


def model_card(manifest: Manifest, terms: Sequence[DataTerms]) -> str:
    """Markdown for a bundle.

    Args:
        manifest: The bundle's; every figure of the card is in it.
        terms: Under which terms the data are published.
    """
    sections = (
        _head(manifest),
        _answers(manifest),
        _figures(manifest),
        _thresholds(manifest),
        _gates(manifest),
        _limits(manifest, terms),
        _training(manifest),
        _precision(manifest),
        _licences(manifest, terms),
        _use(manifest),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(m: Manifest) -> str:
    return f"# {m['name']}\n\n{m['description']}\n\nVersion {m['version']}, {m['createdAt'][:10]}."


def _answers(m: Manifest) -> str:
    positive = m["positiveLabels"]
    others = [label for label in m["labels"] if label not in positive]
    meaning = " + ".join(f"p({label})" for label in positive)
    attributes = "".join(
        f"\n- `{label}` counts as "
        + ", ".join(f"{_join(names)} ({protocol})" for protocol, names in each.items() if names)
        + " where the service speaks another protocol."
        for label, each in m["attributes"].items()
    )
    return (
        "## What it answers\n\n"
        f"For each text a probability of every label, {_join(m['labels'])}, and their sum over those that mean "
        f"offensive: `offensive` = {meaning}. {_join(others)} means that nothing offensive was found.\n\n"
        f"It reads {_languages(m)}, up to {m['input']['maxTokens']} tokens at once. A longer text is read in "
        f"overlapping windows and gets the answer of its most offensive window.{attributes and chr(10)}{attributes}"
    )


def _figures(m: Manifest) -> str:
    entries = m["evaluation"]
    if not entries:
        return "## How good it is\n\nNothing was measured on a test split."
    computed = list(dict.fromkeys(entry["precision"] for entry in entries))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for entry in entries:
        low, high = entry["interval95"]
        data = f"{entry['dataset']} {entry['split']} (n = {entry['n']:,})"
        row = rows.setdefault((data, _metric(entry["metric"])), {})
        row[entry["precision"]] = f"{entry['value']:.3f} ({low:.3f} – {high:.3f})"
    return (
        "## How good it is\n\n"
        "Each figure with its 95 % bootstrap interval: made anew with other texts of the same kind, such intervals "
        "hold the true figure about 19 times out of 20. Two models whose intervals overlap much are not told apart "
        f"by this test.{_cautions(m)}\n\n"
        + _table(
            ("data", "measure", *(_PYTORCH.get(each, f"graph, {each}") for each in computed)),
            [(*row, *(values.get(each, "—") for each in computed)) for row, values in rows.items()],
        )
    )


def _cautions(m: Manifest) -> str:
    """What keeps the figures from being what they seem: choices made on the same texts, and few texts."""
    said = ""
    if _method(m).trains and any(entry["split"] == "development" for entry in m["evaluation"]):
        said = (
            "\n\nThe epoch that was kept is the one that was best on the development split, so the figures from there "
            "are somewhat too high."
        )
    few = _few(m)
    if few:
        said += (
            f"\n\nFew texts: {'; '.join(few)}. An interval from fewer than {_ENOUGH} texts of a class says little, and "
            "may be far too narrow: errors that none of these texts showed are not in it."
        )
    return said


def _few(m: Manifest) -> list[str]:
    """Splits with too few texts of a class, as far as the manifest tells."""
    few: list[str] = []
    sizes = {(entry["dataset"], entry["split"]): entry["n"] for entry in m["evaluation"]}
    for (dataset, split), texts in sizes.items():
        classes = m["distribution"].get("classes") if split == m["distribution"]["split"] else None
        rare = [f"{label} {count}" for label, count in (classes or {}).items() if count < _ENOUGH]
        # Without counts by class: at least one has no more than its even share.
        if rare or (classes is None and texts < _ENOUGH * len(m["labels"])):
            few.append(f"{dataset} {split} ({', '.join(rare) or f'{texts} in all'})")
    return few


def _thresholds(m: Manifest) -> str:
    rows = [
        (
            use,
            f"{each['value']:.3f}",
            f"{100 * each['precision']:.0f} of 100",
            f"{100 * each['recall']:.0f} of 100",
            _USES.get(use, ""),
        )
        for use, each in m["thresholds"].items()
    ]
    figures = {(each["precision"], each["recall"]) for each in m["thresholds"].values()}
    alike = ""
    if len(figures) == 1 < len(rows):
        alike = " These texts do not tell the thresholds apart: each flags the same share of them, as rightly."
    few = any(count < _ENOUGH for count in m["distribution"].get("classes", {}).values())
    return (
        "## Thresholds, and what they cost\n\n"
        "A text is flagged where `offensive` is at least the threshold. Measured on the "
        f"{m['distribution']['split']} split ({m['distribution']['n']:,} texts), on which they were chosen, so expect "
        f"{'less' if few else 'slightly less'} on new texts, and another precision where offensive texts are rarer "
        f"than there.{alike}\n\n"
        + _table(("use", "threshold", "flagged rightly", "offensive texts found", "when"), rows)
    )


def _gates(m: Manifest) -> str:
    title = "## Gates\n\n"
    gates = m["distribution"]["gates"]
    if m["method"]["gate"] is None:
        return title + "This method has no gates."
    if not gates:
        return title + "All modules lost all rank in training, so there is no gate left."
    columns = len(m["gates"])
    medians = {
        label: sum(gate["quantiles"][label][50] for gate in gates) / len(gates)
        for label in m["labels"]
        if all(label in gate["quantiles"] for gate in gates)
    }
    middle = ", ".join(f"{label} {value:.3f}" for label, value in medians.items())
    gone = len(m["dropped"])
    dropped = ""
    if gone:
        dropped = f" {gone} more {'module' if gone == 1 else 'modules'} lost all rank in training, so without a gate."
    return (
        f"{title}Every answer has {columns} gate values in 0 … 1: for each adapted projection, how strongly the "
        f"trained part of the model was let in for this text.{dropped} Averaged over modules, the medians by true "
        f"class on the {m['distribution']['split']} split are: {middle}.\n\n"
        "What a gate does not say: it is not a probability, not a measure of how offensive a text is, and it does not "
        "point at a word. A high gate says that the frozen base model alone was not left to decide. Compare a text's "
        "gates with the percentiles in `manifest.json`, not with 0.5."
    )


def _limits(m: Manifest, terms: Sequence[DataTerms]) -> str:
    names = _join(each.name for each in terms) or "its training data"
    source = (
        f"- It learnt from {names}: what was labelled offensive there, by the annotators of that time, is what it "
        "calls offensive."
        if _method(m).trains
        else "- It learnt from no labelled post: what it calls offensive is what the base model makes of the prompt. "
        f"Temperature and thresholds were fitted on {names}."
    )
    return (
        "## Where it fails\n\n"
        "Known of classifiers of this kind; apart from the figures above, none of it was measured for this one.\n\n"
        f"{source} Other platforms, years, topics and communities differ, and the figures above do not hold "
        "for them.\n"
        "- Quotation, counter-speech, news about abuse, sarcasm and jokes among friends are often flagged.\n"
        "- Names of groups, and dialects such as African-American English, are flagged more often than they should "
        "be: data sets of this kind carry that bias and nothing here removes it. Look at errors by group before use.\n"
        "- Polite or coded hostility, allusions, new words, and what an image or the conversation before would tell, "
        "are missed.\n"
        "- Deliberate misspelling helps to evade it. Invisible characters, look-alike widths and entities are "
        "normalised; other tricks are not.\n"
        f"- In languages other than {_languages(m)} it answers, and the answer means nothing.\n"
        "- A probability says how sure the model is, not how grave a text is. Let people decide what a flag leads to, "
        "and let those concerned appeal."
    )


def _training(m: Manifest) -> str:
    method, base = m["method"], m["base"]
    lines = [
        f"Base model {base['id']} ({base['architecture']}, {base['parameters'] / 1e6:.1f} M parameters)"
        + _what_was_trained(m)
    ]
    if method["sparsity"] is not None:
        ranks = [each["rank"] for each in method["ranksKept"]]
        # lora-equal has other ranks than the one it states, and no penalty that would take any away.
        of = "" if method["name"] == _EQUAL else f" of {len(ranks) * method['rank']}"
        lines.append(
            f"{100 * method['sparsity']:.1f} % of the entries of A and B are exactly zero; "
            f"{sum(ranks)}{of} rank components are left."
        )
    data = [
        (each["name"], each["split"], f"{each['rows']:,}", f"`{each['sha256'][:12]}…`")
        for each in m["training"]["data"]
    ]
    calibration = m["calibration"]
    lines.append(
        f"Temperature {calibration['temperature']:.3f}, fitted on the {calibration['split']} split, is part of the "
        f"graph; the expected calibration error there went from {calibration['eceBefore']:.3f} to "
        f"{calibration['eceAfter']:.3f}. Seed, settings, library versions and full checksums are in `manifest.json`."
    )
    table = _table(("data", "split", "rows of the file", "SHA-256"), data) if data else ""
    return "## How it was made\n\n" + "\n\n".join(filter(None, (*lines, table, _shared_files(m))))


def _shared_files(m: Manifest) -> str:
    """How the rows of a file that stands under several splits were divided."""
    splits: dict[str, list[str]] = {}
    for each in m["training"]["data"]:
        splits.setdefault(each["sha256"], []).append(each["split"])
    shared = [names for names in splits.values() if len(names) > 1]
    held_out = m["training"]["settings"].get("developmentSplit")
    if isinstance(held_out, Mapping) and any({"train", "development"} <= set(names) for names in shared):
        measured = m["distribution"]
        rows = f" ({measured['n']:,} texts)" if measured["split"] == "development" else ""
        return (
            f"The development split{rows} was held out of the rows of train: {100 * held_out['fraction']:g} % of them, "
            f"by class, with seed {held_out['seed']}. The model was not trained on it."
        )
    if held_out == "official" and shared:
        return (
            "A file that stands under several splits holds the rows of all of them; which row belongs to which split, "
            "the data set says itself."
        )
    return ""


def _what_was_trained(m: Manifest) -> str:
    """What stands after the base model's name, to the end of the next sentence."""
    method = m["method"]
    name = method["name"]
    if not _method(m).trains:
        return f", as it is. Method {name}: nothing was trained, the prompt of `manifest.json` asks for the class."
    if not _method(m).adds_weights:
        top = m["training"]["settings"].get("adapter", {}).get("top_layers")
        return f". Method {name}: its own weights were trained{f', of the last {top} layers' if top else ''}."
    return f", frozen. Method {name}{_shape(method)}, on {_join(method['targets'])} of every layer."


def _shape(method: Mapping[str, Any]) -> str:
    """Rank and alpha, of a method that has them."""
    if "rank" not in method:
        return ""
    rank, alpha = method["rank"], method["alpha"]
    if method["name"] == _EQUAL:
        kept = sorted({each["rank"] for each in method["ranksKept"]})
        ranks = f"rank {kept[0]}" if len(kept) == 1 else f"ranks {kept[0]} to {kept[-1]}"
        return f", {ranks} with α / rank {alpha / rank:g} (as many parameters as DS-LoRA of rank {rank})"
    average = " on average" if method["name"] == _ADALORA else ""
    return f", rank {rank}{average}, α {alpha:g}"


def _precision(m: Manifest) -> str:
    rows = [
        (
            graph["file"],
            graph["precision"],
            f"{(graph['bytes'] + sum(each['bytes'] for each in graph['externalData'])) / 2**20:.1f} MiB",
            f"{graph['parity']['probabilities']:.1e}",
            f"{graph['parity']['gates']:.1e}",
            f"{graph['parity']['labelFlips']} of {graph['parity']['texts']:,}",
            f"{graph['parity']['macroF1Change']:+.4f}",
        )
        for graph in m["graphs"]
    ]
    invariant = all(graph["batchInvariant"] for graph in m["graphs"])
    return (
        "## The graphs against PyTorch\n\n"
        "On real texts, alone and in padded batches: the largest difference of any probability and gate, labels that "
        "change, and what that does to macro-F1 there."
        + (" An answer does not depend on the texts that share its batch." if invariant else "")
        + "\n\n"
        + _table(("file", "precision", "size", "probabilities", "gates", "labels changed", "macro-F1"), rows)
    )


def _licences(m: Manifest, terms: Sequence[DataTerms]) -> str:
    method = _method(m)
    ours = ("Adapter and head" if method.adds_weights else "Trained weights and head") if method.trains else "Head"
    lines = [f"- {ours}: {m['license']}.", f"- Base model {m['base']['id']}: {m['base']['license']}."]
    # Terms and citations come from elsewhere and may end with a stop or without one.
    for each in terms:
        stated = [text.rstrip(".") for text in (each.license, each.citation)]
        lines.append(f"- {each.name}: " + " ".join(f"{text}." for text in stated if text))
    return "## Licences\n\n" + "\n".join(lines)


def _use(m: Manifest) -> str:
    return (
        "## How to call it\n\n"
        "With the service running and this folder among its models:\n\n"
        "```sh\n"
        "curl -s http://localhost:8080/classify -H 'content-type: application/json' \\\n"
        f"  -d '{json.dumps({'text': 'have a nice day', 'model': m['name']})}'\n"
        "```"
    )


def _method(m: Manifest) -> Method:
    return find_method(m["method"]["name"])


def _metric(name: str) -> str:
    measure, _, label = name.partition(":")
    if not label:
        return _METRICS.get(name, name)
    return f"{'F1' if measure == 'f1' else measure} of {label}"


def _languages(m: Manifest) -> str:
    names = {"en": "English", "de": "German"}
    return _join([names.get(tag, tag) for tag in m["languages"]])


def _join(names: Iterable[str]) -> str:
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # A label may hold the one character that a table cannot.
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ["---"] * len(header), *lines[1:]))
