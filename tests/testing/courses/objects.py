"""Classes that keep state on self, as most books and courses write layers."""

from __future__ import annotations

import numpy as np

from tests.testing.courses.case import Case, labels, numbers, one_hot

# ---- params and grads in lists; x, W on self


class MatMul:
    def __init__(self, W):
        self.params, self.grads, self.x = [W], [np.zeros_like(W)], None

    def forward(self, x):
        (W,) = self.params
        self.x = x
        return x @ W

    def backward(self, dout):
        (W,) = self.params
        self.grads[0][...] = self.x.T @ dout
        return dout @ W.T


class MatMulNotTransposed(MatMul):
    def backward(self, dout):
        super().backward(dout)
        return dout @ self.params[0]


class Embedding:
    """Rows of W by index; an index may occur twice."""

    def __init__(self, W, add):
        self.params, self.grads, self.idx, self.add = [W], [np.zeros_like(W)], None, add

    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        (dW,) = self.grads
        dW[...] = 0
        if self.add:
            np.add.at(dW, self.idx, dout)
        else:
            dW[self.idx] = dout
        return  # an index has no gradient


class SoftmaxWithLoss:
    """backward(dout=1) ignores dout."""

    def __init__(self, count=None):
        self.y, self.t, self.count = None, None, count

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        return -(t * np.log(self.y + 1e-15)).sum() / len(t)

    def backward(self, dout=1):
        return (self.y - self.t) / (self.count or len(self.t))


class Dropout:
    def __init__(self, again=False):
        self.ratio, self.mask, self.again = 0.5, None, again

    def forward(self, x, train_flg=True):
        self.mask = np.random.rand(*x.shape) > self.ratio  # noqa: NPY002
        return x * self.mask

    def backward(self, dout):
        if self.again:
            self.mask = np.random.rand(*dout.shape) > self.ratio  # noqa: NPY002
        return dout * self.mask


# ---- nothing is returned: self.output, self.dinputs


class LayerDense:
    def __init__(self, forgets=False):
        self.weights, self.biases, self.forgets = numbers(4, 3), np.zeros((1, 3)), forgets

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=not self.forgets)
        self.dinputs = dvalues @ self.weights.T


class ActivationReLU:
    def __init__(self, strict=True):
        self.strict = strict

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        if self.strict:
            self.dinputs[self.inputs <= 0] = 0


class CategoricalCrossentropy:
    def calculate(self, output, y):
        return self.forward(output, y).mean()

    def forward(self, y_pred, y_true):
        return -np.log(np.clip(y_pred, 1e-7, 1 - 1e-7)[range(len(y_pred)), y_true])

    def backward(self, dvalues, y_true):
        self.dinputs = -np.eye(dvalues.shape[1])[y_true] / dvalues / len(dvalues)


# ---- names of their own


class Conv3x3:
    """Filters of 3x3 over one image; gradients in g_filters; steps in the manner of a blog."""

    def __init__(self):
        self.filters = numbers(2, 3, 3) / 9

    def calculate(self, image):
        self.last = image
        h, w = image.shape
        out = np.zeros((h - 2, w - 2, len(self.filters)))
        for i in range(h - 2):
            for j in range(w - 2):
                out[i, j] = (image[i : i + 3, j : j + 3] * self.filters).sum(axis=(1, 2))
        return out

    def learn(self, d_out):
        self.g_filters = np.zeros(self.filters.shape)
        for i in range(d_out.shape[0]):
            for j in range(d_out.shape[1]):
                for f in range(len(self.filters)):
                    self.g_filters[f] += d_out[i, j, f] * self.last[i : i + 3, j : j + 3]
        return  # the first layer: nobody asks for dx


class Conv3x3Last(Conv3x3):
    def learn(self, d_out):
        super().learn(d_out)
        for f in range(len(self.filters)):
            self.g_filters[f] = d_out[-1, -1, f] * self.last[-3:, -3:]


class Callable:
    """__call__ for forward; grad_weight and grad_bias beside weight and bias."""

    def __init__(self, sign=1.0):
        self.weight, self.bias, self.sign = numbers(3, 4), numbers(3), sign

    def __call__(self, input):
        self._input = input
        return input @ self.weight.T + self.bias

    def backward(self, grad_output):
        self.grad_weight = grad_output.T @ self._input
        self.grad_bias = self.sign * grad_output.sum(0)
        return grad_output @ self.weight


class Parameter:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class WithParameters:
    """Parameters are objects with value and grad, which is added to."""

    def __init__(self, forgets=False):
        self.W, self.B, self.forgets = Parameter(numbers(4, 2)), Parameter(numbers(1, 2)), forgets

    def forward(self, X):
        self.X = X
        return X @ self.W.value + self.B.value

    def backward(self, d_out):
        self.W.grad += self.X.T @ d_out
        if not self.forgets:
            self.B.grad += d_out.sum(axis=0, keepdims=True)
        return d_out @ self.W.value.T


class ModuleOfInputs:
    """backward(input, grad_output), with gradInput left on self."""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, input):
        self.output = np.where(input > 0, input, 0.1 * input)
        return self.output

    def backward(self, input, gradOutput):
        self.gradInput = gradOutput * np.where(input > 0, 1.0, self.slope)
        return self.gradInput


