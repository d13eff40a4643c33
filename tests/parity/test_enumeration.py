"""A sample of the parity table; and that the comparison notices what it is there to notice."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from minicnn import ops
from tests import oracle
from tests.conftest import PROFILE
from tests.parity import table
from tests.parity.comparison import TOLERANCE, compare, error
from tests.parity.enumeration import GRIDS, Case, Positive, cases

SAMPLE = {"brief": 10, "thorough": 1000}.get(PROFILE, 100)


@pytest.mark.parametrize("op", GRIDS)
def test_a_sample_of_the_table(op: str) -> None:
    row = table.row_of(table.sampled(op, SAMPLE))
    assert not row.faults
    assert row.verdicts["compared"] > 0
    for (dtype, _), worst in row.errors.items():
        assert worst <= TOLERANCE[dtype]


def test_every_operation_has_a_grid() -> None:
    assert set(GRIDS) == set(ops.__all__)


@pytest.mark.slow
def test_the_cases_are_the_same_each_time() -> None:
    assert table.sampled("conv2d", 5) == table.sampled("conv2d", 5)
    first, again = (cases("cross_entropy")[1234].call(np.float64).arrays for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("op", GRIDS)
def test_no_case_comes_twice(op: str) -> None:
    """Numbers and pairs of them, a stride and its default: one geometry has one spelling."""

    def spelled(case: Case) -> str:
        options = {k: (v, v) if type(v) is int else v for k, v in case.options.items()}
        if options.get("stride", 0) is None:
            options["stride"] = options["kernel_size"]
        return repr((case.arrays, options))

    every = cases(op)
    assert len({spelled(case) for case in every}) == len(every)


# ------------------------------------------------------------------------------- faults, planted

RELU = Case("relu", ((2, 3),), {})
LINEAR = Case("linear", ((2, 3), (4, 3), (4,)), {}, 3)
POOL = Case("max_pool2d", ((1, 2, 4, 5),), {"kernel_size": 2})
ILLEGAL = Case("max_pool2d", ((1, 2, 4, 5),), {"kernel_size": 9})
NORM = Case(
    "batch_norm", ((3, 2), (2,), (2,), (2,), Positive((2,))),
    {"training": True, "momentum": 0.1, "eps": 1e-5}, 3,
)  # fmt: skip


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch):
    """Return a function that lets ``change`` spoil what an operation returns."""

    def plant(op: str, which: str, change) -> None:
        module = getattr(ops, op)
        sound = getattr(module, which)
        monkeypatch.setattr(module, which, lambda *a, **k: change(sound(*a, **k)))

    return plant


def moved(array: np.ndarray, by: float) -> np.ndarray:
    """Return the array with its last element moved by a part of its magnitude."""
    array = array.copy()
    array[(-1,) * array.ndim] *= 1 + by
    return array


@pytest.mark.parametrize("case", [RELU, LINEAR, POOL, NORM, ILLEGAL], ids=str)
def test_sound_operations_have_no_faults(case: Case) -> None:
    assert not compare(case).faults


@pytest.mark.parametrize("by", [1e-9, 1e-4])
def test_a_wrong_value_is_noticed(plant, by: float) -> None:
    plant("linear", "forward", lambda result: (moved(result[0], by), result[1]))
    faults = compare(LINEAR).faults
    assert any("float64 fast: y is wrong by" in fault for fault in faults)
    assert any("float32 textbook: y is wrong by" in fault for fault in faults) == (by == 1e-4)
    assert not any(fault for fault in faults if ": d" in fault)


@pytest.mark.parametrize(("which", "name"), [(0, "dx"), (1, "dweight"), (2, "dbias")])
def test_a_wrong_gradient_is_noticed(plant, which: int, name: str) -> None:
    def spoilt(gradients: tuple) -> tuple:
        return tuple(moved(g, 0.1) if i == which else g for i, g in enumerate(gradients))

    plant("linear", "backward", spoilt)
    faults = compare(LINEAR).faults
    assert len(faults) == 4
    assert all(f": {name} is wrong by" in fault for fault in faults)


def test_a_missing_gradient_is_noticed(plant) -> None:
    plant("linear", "backward", lambda gradients: (*gradients[:2], None))
    assert all(fault.endswith("dbias is None on one side only") for fault in compare(LINEAR).faults)
    assert len(compare(LINEAR).faults) == 4


def test_another_winner_is_noticed(plant) -> None:
    def other(result: tuple) -> tuple:
        y, cache = result
        return y, cache._replace(winner=(cache.winner + 1) % 4)

    plant("max_pool2d", "forward", other)
    assert any(fault.endswith("other winners") for fault in compare(POOL).faults)


def test_running_arrays_left_as_they_were_are_noticed(monkeypatch) -> None:
    sound = ops.batch_norm.forward

    def forgetful(x, weight, bias, mean, var, **options):
        return sound(x, weight, bias, mean.copy(), var.copy(), **options)

    monkeypatch.setattr(ops.batch_norm, "forward", forgetful)
    faults = compare(NORM).faults
    assert len(faults) == 8
    assert all("running_" in fault for fault in faults)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_another_dtype_is_noticed(plant, dtype: type) -> None:
    plant("relu", "backward", lambda dx: dx.astype(dtype))
    found = [fault for fault in compare(RELU).faults if f"dx is {np.dtype(dtype)}" in fault]
    assert len(found) == 2  # of the other dtype, in both implementations


@pytest.mark.parametrize("case", [POOL, ILLEGAL], ids=["legal", "illegal"])
def test_a_disagreement_about_legality_is_noticed(monkeypatch, case: Case) -> None:
    def forward(*args, **options):
        if case is POOL:
            raise ValueError("no")
        return SimpleNamespace(), None

    monkeypatch.setattr(ops.max_pool2d, "forward", forward)
    faults = compare(case).faults
    words = "rejected by minicnn with ValueError" if case is POOL else "accepted by minicnn alone"
    assert len(faults) == 4
    assert all(words in fault for fault in faults)


def test_an_outcome_that_differs_on_purpose_is_held_to_it(monkeypatch) -> None:
    case = Case("avg_pool2d", ((1, 2, 4, 5),), {"kernel_size": 2, "divisor_override": -2})
    outcome = compare(case)
    assert outcome.verdict == "apart"
    assert not outcome.faults
    monkeypatch.setattr(ops.avg_pool2d, "forward", lambda *a, **k: (None, None))
    assert len(compare(case).faults) == 4


def test_an_error_of_another_kind_is_no_rejection(monkeypatch) -> None:
    def forward(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(ops.max_pool2d, "forward", forward)
    faults = compare(ILLEGAL).faults
    assert len(faults) == 4
    assert all("rejected by minicnn with ZeroDivisionError" in fault for fault in faults)


def test_nan_and_infinity_have_to_stand_at_the_same_places() -> None:
    theirs = np.array([1.0, np.nan, np.inf, -np.inf])
    ones = np.ones(4)
    assert error(theirs.copy(), theirs, ones) == 0
    for place, value in (0, np.nan), (1, 1.0), (2, -np.inf), (2, np.nan), (3, 5.0):
        ours = theirs.copy()
        ours[place] = value
        assert error(ours, theirs, ones) == np.inf


def test_an_element_without_terms_has_to_be_right() -> None:
    assert error(np.array([1e-300]), np.zeros(1), np.zeros(1)) == np.inf
    assert error(np.zeros(1), np.zeros(1), np.zeros(1)) == 0
    assert error(np.array([3.0]), np.array([2.0]), np.array([4.0])) == 0.25


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def here(monkeypatch):
    """Let the command compute in this process."""

    def rows(wanted, sample, processes):
        for op in wanted:
            yield op, table.row_of(table.sampled(op, sample))

    monkeypatch.setattr(table, "rows", rows)


def test_the_command_writes_the_table(here, tmp_path, capsys) -> None:
    path = tmp_path / "table.md"
    arguments = ["--op", "relu", "--op", "linear", "--sample", "20"]
    assert table.main([*arguments, "--output", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert f"`python -m tests.parity.table {' '.join(arguments)}`" in text
    assert oracle.description() in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")] == [
        "`relu`", "`linear`"
    ]  # fmt: skip
    assert "relu: 20 compared" in capsys.readouterr().out


def test_the_command_fails_and_names_disagreements(here, plant, capsys) -> None:
    plant("relu", "forward", lambda result: (result[0] + 1, result[1]))
    assert table.main(["--op", "relu", "--sample", "20"]) == 1
    captured = capsys.readouterr()
    assert "Disagreements: 0." not in captured.out
    assert "fast: y is wrong by" in captured.err
    assert len(captured.err.splitlines()) == table.NAMED
