"""Mistakes in the words that were typed: frames of the parser unfolded, names of arguments as options."""

import io
from contextlib import redirect_stderr

import pytest
import tyro

from semsim import commands, image_commands
from semsim.mistakes import in_options, said_by_parser


@pytest.mark.parametrize("columns", ["40", "80", "300"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "x"), "--seed takes a whole number; got 'x'"),
        (("--max-bits", "many"), "--max-bits takes a number; got 'many'"),
        (("--min-errors", "1e2"), "--min-errors takes a whole number; got '1e2'"),
        (("--batch", "x"), "--batch takes a whole number or auto; got 'x'"),
        (("--transmissions", "x"), "--transmissions takes one or more of: a whole number; got 'x'"),
        (("--seed",), "--seed needs a value; see semsim ber --help"),
        (("--csi", "perfekt"), "unknown --csi 'perfekt'; did you mean perfect? Choices: perfect, ls, lmmse, robust"),
        (("--colour", "red"), "Unrecognized options: --colour red; see semsim ber --help"),
        (("--ebn0-db", "3"), "Unrecognized options: --ebn0-db 3; did you mean --ebno-db?; see semsim ber --help"),
        (("--grid.num-guard-carriers", "4"), "num_guard_carriers must be two numbers >= 0 (low, high); got (4,)"),
    ],
)  # fmt: skip
def test_the_parser_is_heard_without_its_frame(monkeypatch, words, said, columns):
    monkeypatch.setenv("COLUMNS", columns)
    heard = io.StringIO()
    with pytest.raises(SystemExit), redirect_stderr(heard):
        tyro.extras.subcommand_cli_from_dict(
            {"ber": commands.ber, "run": image_commands.run}, prog="semsim", args=("ber", *words)
        )
    assert said_by_parser(heard.getvalue(), ("ber", *words), commands.ber) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ebno_db must be in [-300, 300] dB; got 1e+09", "--ebno-db must be in [-300, 300] dB; got 1e+09"),
        ("cyclic_prefix_length must be in [0, 72)", "--grid.cyclic-prefix-length must be in [0, 72)"),
        ("csi ls needs pilots, and csi is read once", "--csi ls needs pilots, and csi is read once"),
        ("n=2 is too few for k=1", "--n 2 is too few for k=1"),
        ("stop at rel_width, not at min_errors", "stop at --rel-width, not at --min-errors"),
        ("cannot write to runs/max_bits: no room", "cannot write to runs/max_bits: no room"),
        ("max_bits.npz is no recording", "max_bits.npz is no recording"),
        ("the grid is full", "the grid is full"),
    ],
)
def test_arguments_are_said_as_options(text, said):
    assert in_options(text, commands.ber) == said


def test_what_has_no_name_is_no_option():
    assert in_options("system must be known", image_commands.run) == "system must be known"
    assert in_options("checkpoint x is a folder", image_commands.run) == "--checkpoint x is a folder"