class Criterion:
    """forward(input, target), backward(input, target): no dy."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def forward(self, input, target):
        return ((input - target) ** 2).mean()

    def backward(self, input, target):
        return self.factor * (input - target) / input.size


class LossOnSelf:
    """forward(prediction, target) and backward()."""

    def forward(self, prediction, target):
        self.error = prediction - target
        return 0.5 * (self.error**2).sum()

    def backward(self):
        return self.error


class NormReturnsDictionary:
    """backward returns a dictionary; gamma begins at 1."""

    def __init__(self, forgets):
        self.params, self.forgets = {"gamma": np.ones(4), "beta": np.zeros(4)}, forgets

    def forward(self, x):
        self.x = x
        return self.params["gamma"] * x + self.params["beta"]

    def backward(self, dout):
        dx = dout if self.forgets else dout * self.params["gamma"]
        return {"dx": dx, "dgamma": (dout * self.x).sum(0), "dbeta": dout.sum(0)}


class TwoLayerNet:
    """loss(X, y) returns loss and a dictionary of gradients."""

    def __init__(self, forgets=False):
        self.params = {"W1": numbers(4, 5), "b1": numbers(5), "W2": numbers(5, 3), "b2": numbers(3)}
        self.forgets = forgets

    def loss(self, X, y):
        hidden = X @ self.params["W1"] + self.params["b1"]
        active = np.maximum(hidden, 0)
        scores = active @ self.params["W2"] + self.params["b2"]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        d = p.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        dhidden = d @ self.params["W2"].T * (1 if self.forgets else hidden > 0)
        return loss, {"W1": X.T @ dhidden, "b1": dhidden.sum(0), "W2": active.T @ d, "b2": d.sum(0)}


W, X = numbers(4, 4), numbers(5, 4, seed=8)
LOSS = numbers(4, 3), one_hot(4, 3)
TARGETS = numbers(4, 3), numbers(4, 3, seed=9)
BLOG = {"forward": "calculate", "backward": "learn", "parameters": {"filters": "g_filters"}}
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])

CASES = [
    Case("lists of params and grads", MatMul(W), (X,), True),
    Case("lists, W not transposed in dx", MatMulNotTransposed(W), (X,), False, "axes are swapped"),
    Case("embedding", Embedding(numbers(5, 3), True), (np.array([0, 2, 2, 4]),), True),
    Case("embedding, = for +=", Embedding(numbers(5, 3), False), (np.array([0, 2, 2, 4]),), False,
         r"\+="),
    Case("softmax with loss, dout=1", SoftmaxWithLoss(), LOSS, True),
    Case("softmax with loss, not averaged", SoftmaxWithLoss(count=1), LOSS, False, "4 times"),
    Case("dropout from np.random.rand", Dropout(), (numbers(4, 5),), True),
    Case("dropout, a new mask in backward", Dropout(again=True), (numbers(4, 5),), False, "noise"),
    Case("output and dinputs on self", LayerDense(), (numbers(5, 4),), True),
    Case("dbiases without keepdims", LayerDense(forgets=True), (numbers(5, 4),), False, "keepdims"),
    Case("ReLU, dinputs on self", ActivationReLU(), (numbers(5, 4),), True),
    Case("ReLU without its mask", ActivationReLU(strict=False), (numbers(5, 4),), False,
         "does not move|flat|not depend"),
    Case("calculate(output, y), backward(predictions, y)", CategoricalCrossentropy(),
         (PROBABILITIES, labels(3, 3)), True, how={"forward": "calculate"}),
    Case("a blog's conv, names of its own", Conv3x3(), (numbers(6, 5),), True, how=BLOG, adapter=1),
    Case("a blog's conv, one window", Conv3x3Last(), (numbers(6, 5),), False, how=BLOG, adapter=1),
    Case("__call__, grad_weight", Callable(), (numbers(5, 4),), True),
    Case("__call__, sign of grad_bias", Callable(sign=-1.0), (numbers(5, 4),), False, "sign"),
    Case("parameters with value and grad", WithParameters(), (numbers(5, 4),), True),
    Case("parameters, one never added to", WithParameters(forgets=True), (numbers(5, 4),), False,
         "zeros"),
    Case("backward(input, gradOutput)", ModuleOfInputs(0.1), (numbers(5, 4),), True),
    Case("leaky slope of 0 in backward", ModuleOfInputs(0.0), (numbers(5, 4),), False,
         "where input is negative"),
    Case("criterion(input, target)", Criterion(), TARGETS, True),
    Case("criterion, half of it", Criterion(1.0), TARGETS, False, "0.5 times"),
    Case("loss, backward()", LossOnSelf(), TARGETS, True),
    Case("a dictionary, gamma at 1", NormReturnsDictionary(False), (numbers(5, 4),), True),
    Case("a dictionary, gamma forgotten", NormReturnsDictionary(True), (numbers(5, 4),), False,
         "params.gamma|gamma"),
    Case("loss(X, y) of a network", TwoLayerNet(), (numbers(6, 4), labels(6, 3)), True,
         how={"forward": "loss"}),
    Case("loss(X, y), ReLU forgotten", TwoLayerNet(True), (numbers(6, 4), labels(6, 3)), False,
         how={"forward": "loss"}),
]  # fmt: skip
