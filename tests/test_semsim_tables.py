"""Tables that fit: at any width every number is whole, and nothing is lost."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from semsim.tables import fitting, print_table

KEYS = ("modulation", "channel", "esno_db", "metric")
ROWS = [
    {
        "modulation": modulation, "channel": channel, "esno_db": snr, "metric": metric, "errors": "2097152",
        "value": value, "95 % interval": f"{value} .. {value}9",
    }
    for modulation in ("qam16", "qam1024")
    for channel in ("awgn", "rayleigh-block")
    for snr in ("-10", "0")
    for metric, value in (("ber", "0.1408"), ("ser", "0.4785"))
]  # fmt: skip


def shown(width):
    out = io.StringIO()
    for part in fitting(ROWS, KEYS, width):
        Console(file=out, width=width or 200).print(part) if isinstance(part, Table) else print(
            part, file=out
        )
    return out.getvalue()


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, None])
def test_numbers_are_whole_and_lines_fit_at_any_width(width):
    text = shown(width)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= (width or 200)
    assert text.split().count("0.1408") == 2 * 8 or width == 24  # as a value and as the lower end
    assert text.replace(",", "").split().count("0.14089") == 8


def test_what_all_rows_share_is_said_once():
    text = shown(40)
    assert (
        text.count("modulation qam16\n") == 1 and text.count("rayleigh-block") == 2 and "qam16 " not in text
    )
    assert shown(None).count("modulation") == 1  # one table, whose header names the column
    (said, table) = fitting(ROWS[:1], KEYS, 80)
    assert said == "modulation qam16, channel awgn, esno_db -10, metric ber"
    assert [str(column.header) for column in table.columns] == ["errors", "value", "95 % interval"]


def test_a_pipe_is_as_wide_as_the_table_and_columns_are_heard(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(ROWS, KEYS, ["a note"])
    wide = capsys.readouterr().out
    assert max(map(len, wide.splitlines())) > 80 and wide.endswith("a note\n")
    monkeypatch.setenv("COLUMNS", "0")  # as some wrappers set it
    print_table(ROWS, KEYS, ["a note"])
    assert capsys.readouterr().out == wide
    monkeypatch.setenv("COLUMNS", "50")
    print_table(ROWS, KEYS)
    assert max(len(line.rstrip()) for line in capsys.readouterr().out.splitlines()) <= 50


def test_names_of_files_are_no_markup(capsys):
    print_table(
        [{"channel": name, "value": "1"} for name in ("recorded:runs/[old]/r.npz", "recorded:[/b]")],
        ("channel",),
    )
    said = capsys.readouterr().out
    assert "recorded:runs/[old]/r.npz" in said and "recorded:[/b]" in said
