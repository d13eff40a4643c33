"""What every module does: the tree, gradients that add, settings, the state dict, the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError, nn
from minicnn.nn import StateDictError
from minicnn.nn.module import needs_image
from tests.pytorch import torch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small(seed: int = 0) -> nn.Sequential:
    """Return a network with a convolution, dropout and a child inside a child."""
    r = rng(seed)
    return nn.Sequential(
        conv=nn.Conv2d(2, 3, 3, rng=r),
        body=nn.Sequential(act=nn.ReLU(), drop=nn.Dropout(0.5, rng=r)),
        flatten=nn.Flatten(),
        head=nn.Linear(12, 4, rng=r),
    )


X = rng(1).standard_normal((5, 2, 4, 4)).astype(np.float32)
DY = rng(2).standard_normal((5, 4)).astype(np.float32)


def gradients(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: param.grad.copy() for name, param in model.named_parameters()}


def one_pass(model: nn.Module, x: np.ndarray = X, dy: np.ndarray = DY, **options):
    y, cache = model.forward(x, training=False)
    return y, model.backward(dy, cache, **options)


# --------------------------------------------------------------------------------------- the tree


class WithBuffer(nn.Module):
    """A layer of somebody else's: a parameter, two buffers, an option."""

    def __init__(self) -> None:
        self.scale = nn.Param(np.ones(2, np.float32))
        self.mean = np.zeros(2, np.float32)
        self.count = np.zeros((), np.int64)
        self.name = "not an array"


def test_names_are_the_paths_of_attributes() -> None:
    model = small()
    assert [name for name, _ in model.named_modules()] == [
        "", "conv", "body", "body.act", "body.drop", "flatten", "head",
    ]  # fmt: skip
    names = ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_generators()] == ["body.drop.rng"]


def test_arrays_are_buffers_and_belong_to_the_state() -> None:
    model = nn.Sequential(a=WithBuffer())
    assert [name for name, _ in model.named_buffers()] == ["a.mean", "a.count"]
    assert list(model.state_dict()) == ["a.scale", "a.mean", "a.count"]


def test_a_module_used_twice_has_its_parameters_once() -> None:
    layer = nn.Linear(3, 3, rng=rng())
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert len(model.parameters()) == 2


def test_a_module_without_passes_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"^WithBuffer has no forward\.$"):
        WithBuffer().forward(X, training=True)
    with pytest.raises(NotImplementedError, match=r"^WithBuffer has no backward\.$"):
        WithBuffer().backward(X, None)


def test_calling_a_module_is_inference() -> None:
    model = small()
    before = model.body.drop.rng.bit_generator.state
    np.testing.assert_array_equal(model(X), model.forward(X, training=False)[0])
    assert model.body.drop.rng.bit_generator.state == before
    assert (model.forward(X, training=True)[0] != model(X)).any()


# -------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("impl", ["fast", "textbook"])
def test_gradients_add_on_a_second_backward(impl: str) -> None:
    model = small().set_impl(impl)
    _, dx = one_pass(model)
    once = gradients(model)
    assert all((g != 0).any() for g in once.values())
    _, again = one_pass(model)
    np.testing.assert_array_equal(again, dx)
    for name, gradient in gradients(model).items():
        np.testing.assert_array_equal(gradient, 2 * once[name])


def test_zero_grad_empties_the_same_arrays() -> None:
    model = small()
    held = [param.grad for param in model.parameters()]
    one_pass(model)
    model.zero_grad()
    assert all((g == 0).all() for g in gradients(model).values())
    assert all(param.grad is grad for param, grad in zip(model.parameters(), held, strict=True))


def test_two_passes_can_interleave() -> None:
    model = small()
    dx, apart = [], []
    for x in (X, -X):
        model.zero_grad()
        dx.append(one_pass(model, x)[1])
        apart.append(gradients(model))
    model.zero_grad()
    _, first = model.forward(X, training=False)
    _, second = model.forward(-X, training=False)
    np.testing.assert_array_equal(model.backward(DY, first), dx[0])
    np.testing.assert_array_equal(model.backward(DY, second), dx[1])
    for name, gradient in gradients(model).items():
        np.testing.assert_array_equal(gradient, apart[0][name] + apart[1][name])


@pytest.mark.parametrize("impl", ["fast", "textbook"])
def test_without_input_grad_the_parameters_receive_the_same(impl: str) -> None:
    model = small().set_impl(impl)
    _, dx = one_pass(model)
    assert dx is not None
    with_it = gradients(model)
    model.zero_grad()
    _, dx = one_pass(model, input_grad=False)
    assert dx is None
    for name, gradient in gradients(model).items():
        np.testing.assert_array_equal(gradient, with_it[name])


