"""`semsim run` with coded systems and the separation baseline, `plot --best`, `record`: files, lines, refusals."""

import json

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import models
from semsim import cli
from semsim.checkpoint import save_weights
from semsim.envelope import best_of_each_snr, crossovers
from semsim.runs import load_run
from semsim.systems import ujscc

FEW = ["--data", "embedded", "--limit", "8", "--esno-db", "0", "12"]


def failed(capsys, *arguments):
    """The one line that a mistake prints."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_three_systems_on_one_figure_at_one_cbr(capsys, tmp_path):
    """Separation, uJSCC and coded uJSCC: equal channel uses, one line a system, drawn by one command."""
    folders = {name: tmp_path / name for name in ("separation", "ujscc", "coded")}
    digital = ["--modulation", "qpsk", "qam16", "--coderate", "1/2", "--codec", "jpeg", "webp"]
    assert cli.main(["run", "separation", *digital, *FEW, "--out", str(folders["separation"])]) == 0
    assert "qam16" in capsys.readouterr().out
    assert cli.main(["run", "ujscc", "--modulation", "qpsk", *FEW, "--out", str(folders["ujscc"])]) == 0
    coded = ["--modulation", "qam16", "--index-map", "labelled", "--code", "ldpc", "--coderate", "1/2"]
    assert cli.main(["run", "ujscc", *coded, *FEW, "--json", "--out", str(folders["coded"])]) == 0
    capsys.readouterr()
    runs = [load_run(folder) for folder in folders.values()]
    totals = {run.config["ledger"]["cbr"] for run in runs}
    assert len(totals) == 1 and (folders["separation"] / "quality.png").exists()
    figure = tmp_path / "figure.png"
    assert cli.main(["plot", *map(str, folders.values()), "--best", "--out", str(figure)]) == 0
    assert np.asarray(Image.open(figure)).std() > 10
    crossings = capsys.readouterr().out.splitlines()[1:]
    rows = [row for run in runs for row in run.rows()]
    best = best_of_each_snr(
        [
            {**row, "run": folder.name}
            for folder, run in zip(folders.values(), runs, strict=True)
            for row in run.rows()
        ]
    )
    assert crossings == [str(found) for found in crossovers(best)] != []
    for esno_db in (0.0, 12.0):
        (shown,) = [
            row for row in best
            if (row["system"], row["metric"], row["esno_db"]) == ("separation", "psnr", esno_db)
        ]  # fmt: skip
        found = [
            row["value"] for row in rows
            if (row["system"], row["metric"], row["esno_db"]) == ("separation", "psnr", esno_db)
        ]  # fmt: skip
        assert (
            len(found) == 4
            and shown["value"] == max(found)
            and shown["choice"].split()[0] in ("jpeg", "webp")
        )
    # Both runs of uJSCC are one system, which chooses between them.
    assert sum(row["system"] == "ujscc" and row["metric"] == "psnr" for row in best) == 2


def test_a_whole_photograph_costs_what_its_tiles_cost(capsys, tmp_path):
    """A folder with one picture of 32 x 64: two tiles, one image, one transmission."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = ["--data", str(tmp_path), "--modulation", "qpsk", "--esno-db", "12", "--json"]
    assert cli.main(["run", "ujscc", *wanted, "--whole"]) == 0
    whole = printed(capsys)
    assert cli.main(["run", "ujscc", *wanted, "--tile"]) == 0
    tiles = printed(capsys)
    assert {row["n"] for row in whole} == {1} and {row["n"] for row in tiles} == {2}
    assert {row["cbr"] for row in whole} == {row["cbr"] for row in tiles}
    assert cli.main(["run", "ujscc", *wanted]) == 0
    assert printed(capsys) == whole
    assert "size takes a side such as 256" in failed(capsys, "run", "ujscc", *wanted, "--size", "wide")


def test_tiles_are_those_of_the_weights_in_use(capsys, tmp_path):
    """The net that ships for ujscc takes 32 x 32; one for 16 x 16 cuts the same picture into four times as many."""
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture)
    config = models.UJSCCConfig(width=4, image_size=16)
    codec = models.UJSCC(config, rngs=nnx.Rngs(0))
    save_weights(tmp_path / "w.safetensors", codec, ujscc.SYSTEM.metadata(codec))
    wanted = ["--data", str(picture), "--modulation", "qpsk", "--esno-db", "12", "--tile", "--json"]
    assert cli.main(["run", "ujscc", "--checkpoint", str(tmp_path / "w.safetensors"), *wanted]) == 0
    assert {row["n"] for row in printed(capsys)} == {4}


def test_coded_error_rates_have_their_own_columns(capsys):
    code = ["--code", "ldpc", "--k", "100", "--n", "200", "--transmissions", "1", "2", "--max-bits", "1"]
    assert cli.main(["ber", "--modulation", "qpsk", "--ebno-db", "1", *code, "--json"]) == 0
    rows = printed(capsys)
    assert {row["metric"] for row in rows} == {"ber", "bler", "undetected", "iterations"}
    assert {row["transmissions"] for row in rows} == {1, 2}
    assert {row["esno_db"] for row in rows} == {1.0}  # rate 1/2 on QPSK


def test_a_recording_is_made_and_replayed(capsys, tmp_path):
    file = tmp_path / "street.npz"
    assert cli.main(["record", "tdl-a", "--out", str(file), "--records", "40"]) == 0
    assert "40 records of tdl-a" in capsys.readouterr().out
    assert (
        cli.main(["ber", "--channel", f"recorded:{file}", "--ebno-db", "10", "--max-bits", "1", "--json"])
        == 0
    )
    (name,) = {row["channel"] for row in printed(capsys)}
    assert name.startswith("recorded:tdl-a@") and str(tmp_path) not in name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "separation", "--index-map", "labelled"], "separation does not read --index-map"),
        (["run", "ujscc", "--codec", "webp"], "ujscc does not read codec"),
        (
            ["run", "deepjscc", "--cbr", "1/6"],
            "one rate for each training, and ships for 1/12, 1/3: leave cbr 1/6 out",
        ),
        (["run", "stsc-vq", "--cbr", "1/6"], "one rate: leave cbr out"),
        (["run", "ujscc", "--cbr", "1/6"], "ujscc has one rate for each training: leave cbr 1/6 out"),
        (["run", "ujscc", "--coderate", "1/2", "2/3"], "one coderate a run"),
        (["run", "ujscc", "--coderate", "1/2"], "add code ldpc"),
        (["run", "separation", "--codec", "gif"], "unknown codec 'gif'"),
        (["run", "separation", "--demap", "app"], "leave these options out"),
        (["run", "ujscc", "--tile", "--whole"], "take one of them"),
        (["run", "separation", "--precision", "int8"], 'needs precision="float32"'),
        (["ber", "--code", "ldpc", "--k", "512", "--n", "0"], "n must be in [1, 10,223,936]; got 0"),
        (["run", "wepseparation"], "unknown system 'wepseparation'"),
        (["run", "separation", "--modulation", "qpsk", "--cbr", "1/500"], "leave no byte for the payload"),
        (["ber", "--k", "100"], "add code ldpc"),
        (["ber", "--num-rx", "2"], "several antennas need a scheme"),
        (["ber", "--channel", "recorded:nowhere.npz"], "nowhere.npz"),
        (["ber", "--channel", "dialect:klingon"], "klingon"),
        (["record", "tdl-z", "--out", "a.npz"], "tdl-z"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert message in failed(capsys, *arguments)
