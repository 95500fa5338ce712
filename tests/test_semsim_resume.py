"""What may be continued and what not, by the folder, by the library and by the command line."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from semsim import cli, environment, error_counts, error_rates, runs
from semsim.command_line import COMMANDS
from semsim.resume import check_same, differences
from semsim.runs import RunWriter, load_run
from semsim.saved_options import kept, result_options, with_saved
from semsim.sweep import count_sums

BEFORE = {
    "command": "ber", "seed": 3, "modulation": ["qpsk"], "channel": ["awgn"], "ebno_db": [1.0, 2.0], "csi": "perfect",
    "stop": {"metric": "ber", "max_trials": 1e6, "min_errors": 200}, "draws": {"generator": "a", "blocks": 32},
    "data": {"name": "cifar10", "crc32": "00ff"}, "weights": {"checkpoint": "here", "sha256": "77"},
    "conventions": {"snr": "x"}, "grid": {"fft_size": 72}, "arguments": ["ber"],
    "environment": {"git": "abc", "code": "abc", "versions": {"jax": "1"}, "devices": ["cpu:0"], "python": "3.11"},
}  # fmt: skip


def changed(name, value):
    """BEFORE with one setting, by its dotted name, of another value; None: without it."""
    tree = json.loads(json.dumps(BEFORE))
    *path, last = name.split(".")
    place = tree
    for step in path:
        place = place[step]
    place[last] = value
    return tree


UNSAFE = [
    ("seed", 4), ("csi", "ls"), ("command", "run"), ("draws.generator", "b"), ("draws.blocks", 64), ("grid.fft_size", 512),
    ("data.name", "natural"), ("data.crc32", "0100"), ("weights.sha256", "78"), ("conventions.snr", "y"), ("new", 1),
]  # fmt: skip
SAFE = [
    ("modulation", ["qpsk", "qam16"]), ("channel", ["rayleigh"]), ("ebno_db", [1.0]), ("stop.max_trials", 2e6),
    ("stop.rel_width", 0.1), ("environment.code", "def"), ("environment.code", None), ("environment.versions.jax", "2"),
]  # fmt: skip
IGNORED = [
    ("environment.devices", []), ("environment.python", "3.13"), ("arguments", []), ("title", "t"), ("history", [1]),
    ("weights.checkpoint", "/elsewhere/here"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), UNSAFE + SAFE)
def test_a_difference_is_refused_and_said(tmp_path, name, value):
    now = changed(name, value)
    ((said, (old, new)),) = differences(BEFORE, now).items()
    assert said == name and new == value
    with pytest.raises(
        ValueError, match=re.escape(f"{tmp_path} was made with other settings ({name} {old} -> ")
    ):
        check_same(tmp_path, BEFORE, now, force=False)


@pytest.mark.parametrize(("name", "value"), UNSAFE)
def test_force_does_not_mix_batches_that_do_not_fit(tmp_path, name, value):
    now = changed(name, value) | {"ebno_db": [5.0]}
    with pytest.raises(ValueError, match="would not fit together: choose another folder") as said:
        check_same(tmp_path, BEFORE, now, force=True)
    assert f"({name} " in str(said.value) and "ebno_db" not in str(said.value)


@pytest.mark.parametrize(("name", "value"), SAFE)
def test_force_allows_what_is_safe(tmp_path, name, value):
    assert check_same(tmp_path, BEFORE, changed(name, value), force=True)


@pytest.mark.parametrize(("name", "value"), IGNORED)
def test_what_does_not_matter_is_no_difference(tmp_path, name, value):
    assert not check_same(tmp_path, BEFORE, changed(name, value), force=False)


def test_long_settings_are_cut_short(tmp_path):
    with pytest.raises(ValueError, match=r"57.*\.\.\.") as said:
        check_same(tmp_path, BEFORE, changed("ebno_db", list(range(57, 900))), force=False)
    assert len(str(said.value)) < 400


# The writer.

POINT = {"modulation": "qpsk", "channel": "awgn", "ebno_db": 0.0}


def line(batch, errors, trials=1000):
    return POINT, batch, {"ber": count_sums(np.array([errors]), trials)}


def write(folder, *batches, **named):
    with RunWriter(folder, {"seed": 0}, **named) as writer:
        for batch in batches:
            writer.append(*batch)
    return writer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("resume", [True, False])
def test_settings_are_compared_before_anything_is_written(tmp_path, resume):
    write(tmp_path, line(0, 5))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(ValueError, match="seed 0 -> 1|already holds a run"):
        RunWriter(tmp_path, {"seed": 1}, resume=resume)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_nothing_of_a_refused_writer_stays_where_a_line_is_damaged(tmp_path):
    write(tmp_path, line(0, 5))
    (path,) = tmp_path.glob("rows-*.jsonl")
    path.write_text("{}\n" + path.read_text())
    before = names(tmp_path)
    with pytest.raises(ValueError, match="line 1 is damaged"):
        RunWriter(tmp_path, {"seed": 0}, resume=True)
    assert names(tmp_path) == before


def test_a_decision_that_another_device_rounds_differently_is_no_contradiction(tmp_path):
    write(tmp_path, line(7, 50_000, 100_000))
    write(tmp_path, line(7, 50_001, 100_000), resume=True)
    assert load_run(tmp_path).points[0][1]["ber"]["errors"] == 50_000


@pytest.mark.parametrize("errors", [51_000, 50_003])
def test_two_results_of_one_batch_are_named(tmp_path, errors):
    write(tmp_path, line(7, 50_000, 100_000))
    with RunWriter(tmp_path, {"seed": 0}, resume=True) as writer:
        with pytest.raises(ValueError, match="batch 7 of .*qpsk.* is there twice, with different results"):
            writer.append(*line(7, errors, 100_000))


def test_duplicates_and_any_order_of_files_make_the_same_totals(tmp_path):
    write(tmp_path, line(0, 5), line(1, 6), line(2, 7))
    (path,) = tmp_path.glob("rows-*.jsonl")
    texts = path.read_text().splitlines(keepends=True)
    whole = load_run(tmp_path).points
    for order in ((2, 1, 0), (0, 0, 1, 1, 2, 2), (1, 2, 0, 2)):
        path.write_text("".join(texts[i] for i in order))
        (tmp_path / "rows-0000-first.jsonl").write_text(texts[1])
        assert load_run(tmp_path).points == whole
        assert write(tmp_path, resume=True).totals.points() == whole


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_line_is_simulated_again(tmp_path, cut):
    """Also one that lacks its line end only: nothing may be written behind it."""
    write(tmp_path, line(0, 5), line(1, 6))
    (path,) = tmp_path.glob("rows-*.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    with RunWriter(tmp_path, {"seed": 0}, resume=True) as writer:
        assert set(writer.totals.batches(POINT)) == {0}
        writer.append(*line(1, 6))
    assert load_run(tmp_path).points[0][1]["ber"]["errors"] == 11


def test_a_line_that_another_writer_is_writing_comes_when_it_is_whole(tmp_path):
    write(tmp_path, line(0, 5))
    with RunWriter(tmp_path, {"seed": 0}, resume=True) as writer:
        text = json.dumps({"point": POINT, "batch": 1, "sums": line(1, 6)[2]}) + "\n"
        with (tmp_path / "rows-0009-other.jsonl").open("w") as file:
            for half, known in ((text[:30], {0}), (text[30:], {0, 1})):
                file.write(half)
                file.flush()
                writer.refresh()
                assert set(writer.totals.batches(POINT)) == known


def test_an_empty_file_that_its_writer_takes_away_disturbs_nobody(tmp_path, monkeypatch):
    write(tmp_path, line(0, 5))
    with RunWriter(tmp_path, {"seed": 0}, resume=True) as writer:
        other = RunWriter(tmp_path, {"seed": 0}, resume=True)
        found = type(tmp_path).glob

        def listed_then_gone(self, pattern):
            paths = list(found(self, pattern))
            other.__exit__(None, None, None)
            return paths

        monkeypatch.setattr(type(tmp_path), "glob", listed_then_gone)
        writer.refresh()
        assert load_run(tmp_path).points


def test_of_two_that_begin_at_once_one_has_the_folder(tmp_path, monkeypatch):
    write_text, got = runs.write_text, []

    def meanwhile(path, *rest, **named):
        if not got:
            got.append(None)
            got.append(write(path.parent, line(0, 5)))
        write_text(path, *rest, **named)

    monkeypatch.setattr(runs, "write_text", meanwhile)
    with pytest.raises(ValueError, match="already holds a run"):
        RunWriter(tmp_path, {"seed": 1})
    assert load_run(tmp_path).config["seed"] == 0 and len(names(tmp_path)) == 2


def test_another_code_version_is_refused_said_forced_and_remembered(tmp_path, monkeypatch):
    def version(code):
        monkeypatch.setattr(runs, "environment", lambda: {"code": code, "versions": {"jax": "1"}})

    version("abc")
    write(tmp_path, line(0, 5))
    version("def")
    with pytest.raises(ValueError, match=r"environment.code abc -> def\).*--force-config"):
        RunWriter(tmp_path, {"seed": 0}, resume=True)
    write(tmp_path, line(1, 6), resume=True, force_config=True)
    config = load_run(tmp_path).config
    assert config["environment"]["code"] == "def" and [h["code"] for h in config["history"]] == ["abc"]
    assert load_run(tmp_path).points[0][1]["ber"]["errors"] == 11
    write(tmp_path, resume=True)


def test_a_run_in_the_checkout_is_no_change_of_the_code(tmp_path, monkeypatch):
    """Otherwise no run that is kept beside the code could be resumed."""

    def git(*words):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b", *words], check=True,
                       capture_output=True)  # fmt: skip

    (tmp_path / "semsim").mkdir()
    (tmp_path / "semsim" / "environment.py").write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "semsim" / "environment.py"))
    before, code = (environment.environment()[name] for name in ("git", "code"))
    assert before and not before.endswith("+")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "config.json").write_text("{}")
    assert environment.environment()["git"] == before and environment.environment()["code"] == code
    (tmp_path / "semsim" / "environment.py").write_text("changed")
    assert environment.environment()["git"] == before + "+" and environment.environment()["code"] != code


# The command line.

OPTIONS = ["--modulation", "qpsk", "--ebno-db", "2", "4", "--min-errors", "20", "--seed", "3"]


@pytest.fixture
def simulated(monkeypatch):
    """The batches that are simulated and stored, in small portions."""
    for name, value in {"FLAT_BLOCK": 4, "FLAT_SYMBOLS": 32, "BLOCKS": 1}.items():
        monkeypatch.setattr(error_counts, name, value)
    seen, original = [], RunWriter.append

    def counted(self, point, batch, *rest):
        seen.append(batch)
        return original(self, point, batch, *rest)

    monkeypatch.setattr(RunWriter, "append", counted)
    return seen


@pytest.fixture
def run(simulated, tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli.main(["ber", "--out", str(folder), *OPTIONS]) == 0
    simulated.clear()
    capsys.readouterr()
    return folder


def resumed(run, capsys, *words, command="ber", status=0):
    assert cli.main([command, "--resume", str(run), *words]) == status
    out, said = capsys.readouterr()
    return said if status else out


def test_a_complete_run_simulates_nothing_and_shows_its_rows(run, simulated, capsys):
    before = load_run(run).rows()
    said = resumed(run, capsys, "--json")
    assert simulated == [] and [json.loads(row) for row in said.splitlines()] == before
    assert len(list(run.glob("rows-*.jsonl"))) == 1


def test_lost_batches_are_made_again_without_repeating_an_option(
    run, simulated, capsys, tmp_path, monkeypatch
):
    (path,) = run.glob("rows-*.jsonl")
    whole, texts = load_run(run).points, path.read_text().splitlines(keepends=True)
    path.write_text("".join(texts[::2]))
    monkeypatch.chdir(tmp_path)
    resumed("run", capsys)
    assert len(simulated) == len(texts) // 2
    key = lambda entry: entry[0]["ebno_db"]  # noqa: E731
    assert sorted(load_run(run).points, key=key) == sorted(whole, key=key)


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--seed", "4"], "seed 3 -> 4"),
        (["--generator", "rbg"], None),
        (["--demap", "app"], "demap nearest -> app"),
        (["--importance"], None),
        (["--k-db", "3"], "propagation.k_db"),
        (["--grid.fft-size", "144"], "grid.fft_size 72 -> 144"),
    ],
)
def test_other_draws_are_refused_whether_forced_or_not(run, simulated, capsys, words, difference):
    for force in ([], ["--force-config"]):
        said = resumed(run, capsys, *words, *force, status=2)
        assert said.count("\n") == 1 and (difference or "") in said
    assert simulated == []


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--ebno-db", "2", "4", "6"], "--ebno-db [2.0, 4.0] -> [2.0, 4.0, 6.0]"),
        (["--min-errors", "40"], "stop.min_errors 20 -> 40"),
        (["--channel", "awgn", "rayleigh"], "channel ['awgn'] -> ['awgn', 'rayleigh']"),
    ],
)
def test_more_of_the_same_is_refused_unless_forced_and_adds_to_it(run, simulated, capsys, words, difference):
    before = {str(p): set(load_run(run).batches(p)) for p, _ in load_run(run).points}
    assert difference in resumed(run, capsys, *words, status=2) and simulated == []
    resumed(run, capsys, *words, "--force-config")
    found = load_run(run)
    after = {str(p): set(found.batches(p)) for p, _ in found.points}
    assert all(after[point] >= batches for point, batches in before.items()) and after != before
    assert sum(map(len, after.values())) - sum(map(len, before.values())) == len(simulated)
    assert all(row["stopped"] == "errors" for row in found.rows())
    simulated.clear()
    resumed(run, capsys)
    assert simulated == []


def test_a_run_that_was_forced_once_is_not_forced_ever_after(run, capsys):
    resumed(run, capsys, "--min-errors", "25", "--force-config")
    assert "stop.min_errors 25 -> 30" in resumed(run, capsys, "--min-errors", "30", status=2)


def test_a_folder_without_a_run_or_with_another_is_said(run, capsys, tmp_path):
    for folder in (tmp_path / "nothing", tmp_path):
        assert f"semsim: {folder} holds no run: config.json is missing" in resumed(folder, capsys, status=2)
        assert not folder.exists() or names(folder) == ["run"]
    assert "was made by `semsim ber`" in resumed(run, capsys, command="run", status=2)


def test_another_folder_to_write_is_refused_and_not_ignored(run, simulated, capsys, tmp_path):
    said = resumed(run, capsys, "--out", str(tmp_path / "b"), status=2)
    assert f"out {tmp_path / 'b'} would be another: leave one of them out" in said
    assert names(tmp_path) == ["run"] and simulated == []


def test_a_run_that_was_moved_is_resumed_where_it_is(run, simulated, capsys, tmp_path):
    shutil.move(run, tmp_path / "moved")
    resumed(tmp_path / "moved", capsys)
    assert simulated == [] and not run.exists()


def test_the_resume_of_training_is_another(capsys, tmp_path):
    """There it is a switch, and what follows it is no folder."""
    words = [
        "train",
        "ujscc",
        "--resume",
        "--out",
        str(tmp_path / "none"),
        "--data",
        str(tmp_path / "absent"),
    ]
    assert cli.main(words) == 2
    assert "--out holds no run" not in capsys.readouterr().err


def test_a_run_made_from_python_says_how_it_goes_on(simulated, capsys, tmp_path):
    folder = tmp_path / "run"
    error_rates.ber("qpsk", "awgn", (2.0, 4.0), min_errors=20, seed=3, out=folder)
    before = load_run(folder).points
    assert "made from Python: resume it there with resume=True" in resumed(folder, capsys, status=2)
    resumed(folder, capsys, *OPTIONS)  # or with its options repeated
    assert load_run(folder).points == before


def test_forcing_without_resuming_is_a_mistake(simulated, tmp_path):
    with pytest.raises(ValueError, match="force_config says how to resume a run: give resume too"):
        error_rates.ber("qpsk", "awgn", [2.0], out=tmp_path / "run", force_config=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_of_a_command_line_is_what_defines_the_result():
    words = "--modulation qpsk --devices 2 --batch=64 --force_config --no-distributed --num_processes 2 --seed -1".split()
    assert kept(["ber", *words], COMMANDS["ber"]) == ["ber", "--modulation", "qpsk", "--seed", "-1"]
    words = "--json stsc --out a --plan --esno_db -2:2:2 .5 --no-tile --resume=b --coordinator h:1 --strange x y --whole"
    wanted = ["run", "stsc", "--esno_db", "-2:2:2", ".5", "--no-tile", "--whole"]
    assert kept(["run", *words.split()], COMMANDS["run"]) == wanted


def test_a_run_folder_can_ask_for_what_the_signature_lists_beside_the_job_and_for_nothing_else():
    """A new option of the job is out without anybody's doing; a new parameter of the command is in."""
    job = {"devices", "batch", "distributed", "coordinator", "num-processes", "process-id", "out", "resume"}
    job |= {"force-config", "plan", "json", "arguments"}
    for name in ("ber", "run"):
        found = result_options(COMMANDS[name])
        assert not found & job
        assert {"modulation", "channel", "csi", "seed", "speed", "num-iterations", "generator"} <= found
    assert {"grid.fft-size", "num-rx", "k", "rel-width"} <= result_options(COMMANDS["ber"])


