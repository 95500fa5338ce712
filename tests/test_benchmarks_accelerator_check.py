"""`benchmarks/accelerator_check.py`: a CPU agrees with itself, and a decoder that depends on the chunk is found out."""

import importlib.util
from pathlib import Path
from types import ModuleType

import jax
import pytest

from phy.coding import Decoded, LdpcDecoder, decode

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "accelerator_check.py"
DECODER = ["--codes", "24:40:2", "--words", "20", "--batches", "0", "--draws", "1", "--systems"]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("accelerator_check", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DECODERS", ({}, {"rule": "sum-product", "precision": "float32"}))
    monkeypatch.setattr(module, "CHUNKS", (3, None))
    monkeypatch.setattr(module, "WIDTHS", (2, None))
    monkeypatch.setattr(module, "LINKS", (("qam16", "tdl-a", "ls"),))
    monkeypatch.setattr(module, "GAINS", ("rayleigh-block", "tdl-a"))
    return module


def verdicts(text: str, start: str) -> list[bool]:
    """Whether the comparison of each line that starts so differs by more than it may."""
    return [line.endswith("DIFFERS") for line in text.splitlines() if line.startswith(start)]


def test_a_cpu_agrees_with_itself(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--codes", "24:40:2", "--words", "20", "--batches", "1", "--draws", "4"]
    assert check.main([*small, "--systems", "deepjscc", "--images", "16"]) == 0
    said = capsys.readouterr().out
    assert {len(verdicts(said, name)) for name in ("gains", "link", "PSNR")} == {2}
    assert verdicts(said, "LDPC") == [False] * 4
    assert said.endswith("equal within the rules\n")


@pytest.mark.parametrize("wrong", ["bits", "iterations"])
def test_a_decoder_that_depends_on_the_chunk_is_found_out(
    check: ModuleType, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One wrong value of one word, in chunks of 3 only: int8 lines say so, and the program ends with 1."""
    monkeypatch.setattr(check, "GAINS", ())
    monkeypatch.setattr(check, "LINKS", ())

    def broken(decoder: LdpcDecoder, llr: jax.Array) -> Decoded:
        found = decode(decoder, llr)
        if decoder.chunk != 3:
            return found
        first = (0,) * getattr(found, wrong).ndim
        return found._replace(**{wrong: getattr(found, wrong).at[first].add(1)})

    monkeypatch.setattr(check, "decode", broken)
    assert check.main(DECODER) == 1
    said = capsys.readouterr().out
    assert verdicts(said, "LDPC") == [True, False, False, False]
    assert "1 comparison(s) differ by more" in said


def test_rules_are_kept(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of so many: floats may round otherwise, and no more than that."""
    assert [check._allowed(check.MOST_WORDS, count) for count in (20, 2_999, 4_000)] == [2, 2, 4]
    assert check.Line("", "", 100, 2, 2, 0.0).holds and not check.Line("", "", 100, 3, 2, 0.0).holds
    monkeypatch.setattr(check, "fade", lambda key, *rest: jax.random.normal(key, (4, 9)) * next(scales))
    scales = iter([1.0, 1.0 + 1e-6, 1.0, 1.001])
    here = jax.devices()[0]
    monkeypatch.setattr(check, "GAINS", ("rayleigh", "rayleigh"))
    assert [line.holds for line in check.gains(4, here, here)] == [True, False]
