"""Functions that return (y, cache) and take (dout, cache), as many courses write them."""

from __future__ import annotations

import numpy as np

from tests.testing.courses.case import Case, labels, numbers


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, _ = cache
    flat = x.reshape(len(x), -1)
    return (dout @ w.T).reshape(x.shape), flat.T @ dout, dout.sum(axis=0)


def affine_not_reshaped(dout, cache):
    _, dw, db = affine_backward(dout, cache)
    return dout @ cache[1].T, dw, db


def affine_last_image(dout, cache):
    dx, dw, db = affine_backward(dout, cache)
    flat = cache[0].reshape(len(dout), -1)
    for image in range(len(dout)):
        db = dout[image]
        dw = np.outer(flat[image], dout[image])
    return dx, dw, db


def conv_forward(x, w, b, conv_param):
    """Loops over pixels; conv_param has stride and pad."""
    s, p = conv_param["stride"], conv_param["pad"]
    n, _, h, width = x.shape
    f, _, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    oh, ow = 1 + (h + 2 * p - kh) // s, 1 + (width + 2 * p - kw) // s
    out = np.zeros((n, f, oh, ow))
    for i in range(oh):
        for j in range(ow):
            window = padded[:, :, i * s : i * s + kh, j * s : j * s + kw]
            out[:, :, i, j] = np.tensordot(window, w, ((1, 2, 3), (1, 2, 3))) + b
    return out, (x, w, b, conv_param)


def conv_backward(dout, cache, assign=False, cut=True):
    x, w, _, conv_param = cache
    s, p = conv_param["stride"], conv_param["pad"]
    _, _, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * s, i * s + kh), slice(j * s, j * s + kw)
            part = np.tensordot(dout[:, :, i, j], w, (1, 0))
            if assign:
                dpadded[:, :, rows, columns] = part
            else:
                dpadded[:, :, rows, columns] += part
            dw += np.tensordot(dout[:, :, i, j], padded[:, :, rows, columns], (0, 0))
    inside = slice(p, -p) if p else slice(None)
    dx = dpadded[:, :, inside, inside] if cut else dpadded[:, :, : x.shape[2], : x.shape[3]]
    return dx, dw, dout.sum(axis=(0, 2, 3))


CONV = {"options": {"conv_param": {"stride": 1, "pad": 1}}}


