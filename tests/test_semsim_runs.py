"""A run on disk: what was finished is kept, what was not is absent, and damage is named."""

import errno
import json
import math
import subprocess

import numpy as np
import pytest

from semsim import runs
from semsim.runs import RunWriter, load_run, sharing_of
from semsim.stats import ALIKE, FADE, INDEPENDENT, Sharing
from semsim.sweep import count_sums, mean_sums

CONFIG = {
    "command": "ber",
    "stop": {"metric": "ber", "min_errors": 5, "max_trials": 1000},
    "row": {"cbr": 0.25},
}


def point(ebno_db):
    return {"modulation": "qpsk", "channel": "awgn", "csi": "perfect", "ebno_db": ebno_db}


def write(folder, batches=3):
    with RunWriter(folder, CONFIG) as writer:
        for value in (0.0, 2.0):
            for batch in range(batches):
                writer.append(point(value), batch, {"ber": count_sums(np.array([batch, 1]), 20)})
    return writer.finish()


def rows_file(folder):
    (path,) = folder.glob("rows-*.jsonl")
    return path


def test_round_trip(tmp_path):
    made = write(tmp_path / "a" / "b")
    read = load_run(tmp_path / "a" / "b")
    assert read.points == made.points and read.rows() == made.rows()
    assert read.config == json.loads(json.dumps(made.config))
    first = read.rows()[0]
    assert (first["errors"], first["trials"], first["cbr"], first["stopped"]) == (6, 120, 0.25, "errors")
    assert first["value"] == 6 / 120


def test_a_folder_is_named_by_text_or_path(tmp_path):
    made = write(str(tmp_path / "run"))
    assert made.folder == tmp_path / "run"
    assert load_run(str(made.folder)).rows() == load_run(made.folder).rows() == made.rows()
    with pytest.raises(ValueError, match="nowhere holds no run"):
        load_run("nowhere")
    for none in ("", " ", 3, None):
        with pytest.raises(ValueError, match="folder takes the name of a folder, such as runs/demo; got"):
            load_run(none)
    with pytest.raises(ValueError, match="out takes the name of a folder, .* got ''"):
        RunWriter("", CONFIG)


def test_a_run_in_memory_has_the_same_rows(tmp_path):
    assert write(None).rows() == write(tmp_path).rows()
    assert write(None).folder is None


def test_a_point_not_simulated_is_absent(tmp_path):
    write(tmp_path)
    assert [row["ebno_db"] for row in load_run(tmp_path).rows()] == [0.0, 2.0]
    with RunWriter(None, CONFIG) as writer:
        assert writer.finish().rows() == []


def test_a_point_says_why_it_stopped():
    with RunWriter(None, CONFIG) as writer:
        writer.append(point(0.0), 0, {"ber": count_sums(np.array([5]), 20)})
        writer.append(point(1.0), 0, {"ber": count_sums(np.array([4]), 1000)})
        writer.append(point(2.0), 0, {"ber": count_sums(np.array([4]), 20)})
    assert [row["stopped"] for row in writer.finish().rows()] == ["errors", "trials", "interrupted"]


def test_every_batch_is_on_disk_when_append_returns(tmp_path):
    with RunWriter(tmp_path, CONFIG) as writer:
        for batch in range(3):
            writer.append(point(0.0), batch, {"ber": count_sums(np.array([1]), 20)})
            assert load_run(tmp_path).rows()[0]["trials"] == 20 * (batch + 1)


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_torn_last_line_is_dropped(tmp_path, cut):
    write(tmp_path)
    path = rows_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    batches = 5 if cut > 1 else 6  # one byte is the newline: the line itself is whole
    assert sum(row["n"] for row in load_run(tmp_path).rows()) == 2 * batches


def test_a_last_line_of_zeros_after_a_power_cut_is_dropped(tmp_path):
    write(tmp_path)
    with rows_file(tmp_path).open("ab") as file:
        file.write(bytes(300))
    assert sum(row["n"] for row in load_run(tmp_path).rows()) == 12


@pytest.mark.parametrize("damage", ["{broken", "7", '{"point": {}}', '{"point": 3, "batch": 0, "sums": {}}'])
def test_a_damaged_inner_line_is_named(tmp_path, damage):
    write(tmp_path)
    path = rows_file(tmp_path)
    lines = path.read_text().splitlines()
    lines[1] = damage
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        ValueError, match=r"rows-0001-\w+\.jsonl, line 2 is damaged: restore it or remove the file"
    ):
        load_run(tmp_path)


def test_writers_on_one_folder_merge_and_a_batch_done_twice_counts_once(tmp_path):
    write(tmp_path)
    path = rows_file(tmp_path)
    lines = path.read_text().splitlines()
    extra = json.loads(lines[0]) | {"batch": 9}
    (tmp_path / "rows-other.jsonl").write_text(f"{lines[0]}\n{json.dumps(extra)}\n")
    assert [row["trials"] for row in load_run(tmp_path).rows()] == [160, 120]


