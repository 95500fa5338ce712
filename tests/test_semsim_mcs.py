"""The schemes of NR against lines of TS 38.214, tables 5.1.3.1-1 and 5.1.3.1-2."""

from fractions import Fraction

import pytest

import phy
from semsim.mcs import MCS, TABLE_1, TABLE_2, schemes


def lines(table):
    return [(phy.num_bits(name), rate) for name, rates in table.items() for rate in rates]


@pytest.mark.parametrize(
    ("table", "index", "order", "rate", "efficiency"),
    [  # as printed, with the spectral efficiency of the same line
        (TABLE_1, 0, 2, 120, 0.2344), (TABLE_1, 5, 2, 379, 0.7402), (TABLE_1, 9, 2, 679, 1.3262),
        (TABLE_1, 10, 4, 340, 1.3281), (TABLE_1, 13, 4, 490, 1.9141), (TABLE_1, 16, 4, 658, 2.5703),
        (TABLE_1, 17, 6, 438, 2.5664), (TABLE_1, 22, 6, 666, 3.9023), (TABLE_1, 27, 6, 910, 5.3320),
        (TABLE_1, 28, 6, 948, 5.5547), (TABLE_2, 0, 2, 120, 0.2344), (TABLE_2, 4, 2, 602, 1.1758),
        (TABLE_2, 5, 4, 378, 1.4766), (TABLE_2, 10, 4, 658, 2.5703), (TABLE_2, 11, 6, 466, 2.7305),
        (TABLE_2, 19, 6, 873, 5.1152), (TABLE_2, 20, 8, 682.5, 5.3320), (TABLE_2, 26, 8, 916.5, 7.1602),
        (TABLE_2, 27, 8, 948, 7.4063),
    ],
)  # fmt: skip
def test_lines_of_the_standard(table, index, order, rate, efficiency):
    assert lines(table)[index] == (order, rate)
    assert order * rate / 1024 == pytest.approx(efficiency, abs=5.1e-5)


def test_the_tables_are_whole_and_auto_is_their_union():
    assert len(lines(TABLE_1)) == 29 and len(lines(TABLE_2)) == 28
    union = {*lines(TABLE_1), *lines(TABLE_2)}
    assert [(phy.num_bits(name), 1024 * Fraction(rate)) for name, rate in MCS] == sorted(union)


def test_a_scheme_is_named_or_of_the_standard():
    assert schemes(("qam16",), ("1/2", "0.5", "1/2")) == [("qam16", "1/2"), ("qam16", "0.5")]
    assert schemes(("auto",), ("auto",)) == list(MCS)
    assert schemes(("qam16",), ("auto",)) == [
        ("qam16", f"{rate}/1024") for rate in (340, 378, 434, 490, 553, 616, 658)
    ]
    assert schemes(("auto",), ("5/6",)) == [(name, "5/6") for name in ("qpsk", "qam16", "qam64", "qam256")]
    with pytest.raises(ValueError, match="at least one modulation"):
        schemes((), ("auto",))
    with pytest.raises(ValueError, match="modulation with coderate auto"):
        schemes(("bpsk",), ("auto",))
