"""Mutations: what counts as noticed, and that the tree is left as it was."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "benchmarks_mutations", Path(__file__).parents[1] / "benchmarks" / "mutations.py"
)
assert SPEC is not None and SPEC.loader is not None
mutations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutations)
WRONG = mutations.Mutation("sign", "a.py", "x + 1", "x - 1", ("test_a.py",))
CODE = "def up(x):\n    return x + 1\n\n\ndef twice(x):\n    return 2 * x\n"


def holds(law, copy):
    names = {}
    exec((copy / "a.py").read_text(), names)
    return eval(law, names)


@pytest.mark.parametrize(
    ("law", "old", "expected"),
    [
        ("up(1) == 2", "x + 1", "killed"),
        ("twice(1) == 2", "x + 1", "survived"),
        ("up(1) == 2", "return", "text is not there once"),
        ("up(1) == 2", "x + 2", "text is not there once"),
    ],
)
def test_a_mutation_is_killed_where_its_tests_fail(tmp_path, monkeypatch, law, old, expected):
    (tmp_path / "a.py").write_text(CODE)
    monkeypatch.setattr(mutations, "passes", lambda tests, copy: holds(law, copy))
    assert mutations.verdict(WRONG._replace(old=old), tmp_path) == expected
    assert (tmp_path / "a.py").read_text() == CODE


def test_no_tests_kill_nothing(tmp_path):
    (tmp_path / "test_a.py").write_text("")
    with pytest.raises(RuntimeError, match="finds no tests: test_a.py -k up"):
        mutations.passes(("test_a.py", "-k", "up"), tmp_path)


def test_a_result_holds_until_its_function_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "TREE", tmp_path)
    (tmp_path / "a.py").write_text(CODE)
    mark = WRONG.mark()
    (tmp_path / "a.py").write_text(CODE.replace("2 * x", "x + x"))
    assert WRONG.mark() == mark
    (tmp_path / "a.py").write_text(CODE.replace("up(x)", "up(x=0)"))
    assert WRONG.mark() != mark
