"""What cannot fit is refused by its shapes, with the numbers, before a byte of it is asked for."""

import re

import jax
import jax.numpy as jnp
import pytest

from semsim import cli, memory
from semsim.memory import check_fits, host_memory, largest_array


def test_the_largest_array_is_found_wherever_it_is():
    def flat(x):
        return jnp.sum(x[:, None] * x[None])

    def inside(x):
        return jax.lax.map(lambda y: jnp.outer(jnp.ones(50) * y, jnp.ones(70)).sum(), x)

    x = jax.ShapeDtypeStruct((30,), jnp.float32)
    assert largest_array(jax.make_jaxpr(flat)(x).jaxpr) == 30 * 30 * 4
    assert largest_array(jax.make_jaxpr(inside)(x).jaxpr) == 50 * 70 * 4
    huge = jax.make_jaxpr(lambda x: jnp.zeros((2**30, 2**30), jnp.float32).sum() + x[0])(x)
    assert largest_array(huge.jaxpr) == 2**62


@pytest.mark.parametrize(
    ("limit", "exact", "fits"),
    [
        (10**9, None, True),  # far from it: the compiler is not asked
        (60_000, 10_000, True),  # two devices take 20,000
        (60_000, 31_000, False),
        (7_000, None, False),  # the arrays alone are too large: the compiler is not asked
    ],
)
def test_devices_of_a_host_share_its_memory_and_doubts_are_the_compilers(monkeypatch, limit, exact, fits):
    monkeypatch.setattr(memory, "host_memory", lambda: limit)
    program = jax.make_jaxpr(lambda x: jnp.outer(x, x).sum())(jnp.ones(30)).jaxpr  # 3,600 bytes

    def asked():
        assert exact is not None
        return exact

    if fits:
        check_fits(program, jax.devices()[:2], asked, "take less")
    else:
        with pytest.raises(ValueError, match=r"at least 0\.\d MiB of memory, this machine has .*: take less"):
            check_fits(program, jax.devices()[:2], asked, "take less")


def test_a_container_has_what_it_was_given(monkeypatch, tmp_path):
    whole = host_memory()
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "some").write_text("123456789\n")
    monkeypatch.setattr(memory, "CGROUPS", (str(tmp_path / "max"), str(tmp_path / "none")))
    assert whole is not None and host_memory() == whole and whole > 10**8
    monkeypatch.setattr(memory, "CGROUPS", (str(tmp_path / "max"), str(tmp_path / "some")))
    assert host_memory() == 123456789


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--batch", "100000000000"],
            "TiB of memory, .* set batch, now 100000000000 realisations at once, lower",
        ),
        (
            ["--code", "ldpc", "--k", "10000000", "--n", "20000000"],
            r"k must be in \[1, 1,277,992\]; got 10000000",
        ),
        (["--num-rx", "1000", "--scheme", "mrc"], r"--num-rx must be in \[1, 256\]; got 1000"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_what_killed_a_machine_or_kept_it_silent_is_one_line(capsys, tmp_path, words, message, plan):
    out = tmp_path / "run"
    assert (
        cli.main(["ber", "--ebno-db", "10", "--channel", "rayleigh", *words, *plan, "--out", str(out)]) == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said), said