def test_passes_write_to_no_argument() -> None:
    x, dy = X.copy(), DY.copy()
    one_pass(small(), x, dy)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(dy, DY)


# --------------------------------------------------------------------------------------- settings


def test_freeze_stops_gradients_and_lets_them_again() -> None:
    model = small()
    assert model.freeze() is model
    assert not any(param.trainable for param in model.parameters())
    _, dx = one_pass(model)
    assert dx is not None
    assert all((g == 0).all() for g in gradients(model).values())
    model.freeze(False)
    _, thawed = one_pass(model)
    np.testing.assert_array_equal(thawed, dx)
    assert all((g != 0).any() for g in gradients(model).values())


@pytest.mark.parametrize("frozen", ["conv", "head"])
def test_freezing_a_part_leaves_the_rest_to_learn(frozen: str) -> None:
    model = small()
    one_pass(model)
    free = gradients(model)
    model.zero_grad()
    getattr(model, frozen).freeze()
    _, dx = one_pass(model, input_grad=False)
    assert dx is None
    for name, gradient in gradients(model).items():
        expected = 0 * free[name] if name.startswith(frozen) else free[name]
        np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("part", ["conv", "head"])
def test_freezing_one_parameter_leaves_its_neighbour_to_learn(part: str, frozen: str) -> None:
    model = small()
    one_pass(model)
    free = gradients(model)
    model.zero_grad()
    getattr(getattr(model, part), frozen).trainable = False
    one_pass(model)
    for name, gradient in gradients(model).items():
        if name != f"{part}.{frozen}":
            np.testing.assert_array_equal(gradient, free[name], err_msg=name)


def test_set_impl_reaches_every_module() -> None:
    model = small()
    assert model.set_impl("textbook") is model
    assert {module.impl for _, module in model.named_modules()} == {"textbook"}
    with pytest.raises(ValueError, match=r"^Sequential: impl must be one of fast, textbook, got"):
        model.set_impl("quick")


def test_set_impl_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    original = nn.conv.conv2d.forward
    monkeypatch.setattr(
        nn.conv.conv2d,
        "forward",
        lambda *args, impl: ran.append(impl) or original(*args, impl=impl),
    )
    model = small()
    model(X)
    model.set_impl("textbook")(X)
    assert ran == ["fast", "textbook"]


def test_astype_turns_parameters_gradients_and_floating_buffers() -> None:
    model = nn.Sequential(a=WithBuffer(), b=small())
    assert model.astype(np.float64) is model
    assert {p.data.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert model.a.mean.dtype == np.float64
    assert model.a.count.dtype == np.int64
    y, dx = one_pass(model.b, X.astype(np.float64), DY.astype(np.float64))
    assert y.dtype == dx.dtype == np.float64


def test_astype_and_back_keeps_the_values() -> None:
    model = small()
    before = model.state_dict()
    for name, array in model.astype(np.float64).astype(np.float32).state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_astype_takes_float32_and_float64_only(dtype: type) -> None:
    model = small()
    message = f"^astype: float32 or float64 is needed, got {np.dtype(dtype)}.$"
    with pytest.raises(TypeError, match=message):
        model.astype(dtype)
    assert {p.data.dtype for p in model.parameters()} == {np.dtype(np.float32)}


# ------------------------------------------------------------------------------------------ state


def test_the_state_dict_is_a_copy() -> None:
    model = small()
    state = model.state_dict()
    state["conv.weight"][...] = 7
    assert (model.conv.weight.data != 7).all()


def test_the_state_dict_goes_module_by_module_as_torchs() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False))
    theirs = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2, affine=False))
    assert list(model.state_dict()) == list(theirs.state_dict())


def test_load_state_dict_copies_and_keeps_the_dtype() -> None:
    model, other = small(0), small(1).astype(np.float64)
    held = model.conv.weight.data
    model.load_state_dict(other.state_dict())
    assert model.conv.weight.data is held
    assert held.dtype == np.float32
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name].astype(np.float32))
    other.conv.weight.data[...] = 9
    assert (held != 9).all()


def test_load_state_dict_fills_buffers() -> None:
    model = WithBuffer()
    state = {"scale": np.ones(2), "mean": np.array([1.0, 2.0]), "count": np.array(5)}
    model.load_state_dict(state)
    np.testing.assert_array_equal(model.mean, [1, 2])
    assert model.count == 5