HOSTILE = [
    ["--distributed", "--coordinator", "127.0.0.1:9", "--num-processes", "2", "--process-id", "1"],
    ["--distributed=True", "--coordinator=127.0.0.1:9", "--num_processes=2", "--process_id=1"],
    ["--out", "elsewhere", "--devices", "4096", "--batch", "100000000000", "--force-config"],
    ["--plan", "--json", "-h", "--", "--help", "--no-such-option", "x"],
]


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("place", ["front", "back"])
def test_what_a_foreign_ber_run_asks_for_beside_its_result_is_not_heard(
    run, simulated, capsys, monkeypatch, tmp_path, words, place
):
    def connects(*arguments, **named):
        raise AssertionError("connects")

    monkeypatch.setattr("jax.distributed.initialize", connects)
    monkeypatch.chdir(tmp_path)
    before = load_run(run).rows()
    config = json.loads((run / "config.json").read_text())
    own = config["arguments"][1:]
    config["arguments"] = ["ber", *words, *own] if place == "front" else ["ber", *own, *words]
    (run / "config.json").write_text(json.dumps(config))
    said = resumed(run, capsys)
    assert simulated == [] and "modulation qpsk" in said  # a table, neither JSON, nor a plan, nor help
    assert load_run(run).rows() == before and names(tmp_path) == ["run"]