@pytest.mark.parametrize("name", ["config.json", "rows-1.jsonl"])
def test_a_folder_that_holds_a_run_is_refused_and_untouched(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="already holds a run: resume it, choose another"):
        RunWriter(tmp_path, CONFIG)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="cannot write to .*file.*: (File exists|Not a directory)"):
            RunWriter(folder, CONFIG)


def test_a_config_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *_):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_text", full)
    with pytest.raises(ValueError, match="cannot write to .*: No space left on device"):
        RunWriter(tmp_path, CONFIG)
    assert list(tmp_path.iterdir()) == []


class AlmostFull:
    """A raw file on a disk with room for `room` more bytes."""

    def __init__(self, file, room):
        self.file, self.room, self.name = file, room, file.name

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_is_said_and_keeps_the_earlier_rows_whole(tmp_path):
    sums = {"ber": count_sums(np.array([1]), 20)}
    with pytest.raises(OSError, match="No space left") as caught, RunWriter(tmp_path, CONFIG) as writer:
        writer.append(point(0.0), 0, sums)
        writer._file = AlmostFull(writer._file, room=50)
        writer.append(point(0.0), 1, sums)
    assert caught.value.filename == str(rows_file(tmp_path))
    assert rows_file(tmp_path).read_bytes().endswith(b"}\n")
    assert load_run(tmp_path).points == writer.finish().points
    assert load_run(tmp_path).rows()[0]["trials"] == 20


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_folder_without_a_run_is_said(tmp_path, text):
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="holds no run: config.json is missing or damaged"):
        load_run(tmp_path)


def test_what_shares_a_draw():
    point = {"modulation": "qam64", "channel": "rayleigh"}
    assert sharing_of(point, "ser") == Sharing(1, 1) and sharing_of(point, "ber") == Sharing(6, 6)
    pairs = point | {"scheme": "alamouti", "num_tx": 2}
    assert sharing_of(pairs, "ser") == Sharing(2, 2) and sharing_of(pairs, "ber") == Sharing(12, 12)
    for channel in ("rayleigh-block", "tdl-a"):
        for system in ({}, {"system": "ujscc"}):
            assert sharing_of(point | system | {"channel": channel}, "ser") == FADE


def test_images_and_grids_are_units_also_without_fading():
    """Images send different points, and the symbols of a grid share the estimate of its channel."""
    image = {"modulation": "qam64", "channel": "awgn", "system": "ujscc"}
    assert sharing_of(image, "ser") == Sharing(1, math.inf)
    assert sharing_of(image, "outage") == ALIKE
    for csi in ("ls", "lmmse"):
        assert sharing_of({**image, "csi": csi}, "ser") == ALIKE
        assert sharing_of({"modulation": "qam64", "channel": "awgn", "csi": csi}, "ber") == ALIKE


def test_words_are_independent_where_a_transmission_has_one():
    one, three = ({"channel": "tdl-a", "words": words, "k": 100} for words in (1, 3))
    assert sharing_of(one, "bler") == sharing_of(one, "undetected") == INDEPENDENT
    assert sharing_of(one, "ber") == sharing_of(three, "ber") == sharing_of(three, "bler") == FADE


def test_an_image_metric_has_a_t_interval():
    with RunWriter(None, {"command": "run"}) as writer:
        writer.append(
            {"system": "s", "channel": "awgn"}, 0, {"psnr": mean_sums(np.array([20.0, 22.0, 27.0]))}
        )
    (row,) = writer.finish().rows()
    assert row["n"] == 3 and row["value"] == 23 and "stopped" not in row
    assert row["high"] - 23 == pytest.approx(4.302653 * np.std([20, 22, 27], ddof=1) / np.sqrt(3), rel=1e-6)


def test_the_state_of_the_code_is_recorded(monkeypatch):
    found = runs.environment()
    assert found["versions"]["jax"].count(".") >= 2 and found["devices"]

    def nothing(*_, **__):
        return subprocess.CompletedProcess([], 128, "", "fatal")

    monkeypatch.setattr(subprocess, "run", nothing)
    assert runs.environment()["git"] is None  # no commit, no git, or a stranger's checkout


@pytest.mark.parametrize("links", [True, False])
def test_of_two_that_begin_one_run_the_second_is_refused(tmp_path, monkeypatch, links):
    """Also when it looked before the first had written, and where the file system has no hard links."""
    if not links:

        def link(source, target):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(runs.os, "link", link)
    runs.write_text(tmp_path / "config.json", "first", replace=False)
    with pytest.raises(FileExistsError):
        runs.write_text(tmp_path / "config.json", "second", replace=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", "first")]