def batchnorm_forward(x, gamma, beta, bn_param):
    """Training mode, with running averages in bn_param, as the assignment has them."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    bn_param["running_mean"] = 0.9 * bn_param.get("running_mean", 0) + 0.1 * mean
    std = np.sqrt(var + bn_param.get("eps", 1e-5))
    hat = (x - mean) / std
    return gamma * hat + beta, (hat, std, gamma)


def batchnorm_backward(dout, cache):
    hat, std, gamma = cache
    dhat = dout * gamma
    dx = (dhat - dhat.mean(axis=0) - hat * (dhat * hat).mean(axis=0)) / std
    return dx, (dout * hat).sum(axis=0), dout.sum(axis=0)


def batchnorm_without_mean(dout, cache):
    hat, std, gamma = cache
    dhat = dout * gamma
    dx = (dhat - hat * (dhat * hat).mean(axis=0)) / std
    return dx, (dout * hat).sum(axis=0), dout.sum(axis=0)


def softmax_loss(x, y):
    """Return (loss, dx)."""
    z = np.exp(x - x.max(axis=1, keepdims=True))
    p = z / z.sum(axis=1, keepdims=True)
    dx = p.copy()
    dx[np.arange(len(y)), y] -= 1
    return -np.log(p[np.arange(len(y)), y]).mean(), dx / len(y)


def softmax_loss_of_columns(x, y):
    """The gradient has the softmax along the batch."""
    loss, _ = softmax_loss(x, y)
    z = np.exp(x - x.max(axis=0, keepdims=True))
    dx = z / z.sum(axis=0, keepdims=True)
    dx[np.arange(len(y)), y] -= 1
    return loss, dx / len(y)


def svm_loss(W, X, y, reg):
    """Return (loss, dW), with loops over the images."""
    scores = X @ W
    margins = np.maximum(0, scores - scores[np.arange(len(y)), y][:, None] + 1)
    margins[np.arange(len(y)), y] = 0
    mask = (margins > 0).astype(float)
    mask[np.arange(len(y)), y] = -mask.sum(axis=1)
    loss = margins.sum() / len(y) + reg * (W * W).sum()
    return loss, X.T @ mask / len(y) + 2 * reg * W


def svm_without_regulariser(W, X, y, reg):
    loss, dW = svm_loss(W, X, y, reg)
    return loss, dW - 1.5 * reg * W


def linear_activation_forward(A_prev, W, b):
    """Columns are examples, b is (n, 1)."""
    Z = W @ A_prev + b
    return np.maximum(0, Z), ((A_prev, W, b), Z)


def linear_activation_backward(dA, cache):
    (A_prev, W, _), Z = cache
    dZ = dA * (Z > 0)
    return W.T @ dZ, dZ @ A_prev.T, dZ.sum(axis=1, keepdims=True)


def linear_activation_one_m_too_many(dA, cache):
    dA_prev, dW, db = linear_activation_backward(dA, cache)
    m = dA.shape[1]
    return dA_prev, dW / m, db / m


def linear_activation_without_keepdims(dA, cache):
    dA_prev, dW, db = linear_activation_backward(dA, cache)
    return dA_prev, dW, db[:, 0]


def relu(x):
    return np.maximum(0, x)


def relu_gradient(dout, x):
    return dout * (x >= 0)


def sigmoid_with_output(x):
    s = 1 / (1 + np.exp(-x))
    return s, s


AFFINE = numbers(4, 2, 3), numbers(6, 5, seed=4), numbers(5, seed=5)
IMAGES = numbers(2, 2, 4, 5), numbers(3, 2, 3, 3, seed=4), numbers(3, seed=5)
NORM = numbers(6, 3), np.ones(3), np.zeros(3)
COLUMNS = numbers(3, 5), numbers(4, 3, seed=4), numbers(4, 1, seed=5)
SVM = numbers(4, 3), numbers(5, 4, seed=4), labels(5, 3)

CASES = [
    Case("affine", (affine_forward, affine_backward), AFFINE, True),
    Case("affine, dx not reshaped", (affine_forward, affine_not_reshaped), AFFINE, False,
         "reshape"),
    Case("affine, = for += over the images", (affine_forward, affine_last_image), AFFINE, False,
         "last|="),
    Case("conv with conv_param", (conv_forward, conv_backward), IMAGES, True, how=CONV),
    Case("conv, = for += in dx", (conv_forward, lambda d, c: conv_backward(d, c, assign=True)),
         IMAGES, False, "accumulation|=", how=CONV),
    Case("conv, padding not cut off", (conv_forward, lambda d, c: conv_backward(d, c, cut=False)),
         IMAGES, False, "padding|shift", how=CONV),
    Case("batchnorm with bn_param", (batchnorm_forward, batchnorm_backward), NORM, True,
         how={"options": {"bn_param": {"mode": "train"}}}),
    Case("batchnorm, mean as a constant", (batchnorm_forward, batchnorm_without_mean), NORM, False,
         "mean", how={"options": {"bn_param": {}}}),
    Case("(loss, dx)", softmax_loss, (numbers(4, 3), labels(4, 3)), True),
    Case("(loss, dx), softmax of the columns", softmax_loss_of_columns,
         (numbers(4, 3), labels(4, 3)), False, "axis"),
    Case("(loss, dW) of a hinge", svm_loss, SVM, True, how={"options": {"reg": 0.1}}),
    Case("(loss, dW), a regulariser of a quarter", svm_without_regulariser, SVM, False,
         how={"options": {"reg": 0.1}}),
    Case("columns are examples", (linear_activation_forward, linear_activation_backward), COLUMNS,
         True),
    Case("columns, divided by m", (linear_activation_forward, linear_activation_one_m_too_many),
         COLUMNS, False, "0.2 times"),
    Case("columns, db of the shape (n,)",
         (linear_activation_forward, linear_activation_without_keepdims), COLUMNS, False,
         "keepdims"),
    Case("relu(x) and its gradient of (dout, x)", (relu, relu_gradient), (numbers(3, 4),), True),
    Case("sigmoid, the derivative at y",
         (sigmoid_with_output,
          lambda dout, y: dout * sigmoid_with_output(y)[0] * (1 - sigmoid_with_output(y)[0])),
         (numbers(3, 4),), False, "at y"),
]  # fmt: skip
