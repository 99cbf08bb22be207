"""Data sets by Hub id, read by the library `datasets` from a folder that stands in for the Hub."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import httpx2
import pytest
from huggingface_hub import HfApi, constants

from base_folder import make_base
from dslora.cli import main
from dslora.data import load_dataset
from dslora.data.hub import HubName
from dslora.errors import DataError

SHA = "0123456789abcdef0123456789abcdef01234567"


def write(folder: Path, split: str, rows: int, labels: list[str] | None, unlabelled: range = range(0)) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=labels) if labels else datasets.Value("string"),
        }
    )
    values: list[object] = [i % len(labels) if labels else ("fine", "toxic")[i % 2] for i in range(rows)]
    for i in unlabelled:
        # As the library marks what has no label.
        values[i] = -1
    content = {"text": [f"{split} post {i}" for i in range(rows)], "label": values}
    datasets.Dataset.from_dict(content, features=features).to_parquet(folder / f"{split}.parquet")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which data sets lie by id; configurations in folders of their own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    load = datasets.load_dataset

    def from_folder(name: str, configuration: str | None = None, *, revision: str) -> Any:
        folder = tmp_path / "hub" / name / (configuration or "")
        if not folder.is_dir():
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return load(str(folder), cache_dir=str(tmp_path / "cache"))

    def info(self: HfApi, name: str, *, revision: str | None = None) -> Any:
        if not (tmp_path / "hub" / name).is_dir():
            raise OSError("no connection")
        return SimpleNamespace(sha=SHA)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    monkeypatch.setattr(HfApi, "dataset_info", info)
    return tmp_path / "hub"


def test_splits_labels_and_revision_are_the_data_sets_own(hub: Path) -> None:
    folder = hub / "owner" / "posts" / "small"
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("validation", 10), ("test", 12)):
        write(folder, split, rows, ["fine", "toxic"])
    dataset = load_dataset("hub:owner/posts:small")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 40, "development": 10, "test": 12}
    assert dataset.labels == ("fine", "toxic")
    assert dataset.positive_labels == ("toxic",)
    assert dataset.carving is None
    (file,) = dataset.splits["train"].files
    assert file.name == f"owner/posts:small@{SHA}/train"
    assert load_dataset("hub:owner/posts:small").splits["train"].files == (file,)
    assert file.sha256 != dataset.splits["test"].files[0].sha256
    assert "owner/posts" in dataset.license


def test_the_check_reads_a_hub_id_and_cuts_a_development_split(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hub / "posts").mkdir(parents=True)
    write(hub / "posts", "train", 40, None)
    assert main(["data", "check", "--data", "hub:posts", "--json"]) == 0
    check = json.loads(capsys.readouterr().out)
    assert {name: split["rows"] for name, split in check["splits"].items()} == {"train": 36, "development": 4}


def test_a_new_commit_with_the_same_rows_is_the_same_data(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (hub / "posts").mkdir(parents=True)
    write(hub / "posts", "train", 60, ["fine", "toxic"])
    run, size = tmp_path / "run", ["--max-tokens", "24", "--window-overlap", "4", "--rank", "2", "--quiet"]
    given = ["--data", "hub:posts", "--base", make_base(tmp_path / "base"), "--out", str(run), *size]
    assert main(["train", *given]) == 0
    assert f"posts@{SHA}/train" in (run / "run.json").read_text()
    trained = (run / "run.json").stat().st_mtime_ns
    monkeypatch.setattr(HfApi, "dataset_info", lambda *arguments, **options: SimpleNamespace(sha="f" * 40))
    for again in (["train", *given], ["train", "--data", f"hub:posts@{SHA}", *given[2:]], ["evaluate", str(run)]):
        assert main(again) == 0
    assert (run / "run.json").stat().st_mtime_ns == trained
    # What a checkpoint is resumed by.
    (run / "run.json").unlink()
    assert main(["train", *given]) == 0
    capsys.readouterr()
    (hub / "posts" / "train.parquet").unlink()
    write(hub / "posts", "train", 64, ["fine", "toxic"])
    assert main(["train", *given]) == 1
    assert "other settings or other data" in capsys.readouterr().err
    # Most of its rows were trained on, whatever its commit is called.
    for name in ("hub:posts", "hub:posts@v2"):
        assert main(["evaluate", str(run), "--data", name]) == 1
        assert "could pass for new ones" in capsys.readouterr().err


def test_rows_without_a_label_are_left_out_and_counted(hub: Path) -> None:
    (hub / "posts").mkdir(parents=True)
    write(hub / "posts", "train", 40, ["fine", "toxic"], unlabelled=range(4, 7))
    write(hub / "posts", "test", 12, ["fine", "toxic"], unlabelled=range(12))
    dataset = load_dataset("hub:posts")
    assert dataset.labels == ("fine", "toxic")
    assert dataset.dropped == {"no label in the source (train)": 3, "no label in the source (test)": 12}
    # Nothing is left of the test split; the development split is cut from what is left of train.
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 33, "development": 4}
    left = [text for split in dataset.splits.values() for text in split.texts]
    assert sorted(left) == sorted(f"train post {i}" for i in range(40) if i not in range(4, 7))
    # The others keep their numbers, and the file all of its rows.
    assert all(
        row_id == f"line {int(text.split()[-1]) + 1}"
        for split in dataset.splits.values()
        for row_id, text in zip(split.ids, split.texts, strict=True)
    )
    assert dataset.splits["train"].files[0].rows == 40

    write(hub / "posts", "train", 6, ["fine", "toxic"], unlabelled=range(6))
    with pytest.raises(DataError, match="no training split with labels"):
        load_dataset("hub:posts")


def test_two_splits_of_a_kind_are_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub / "posts").mkdir(parents=True)
    for split in ("train", "validation"):
        write(hub / "posts", split, 10, None)
    both = datasets.load_dataset("posts", revision=SHA)
    both["eval"] = both["validation"]
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **options: both)
    with pytest.raises(DataError, match="validation and eval are both the development split"):
        load_dataset("hub:posts")


def test_files_that_the_library_cannot_read_are_refused_and_not_quoted(hub: Path) -> None:
    (hub / "posts").mkdir(parents=True)
    (hub / "posts" / "train.csv").write_text("text,label\n" + "a post,0\n" * 4)
    (hub / "posts" / "test.csv").write_text("other,columns,here\n" + "a post,0,1\n" * 4)
    with pytest.raises(DataError, match="its files cannot be read: DatasetGenerationCastError") as raised:
        load_dataset("hub:posts")
    assert "a post" not in str(raised.value)


def test_what_cannot_be_had_is_refused(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hub / "owner" / "odd").mkdir(parents=True)
    write(hub / "owner" / "odd", "test", 4, None)
    for name, message in (
        ("hub:owner/none", "could not be had (OSError: no connection)"),
        ("hub:owner/none@main", "could not be had"),
        ("hub:owner/odd", "no training split"),
        ("hub:a b", "is no data set of the Hub"),
        ("owner/none", "hub:owner/name"),
    ):
        with pytest.raises(DataError) as raised:
            load_dataset(name)
        assert message in str(raised.value), name


def test_a_folder_here_is_not_taken_for_the_hub(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (hub, tmp_path):
        (place / "owner" / "posts").mkdir(parents=True)
    write(hub / "owner" / "posts", "train", 40, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="which the library datasets would read instead of the Hub"):
        load_dataset("hub:owner/posts")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load_dataset("hub:owner/posts").splits["train"]) == 36


Answer = Callable[[httpx2.Request], httpx2.Response]


def fails(kind: type[httpx2.RequestError]) -> Answer:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise kind("no way there", request=request)

    return answer


def answers(status: int, code: str = "") -> Answer:
    return lambda request: httpx2.Response(status, headers={"X-Error-Code": code}, json={}, request=request)


def gated(request: httpx2.Request) -> httpx2.Response:
    """What is told of a closed set, and that its files are closed."""
    if "/api/datasets/" in str(request.url):
        return httpx2.Response(200, json={"id": "owner/posts", "sha": SHA, "siblings": []}, request=request)
    return answers(403, "GatedRepo")(request)


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("owner/posts", fails(httpx2.ConnectError), "cannot be reached (ConnectError: no way there)"),
        ("owner/posts", fails(httpx2.ReadTimeout), "cannot be reached (ReadTimeout: no way there)"),
        ("owner/posts", fails(httpx2.ProxyError), "cannot be reached (ProxyError: no way there)"),
        ("owner/posts@main", fails(httpx2.ConnectError), "cannot be reached (ConnectionError: "),
        ("owner/posts", answers(503), "cannot be reached (HfHubHTTPError: Server error '503"),
        ("owner/posts", answers(401), "the Hub has none of this name, or a closed one"),
        ("owner/posts@main", answers(404, "RepoNotFound"), "doesn't exist on the Hub or cannot be accessed"),
        ("owner/posts@none", answers(404, "RevisionNotFound"), "Revision 'none' doesn't exist"),
        ("owner/posts", gated, "is a gated dataset on the Hub"),
        # Not the Hub: the page of a network that wants a password first, say.
        ("owner/posts", lambda request: httpx2.Response(200, text="<html>", request=request), "JSONDecodeError"),
        ("a--b", answers(404), "HFValidationError: Cannot have -- or .. in repo_id"),
    ],
)
def test_a_hub_that_does_not_give_it_is_told_in_one_message(
    name: str,
    answer: Answer,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The real libraries, with nothing but the network in the place of the network."""
    http = "huggingface_hub.utils._http"
    monkeypatch.setattr(f"{http}._GLOBAL_CLIENT_FACTORY", lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
    monkeypatch.setattr(f"{http}._GLOBAL_CLIENT", None)
    # The library's own pauses between its attempts.
    monkeypatch.setattr(f"{http}.time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    assert main(["data", "check", "--data", f"hub:{name}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("dslora: ") == 1
    if "cannot be reached" in message:
        assert f"{constants.ENDPOINT} cannot be reached" in error
        assert "Check the network, name a mirror (HF_ENDPOINT" in error
    else:
        assert "set HF_TOKEN" in error


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"cannot be reached .*unset the `HF_HUB_OFFLINE`"):
        load_dataset("hub:owner/posts")


def test_names_are_read() -> None:
    assert HubName.parse("a/b:c@d/e") == HubName("a/b", "c", "d/e")
    assert HubName.parse("a") == HubName("a", None, None)
