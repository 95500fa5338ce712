"""Names and ranges: what a user types."""

import math

import numpy as np
import pytest

from semsim.names import check_kind, check_name, parse_range, parse_size


def test_ranges_include_their_stop_and_keep_the_order_given():
    assert parse_range("esno_db", ("0:12:2",)) == (0, 2, 4, 6, 8, 10, 12)
    assert parse_range("esno_db", ("-5:0:2.5", "30", 7)) == (-5, -2.5, 0, 30, 7)
    assert parse_range("esno_db", ("0:0.3:0.1",)) == (0, 0.1, 0.2, 0.3)
    assert parse_range("esno_db", ("3", "0:3:3")) == (3, 0)  # each value once


def test_one_value_is_a_range_of_one():
    for one in (10, 10.0, "10", np.float32(10), np.array(10.0), [10], np.array([10])):
        assert parse_range("esno_db", one) == (10.0,)
    assert parse_range("esno_db", "0:4:2") == parse_range("esno_db", range(0, 5, 2)) == (0, 2, 4)


def test_there_is_one_zero():
    assert [math.copysign(1, value) for value in parse_range("esno_db", (-0.0, "-0", "-2:0:1"))] == [
        1,
        -1,
        -1,
    ]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ((), "esno_db is empty"),
        (("12:0:2",), r"reversed: '12:0:2' should run upwards, 0:12:2"),
        (("0:12:0",), "step of esno_db must be positive"),
        (("0:12:-1",), "step of esno_db must be positive"),
        (("0:12",), "numbers or start:stop:step; got '0:12'"),
        (("ten",), "numbers or start:stop:step; got 'ten'"),
        (("nan",), r"must be in \[-300, 300\] dB; got nan"),
        ((math.inf,), "got inf"),
        (None, "numbers or start:stop:step; got None"),
        ([[3]], r"numbers or start:stop:step; got \[3\]"),
        (("0:1e9:1",), "use a larger step"),
    ],
)
def test_bad_ranges_say_what_would_do(tokens, message):
    with pytest.raises(ValueError, match=message):
        parse_range("esno_db", tokens)


def test_unknown_names_get_the_nearest_and_the_choices():
    assert check_name("channel", "awgn", ("awgn", "tdl-a")) == "awgn"
    with pytest.raises(
        ValueError, match=r"unknown channel 'tdla'; did you mean tdl-a\? Choices: awgn, tdl-a"
    ):
        check_name("channel", "tdla", ("awgn", "tdl-a"))
    with pytest.raises(ValueError, match=r"unknown channel 'zzz'\. Choices: awgn, tdl-a"):
        check_name("channel", "zzz", ("awgn", "tdl-a"))


def test_a_value_of_another_type_is_told_from_what_would_do():
    check_kind("seed", 3, int, "3")
    with pytest.raises(ValueError, match=r"^seed must be of type int, such as 3; got '3'$"):
        check_kind("seed", "3", int, "3")
    with pytest.raises(ValueError, match=r"got a dict$"):
        check_kind("seed", {}, int, "3")


def test_sizes_are_sides_or_width_times_height():
    assert parse_size("size", "256") == (256, 256)
    assert parse_size("size", "768x512") == parse_size("size", "768X512") == (512, 768)
    for text in ("", "0", "-3", "1.5", "8x", "1x2x3", "wide"):
        with pytest.raises(ValueError, match=r"size takes a side such as 256, or WIDTHxHEIGHT .*; got '"):
            parse_size("size", text)
