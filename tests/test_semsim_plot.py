"""Figures show what the rows say."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from semsim import plot, theory
from semsim.coding import Coding
from semsim.error_rates import ber
from semsim.runs import Run
from semsim.sweep import Totals


def error_row(modulation, channel, ebno_db, value, errors=100, **more):
    esno_db = ebno_db + {"bpsk": 0.0, "qam16": 6.0206}[modulation]
    return {
        "modulation": modulation, "channel": channel, "csi": "perfect", "demap": "nearest", "ebno_db": ebno_db,
        "esno_db": esno_db, "metric": "ber", "errors": errors, "value": value, "low": value / 2,
        "high": value * 2 if errors else 3e-8, **more,
    }  # fmt: skip


ROWS = [
    error_row("qam16", "awgn", 8.0, 1e-2),
    error_row("qam16", "awgn", 0.0, 1e-1),
    error_row("qam16", "awgn", 16.0, 0.0, errors=0),
    error_row("bpsk", "tdl-a", 0.0, 2e-1),
    error_row("qam16", "tdl-a", 0.0, 3e-1),
    error_row("qam16", "rician-block", 0.0, 3e-1, k_db=5.0),
    error_row("qam16", "rician-block", 9.0, 3e-2, k_db=5.0),
    error_row("qam16", "awgn", 0.0, 0.4) | {"metric": "ser"},
]


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


def test_an_error_rate_figure_draws_points_in_order_with_bands():
    figure = plot.error_rate_figure(ROWS)
    assert [axes.get_title() for axes in figure.axes] == ["awgn", "tdl-a", "rician-block"]
    (line,) = lines(figure.axes[0], "qam16")
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1e-1], [8, 1e-2]])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.5e-2 and band[:, 1].max() == 2e-1
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_xlabel() == "$E_b/N_0$ (dB)" and figure.axes[0].get_ylabel() == "bit error rate"


def test_a_point_without_errors_is_an_open_triangle_at_its_upper_bound():
    axes = plot.error_rate_figure(ROWS).axes[0]
    (triangle,) = lines(axes, plot.NO_ERROR)
    np.testing.assert_array_equal(triangle.get_xydata(), [[16, 3e-8]])
    assert triangle.get_marker() == "v" and triangle.get_markerfacecolor() == "none"
    assert triangle.get_linestyle() == "None"
    assert all(
        one.get_ylim()[0] < 3e-8 for one in plot.error_rate_figure(ROWS).axes
    )  # one scale, nothing cut off


def test_triangles_stand_on_the_axis_and_do_not_hide_each_other():
    blind = [*ROWS, error_row("bpsk", "awgn", 4.0, 1e-2), error_row("bpsk", "awgn", 16.0, 0.0, errors=0)]
    axes = plot.error_rate_figure(blind).axes[0]
    triangles = lines(axes, plot.NO_ERROR)
    assert [list(line.get_xdata()) for line in triangles] == [[16], [16]]
    places = [line.get_transform().transform(line.get_xydata())[0] for line in triangles]
    assert abs(places[0][0] - places[1][0]) * 72 / axes.figure.dpi == pytest.approx(plot.BESIDE)
    dotted = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_xydata().tolist() for line in dotted] == 2 * [[[16, plot.NOWHERE], [16, 3e-8]]]
    assert all(one.get_color() == line.get_color() for one, line in zip(dotted, triangles, strict=True))


def test_a_line_has_a_gap_where_no_error_was_seen():
    gap = [*ROWS, error_row("qam16", "awgn", 4.0, 0.0, errors=0)]
    (line,) = lines(plot.error_rate_figure(gap).axes[0], "qam16")
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1e-1], [4, np.nan], [8, 1e-2]])


def test_the_legend_is_beside_the_panels():
    figure = plot.error_rate_figure(ROWS, note="seed 3")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1
    assert figure.get_suptitle() == "seed 3"


def test_a_figure_says_which_images_it_is_about():
    data = {"name": "embedded", "images": 64, "photographs": 7}
    runs = [
        Run(None, config, Totals())
        for config in ({"seed": 3, "data": data}, {"seed": 3, "data": data}, {"seed": 4})
    ]
    assert plot.source_note(runs) == "64 images of embedded, from 7 photographs, seed 3; seed 4"
    title = plot.quality_figure(QUALITY, note=plot.source_note(runs[:1])).get_suptitle()
    assert title.startswith("64 images of embedded, from 7 photographs, seed 3\n")


def test_one_photograph_has_a_mark_for_a_band():
    unknown = [
        {
            **row,
            "metric": "psnr",
            "system": "ujscc",
            "cbr": 0.1,
            "cbr_payload": 0.1,
            "low": -np.inf,
            "high": np.inf,
        }
        for row in ROWS[:2]
    ]
    axes = plot.quality_figure(unknown).axes[0]
    (marks,) = lines(axes, plot.NO_INTERVAL)
    assert len(marks.get_xydata()) == 2 and not axes.collections
    assert plot.NO_INTERVAL in [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert not lines(plot.error_rate_figure(ROWS).axes[0], plot.NO_INTERVAL)


def test_theory_is_drawn_where_there_is_a_closed_form():
    awgn, tdl, rician = plot.error_rate_figure(ROWS).axes
    (line,) = lines(awgn, plot.THEORY)
    assert line.get_color() == "black"
    x, y = line.get_xydata().T
    assert (x[0], x[-1]) == pytest.approx((0, 16))
    np.testing.assert_allclose(y, theory.ber("qam16", x + 6.0206))
    assert lines(tdl, plot.THEORY) == []
    (line,) = lines(rician, plot.THEORY)
    x, y = line.get_xydata().T
    np.testing.assert_allclose(y, theory.ber("qam16", x + 6.0206, "rician", 5.0))


def test_one_legend_names_every_line_once_and_a_name_has_one_colour():
    figure = plot.error_rate_figure(ROWS)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["qam16", "bpsk", plot.NO_ERROR, plot.THEORY] or names == [
        "qam16",
        "bpsk",
        plot.THEORY,
        plot.NO_ERROR,
    ]
    colours = {to_rgba(line.get_color()) for axes in figure.axes for line in lines(axes, "qam16")}
    assert len(colours) == 1 and to_rgba(lines(figure.axes[1], "bpsk")[0].get_color()) not in colours


def test_lines_are_told_apart_by_run_receiver_and_decision():
    rows = [
        error_row("bpsk", "tdl-a", 0.0, 0.1),
        error_row("bpsk", "tdl-a", 0.0, 0.2, csi="ls"),
        error_row("bpsk", "tdl-a", 0.0, 0.3, demap="app", run="second"),
    ]
    axes = plot.error_rate_figure(rows).axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["bpsk", "bpsk ls", "second bpsk app"]


def test_the_symbol_error_rate_has_its_own_figure():
    (axes,) = plot.error_rate_figure(ROWS, ("ser",)).axes
    np.testing.assert_array_equal(lines(axes, "qam16")[0].get_xydata(), [[0, 0.4]])
    assert axes.get_ylabel() == "symbol error rate"


def quality_row(modulation, channel, esno_db, metric, value, **more):
    return {
        "system": "ujscc", "modulation": modulation, "channel": channel, "csi": "perfect", "demap": "nearest",
        "esno_db": esno_db, "metric": metric, "value": value, "low": value * 0.9, "high": value * 1.1,
        "cbr": 0.1875, "cbr_payload": 1 / 12, **more,
    }  # fmt: skip


QUALITY = [
    quality_row(modulation, channel, esno_db, metric, value, **({"errors": 4} if metric == "ser" else {}))
    for modulation in ("bpsk", "qam16")
    for channel in ("awgn", "tdl-a")
    for esno_db in (0.0, 10.0)
    for metric, value in (("psnr", 20.0 + esno_db), ("ssim", 0.5), ("ser", 1e-6))
]


def test_a_code_is_one_line_however_many_words_its_points_took():
    coding = Coding("ldpc", 100, 200)
    rows = ber("qpsk", "awgn", [0.0, 6.0], coding=coding, min_errors=10, max_bits=1e6).rows()
    assert len({row["n"] for row in rows if row["metric"] == "bler"}) == 2
    (drawn,) = lines(plot.error_rate_figure(rows, ("bler",)).axes[0], "qpsk 100/200")
    assert list(drawn.get_xdata())[0] == 0


def test_a_quality_figure_has_a_line_of_panels_for_each_metric():
    figure = plot.quality_figure(QUALITY)
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["PSNR (dB)", "SSIM", "symbol error rate"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["awgn", "tdl-a"]
    np.testing.assert_array_equal(lines(figure.axes[1], "ujscc qam16")[0].get_xydata(), [[0, 20], [10, 30]])
    assert [axes.get_yscale() for axes in figure.axes[::2]] == ["linear", "linear", "log"]
    assert figure.axes[4].get_ylim()[0] < 1e-6
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ujscc bpsk", "ujscc qam16"]


def test_rates_of_one_system_are_lines_of_their_own():
    third = [{**row, "cbr_payload": 1 / 3, "value": row["value"] + 5} for row in QUALITY]
    axes = plot.quality_figure(QUALITY + third, ("psnr",)).axes[0]
    np.testing.assert_array_equal(lines(axes, "ujscc qam16 CBR 1/12")[0].get_xydata(), [[0, 20], [10, 30]])
    np.testing.assert_array_equal(lines(axes, "ujscc qam16 CBR 1/3")[0].get_xydata(), [[0, 25], [10, 35]])


def test_a_figure_prints_the_ledger_total():
    assert "0.0833 payload, 0.1875 in all" in plot.quality_figure(QUALITY).get_suptitle()


def test_metrics_that_nothing_has_are_left_out():
    analogue = [row for row in QUALITY if row["metric"] != "ser"]
    assert len(plot.quality_figure(analogue).axes) == 4
    with pytest.raises(ValueError, match="nothing to draw: no finished point has ber"):
        plot.error_rate_figure(QUALITY)
    with pytest.raises(ValueError, match="no finished point has psnr or ssim or ser"):
        plot.quality_figure([])


def test_a_mosaic_shows_the_pictures_themselves():
    pictures = np.random.default_rng(0).random((2, 3, 4, 4, 3))
    captions = [["", "20.10 dB", "21.00 dB"], ["", "19.10 dB", "18.00 dB"]]
    figure = plot.mosaic(pictures, ("original", "bpsk", "qpsk"), ("awgn", "tdl-a"), captions)
    assert [axes.get_xlabel() for axes in figure.axes] == sum(captions, [])
    shown = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(np.reshape(shown, pictures.shape), pictures)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["original", "bpsk", "qpsk"]
    assert figure.axes[3].get_ylabel() == "tdl-a"


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_saving(tmp_path, name):
    path = plot.save(plot.error_rate_figure(ROWS), tmp_path / name)
    assert path.stat().st_size > 1000
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [("no/where.png", "cannot write .*no/where.png: No such file"), ("a.pgn", "did you mean png?")],
)
def test_a_figure_that_cannot_be_saved(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        plot.save(plot.error_rate_figure(ROWS), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "missing", [RuntimeError("'xelatex' not found"), ImportError("no Pillow"), KeyError("AVIF")]
)
def test_a_kind_of_picture_whose_tool_is_missing_is_one_line(tmp_path, monkeypatch, missing):
    def failing(self, where, **how):
        where.write_bytes(b"half")
        raise missing

    monkeypatch.setattr(Figure, "savefig", failing)
    with pytest.raises(
        ValueError, match=r"^cannot write .*a.pgf: .*: take another kind, such as png, svg or pdf$"
    ):
        plot.save(plot.error_rate_figure(ROWS), str(tmp_path / "a.pgf"))
    assert list(tmp_path.iterdir()) == []


def test_estimates_by_importance_sampling_have_no_counts_and_are_named():
    rows = [error_row("qam16", "awgn", x, 10.0**-x, estimator="importance") for x in (4.0, 9.0)]
    for row in rows:
        del row["errors"]
    axes = plot.error_rate_figure(rows).axes[0]
    (line,) = lines(axes, "qam16 importance")
    np.testing.assert_allclose(line.get_ydata(), [1e-4, 1e-9])
    assert axes.get_ylim()[0] < 1e-9