@pytest.mark.parametrize("words", HOSTILE[:2])
def test_what_a_foreign_image_run_asks_for_beside_its_result_is_not_heard(
    capsys, monkeypatch, tmp_path, words
):
    def connects(*arguments, **named):
        raise AssertionError("connects")

    monkeypatch.setattr("jax.distributed.initialize", connects)
    saved = ["run", "ujscc", "--esno-db", "3", "--seed", "5", *words]
    (tmp_path / "config.json").write_text(
        json.dumps({"command": "run", "arguments": saved, "environment": {}})
    )
    assert "made with other settings" in resumed(tmp_path, capsys, "--limit", "1", command="run", status=2)
    again = ["--resume", str(tmp_path)]
    assert with_saved(["run", *again], COMMANDS) == ["run", "ujscc", "--esno-db", "3", "--seed", "5", *again]
    assert with_saved(["run", "stsc", *again], COMMANDS)[:2] == ["run", "stsc"]
    (tmp_path / "rate=0.1").mkdir()
    (tmp_path / "rate=0.1" / "config.json").write_text((tmp_path / "config.json").read_text())
    for odd in (["--resume", str(tmp_path / "rate=0.1")], [f"--resume={tmp_path / 'rate=0.1'}"]):
        assert with_saved(["run", *odd], COMMANDS) == ["run", "ujscc", "--esno-db", "3", "--seed", "5", *odd]
    with pytest.raises(ValueError, match="was made by `semsim run`: resume it with that command"):
        with_saved(["ber", *again], COMMANDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": "ber --seed 3"}, "the arguments in config.json are no command line"),
        ({"arguments": {"seed": 3}}, "are no command line"),
        ({"arguments": ["ber", 7, None]}, "are no command line"),
        ({"arguments": ["ber", *["--ebno-db"] * 2000]}, "are no command line"),
        ({"arguments": ["ber", "--seed", "9" * 400]}, "seed must be in"),
        ({"arguments": ["ber", "--max-bits", "1e999"]}, "--max-bits must be in"),
        ({"arguments": ["ber", "--ebno-db", "0:1e300:1e-300"]}, "--ebno-db"),
        ({"arguments": ["ber", "--ebno-db", "0:inf:1"]}, "--ebno-db"),
        (
            {"arguments": ["ber", "--k", "1" + "0" * 30, "--n", "2" + "0" * 30, "--code", "ldpc"]},
            r"k must be in \[1, 1,277,992\]",
        ),
        ({"arguments": ["ber", "--channel", "recorded:/dev/zero"]}, "/dev/zero"),
        ({"arguments": ["ber", "--channel", "recorded:https://127.0.0.1:9/x"]}, "127.0.0.1"),
        ({"command": ["ber"]}, "was made by"),
        ({"stop": 7, "seed": {"a": []}}, "made with other settings"),
        ({"environment": None}, "made with other settings"),
        ({"seed\x1b[2J": 1}, r"seed\?\[2J"),
    ],
)
def test_an_odd_config_is_one_line_before_anything_runs(run, simulated, capsys, change, message):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **change}))
    said = resumed(run, capsys, status=2)
    assert re.search(message, said) and said.count("\n") == 1 and "\x1b" not in said, said
    assert simulated == []


@pytest.mark.parametrize("text", ["[" * 100_000, "7", '{"a": ', "\x00", "9" * 10_000])
def test_what_is_no_config_is_one_line(run, simulated, capsys, text):
    (run / "config.json").write_text(text)
    assert "config.json is missing or damaged" in resumed(run, capsys, status=2)