def test_load_state_dict_names_every_fault_and_changes_nothing() -> None:
    model, state = small(0), small(1).state_dict()
    before = model.state_dict()
    del state["conv.bias"]
    state["tail.weight"] = np.zeros(3)
    state["head.weight"] = np.zeros((4, 5), np.float32)
    with pytest.raises(StateDictError) as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "Sequential: the state dict does not fit. mis-shaped: head.weight is (4, 5), this model "
        "needs (4, 12); missing: conv.bias (3,); unexpected: tail.weight. "
        "Is it of another model, or for other classes?"
    )
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


NUMBERS = st.sampled_from([0.0, -1.5, 65504.0, 3.4e38, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@given(drawn=st.lists(NUMBERS, min_size=2, max_size=2))
def test_load_state_dict_takes_floats_of_any_precision(dtype, drawn: list[float]) -> None:
    model = nn.BatchNorm2d(2)
    with np.errstate(over="ignore"):  # in float16
        numbers = np.array(drawn, dtype)
    state = model.state_dict() | {"weight": numbers}
    model.load_state_dict(state)
    assert model.weight.data.dtype == np.float32
    np.testing.assert_array_equal(model.weight.data, numbers.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_load_state_dict_takes_integers_of_any_width(dtype: type) -> None:
    model = nn.BatchNorm2d(2)
    model.load_state_dict(model.state_dict() | {"num_batches_tracked": np.array(100, dtype)})
    assert model.num_batches_tracked == 100
    assert model.num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("weight", np.ones(2, np.int8), "mistyped: weight is int8, this model needs float32"),
        ("weight", np.ones(2, bool), "mistyped: weight is bool, this model needs float32"),
        ("weight", np.ones(2, complex), "mistyped: weight is complex128, this model needs float32"),
        ("weight", np.array(["1", "2"]), "mistyped: weight is <U1, this model needs float32"),
        ("weight", np.array([1, 1e300]), "too large: weight has numbers out of range for float32"),
        ("weight", np.array([1, -1e39]), "too large: weight has numbers out of range for float32"),
        (
            "num_batches_tracked",
            np.array(3.7),
            "mistyped: num_batches_tracked is float64, this model needs int64",
        ),
        (
            "num_batches_tracked",
            np.array(2**63, np.uint64),
            "too large: num_batches_tracked has numbers out of range for int64",
        ),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_load_state_dict_casts_no_number_into_another(name, value, fault, strict: bool) -> None:
    model = nn.BatchNorm2d(2)
    before = model.state_dict()
    with pytest.raises(nn.StateDictError) as error:
        model.load_state_dict(before | {"bias": np.full(2, 5.0), name: value}, strict)
    assert str(error.value) == (
        f"BatchNorm2d: the state dict does not fit. {fault}. "
        "Is it of another model, or for other classes?"
    )
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_buffer_of_another_kind_loads_its_own_kind() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            self.mask = np.array([True, False])

    model = Masked()
    model.load_state_dict({"mask": np.array([False, True])})
    assert model.mask.tolist() == [False, True]


def test_without_strict_only_shapes_matter() -> None:
    model, state = small(0), small(1).state_dict()
    before = model.state_dict()
    del state["conv.bias"]
    state["tail.weight"] = np.zeros(3)
    model.load_state_dict(state, strict=False)
    for name, array in model.state_dict().items():
        expected = before if name == "conv.bias" else state
        np.testing.assert_array_equal(array, expected[name])
    state["head.bias"] = np.zeros(5, np.float32)
    with pytest.raises(StateDictError) as error:
        model.load_state_dict(state, strict=False)
    assert str(error.value) == (
        "Sequential: the state dict does not fit. mis-shaped: head.bias is (5,), this model "
        "needs (4,). Is it of another model, or for other classes?"
    )


# ------------------------------------------------------------------------------------------- text


def test_repr_shows_the_tree() -> None:
    assert repr(small()) == (
        "Sequential(\n"
        "  (conv): Conv2d(2, 3, kernel_size=(3, 3), stride=1, padding=0, dilation=1, groups=1, "
        "bias=True)\n"
        "  (body): Sequential(\n"
        "    (act): ReLU()\n"
        "    (drop): Dropout(p=0.5)\n"
        "  )\n"
        "  (flatten): Flatten()\n"
        "  (head): Linear(12, 4, bias=True)\n"
        ")"
    )


def test_repr_of_a_parameter() -> None:
    param = nn.Param(np.zeros((2, 3), np.float32))
    assert repr(param) == "Param(2, 3)(float32)"
    param.trainable = False
    assert repr(param) == "Param(2, 3)(float32, frozen)"


def test_needs_image() -> None:
    assert needs_image("Conv2d", (1, 2, 3)) == (1, 2, 3)
    with pytest.raises(ShapeError) as error:
        needs_image("Conv2d", (7,))
    assert str(error.value) == ("Conv2d: an image (channels, height, width) is needed, got (7,).")
