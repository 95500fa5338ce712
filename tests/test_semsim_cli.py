"""The command line: JSON and nothing else on stdout, one line and status 2 for a mistake, files where asked for."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from semsim import cli, error_counts, error_rates
from semsim.runs import load_run


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(error_counts, "FLAT_BLOCK", 8)
    monkeypatch.setattr(error_counts, "GRID_BLOCK", 2)
    monkeypatch.setattr(error_counts, "BLOCKS", 4)


def failed(capsys, *arguments):
    """The one line that a mistake prints."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def test_ber_prints_one_json_object_a_line_with_the_promised_fields(capsys):
    assert (
        cli.main(
            ["ber", "--modulation", "qpsk", "qam16", "--ebno-db", "-2:2:2", "--max-bits", "1000", "--json"]
        )
        == 0
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        promised = {
            "modulation",
            "channel",
            "csi",
            "ebno_db",
            "esno_db",
            "metric",
            "errors",
            "trials",
            "value",
            "low",
            "high",
        }
        assert promised <= row.keys()
        assert row["low"] <= row["value"] == row["errors"] / row["trials"] <= row["high"]
    assert {row["ebno_db"] for row in rows} == {-2.0, 0.0, 2.0}


def test_run_prints_the_promised_fields_and_leaves_a_run(capsys, tmp_path):
    out = tmp_path / "run"
    arguments = [
        "run",
        "ujscc",
        "--modulation",
        "auto",
        "--esno-db",
        "15",
        "--limit",
        "4",
        "--json",
        "--out",
        str(out),
    ]
    assert cli.main(arguments) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["metric"] for row in rows] == ["psnr", "ssim", "ser"]
    for row in rows:
        promised = {
            "system",
            "modulation",
            "channel",
            "esno_db",
            "metric",
            "n",
            "value",
            "low",
            "high",
            "cbr",
            "cbr_payload",
        }
        assert promised <= row.keys()
    assert rows == load_run(out).rows()
    assert (out / "quality.png").stat().st_size > 10_000
    assert cli.main(["plot", str(out)]) == 0
    assert (out / "figure.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ber", "--modulation", "qam17"), r"unknown modulation 'qam17'; did you mean qam16\?"),
        (("ber", "--channel", "tdla"), r"unknown channel 'tdla'; did you mean tdl-a\?"),
        (("ber", "--ebno-db", "12:0:2"), "reversed: '12:0:2' should run upwards"),
        (("ber", "--csi", "ls"), "csi ls needs pilots"),
        (("ber", "--channel", "tdl-a", "--delay-spread", "-1e-9"), "--delay-spread must be"),
        (("ber", "--channel", "tdl-a", "--delay-spread", "1e-6"), "longer than the cyclic prefix"),
        (
            ("ber", "--channel", "tdl-a", "--grid.cyclic-prefix-length", "80"),
            r"--grid.cyclic-prefix-length must be in \[0, 72\); got 80",
        ),
        (
            ("ber", "--channel", "tdl-a", "--grid.num-guard-carriers", "40", "40"),
            "leave none of 72 subcarriers",
        ),
        (
            ("ber", "--channel", "tdl-a", "--grid.pilot-subcarrier-stride", "100"),
            r"--grid.pilot-subcarrier-stride must be in \[1, 72\]",
        ),
        (("ber", "--max-bits", "abc"), "--max-bits takes a number; got 'abc'"),
        (("ber", "--colour", "red"), "^semsim: Unrecognized options: --colour red; see semsim ber --help$"),
        (("run", "ujsc"), r"unknown system 'ujsc'; did you mean ujscc\?"),
        (("run", "--data", "cifar"), "did you mean 'cifar10'"),
        (("run", "--channel", "rayleigh"), "rayleigh-block"),
        (("run", "--realizations", "0"), r"--realizations must be in \[1, 100,000\] and whole; got 0"),
        (
            ("run", "--realizations", "1000000000"),
            r"--realizations must be in \[1, 100,000\] and whole; got 1000000000",
        ),
        (("ber", "--modulation", "16qam"), r"did you mean qam16\?"),
        (("ber", "--ebno-db", "1e9"), r"--ebno-db must be in \[-300, 300\] dB; got 1e\+09"),
        (("ber", "--out", ""), "--out is empty: name a folder"),
        (("ber", "--out="), "--out is empty: name a folder"),
        (("record", "tdl-a", "--out", ""), "--out is empty: name a folder"),
        (("ber", "--target", "2"), r"--target must be an error rate, in \(0, 1\); got 2"),
        (
            ("ber", "--code", "ldpc", "--k", "1", "--n", "4"),
            r"--n must be at least 13 for 1 payload bits \(12 with",
        ),
        (("ber", "--code", "ldpc", "--k", "1", "--n", "2"), r"--n must be a multiple of 4, .* got 2: take 4"),
        (("ber", "--devices", "99"), r"--devices must be at most \d+, as many as there are; got 99"),
        (("run", "--width", "-1"), "--width must be a positive number of dB; got -1"),
        (("run", "--width", "1", "--total-images", "-5"), "--total-images must be a positive number; got -5"),
        (("run", "--realizations", "1e9"), "--realizations takes a whole number; got '1e9'"),
        (("run", "--checkpoint", "."), "--checkpoint . is a folder: name the file"),
        (("train", "--steps", "0"), "^semsim: --steps must be at least 1; got 0$"),
        (("train", "fssc", "--steps", "0"), "leave steps out"),
        (
            ("train", "--train-esno-db", "nan"),
            "ujscc is not federated, as fssc is: leave --train-esno-db out",
        ),
        (
            ("train", "fssc", "--train-esno-db", "nan"),
            r"--train-esno-db must be in \[-300, 300\] dB; got nan",
        ),
        (("train", "fssc", "--rounds", "0"), "^semsim: --rounds must be at least 1; got 0$"),
        (("demo", "--images", "0"), "--images must be at least 1; got 0"),
        (
            ("record", "tdl-a", "--max-delay", "-1", "--out", "x.npz"),
            "--max-delay must be a positive number of s",
        ),
        (("foo",), r"unknown command 'foo'\. Choices: demo, ber"),
        (("run", "--checkpoint", "no-such-file"), "no checkpoint at no-such-file"),
        (("plot", "no-such-run"), "no-such-run holds no run"),
        (("data", "get", "kodak"), "no data set 'kodak'"),
        (("train", "--orders", "qam17"), "unknown modulation to train 'qam17'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, arguments, message):
    line = failed(capsys, *arguments)
    assert line.startswith("semsim: ")
    assert re.search(message, line), line


def test_nothing_is_written_for_a_mistake(capsys, tmp_path):
    failed(capsys, "ber", "--modulation", "qam17", "--out", str(tmp_path / "run"))
    failed(capsys, "run", "--channel", "nowhere", "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written_is_said_before_anything_runs(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write to" in failed(capsys, "ber", "--out", str(tmp_path / "file" / "run"))


def test_bad_files_stop_or_are_skipped_as_asked(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / name)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    arguments = ("run", "--data", str(tmp_path), "--modulation", "qpsk", "--esno-db", "10", "--json")
    assert "torn.png" in failed(capsys, *arguments)
    assert cli.main([*arguments, "--on-bad", "skip"]) == 0
    assert {json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()} == {2}
    Image.fromarray(rng.integers(0, 256, (48, 32, 3), np.uint8)).save(tmp_path / "torn.png")
    assert cli.main(arguments) == 0  # of another size, and as good as the others
    assert {json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()} == {3}


def test_ctrl_c_keeps_and_says_what_is_finished(capsys, monkeypatch, tmp_path):
    count = error_counts.count_sums
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # two sums a batch: the first point is stored, the second is not
            raise KeyboardInterrupt
        return count(*arguments)

    monkeypatch.setattr(error_counts, "count_sums", interrupted)
    out = tmp_path / "run"
    assert cli.main(["ber", "--ebno-db", "0", "2", "--max-bits", "1", "--json", "--out", str(out)]) == 130
    captured = capsys.readouterr()
    assert f"finished are in {out}" in captured.err
    kept = load_run(out).rows()
    assert [row["ebno_db"] for row in kept] == [0.0, 0.0]
    assert [json.loads(line)["value"] for line in captured.out.splitlines()] == [row["value"] for row in kept]


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def broken(*arguments, **named):
        return np.zeros(2) + np.zeros(3)  # a library's ValueError

    monkeypatch.setattr(error_rates, "sweep", broken)
    with pytest.raises(ValueError, match="could not be broadcast"):
        cli.main(["ber"])


def test_the_version(capsys):
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"semsim \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_and_info(capsys):
    assert cli.main(["--help"]) == 0
    assert "demo" in capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"versions", "devices", "modulations", "channels", "systems"} <= found.keys()
    assert found["systems"]["ujscc"]["parameters"] <= 3_000_000
    assert found["systems"]["ujscc"]["checkpoint"]
