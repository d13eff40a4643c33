"""The text of each mistake. The file that finds the mistake fills in the braces."""

INPUT_WRITTEN = "an operation in place (x += ..., x[mask] = 0, out=x); work on a copy."
UPSTREAM_WRITTEN = (
    "an operation in place on dy (dy[mask] = 0, dy *= ...). Others still need dy: in a sum it is "
    "handed to every branch. Make a new array."
)
CACHE_USED_UP = "backward changes an array in the cache; work on a copy of it."
STALE = (
    "a stale cache: backward reads what the latest forward left behind (self.x = x), or an array "
    "that it has reused. Return what backward needs from forward, as the cache."
)
OVERWRITES = (
    "grad = ... where grad += ... is needed: a parameter that is used twice receives the sum."
)
DTYPE = (
    "the dtype changed: an array made without dtype= (np.zeros, np.arange), or a NumPy float64 "
    "scalar in the arithmetic. Make it of x.dtype."
)
RANDOM = (
    "noise: a random number without a generator that was passed in, or a state that forward "
    "changes and then uses."
)
OVERFLOW = (
    "overflow: exp of a large number, then inf/inf or inf - inf. Subtract the greatest first: "
    "softmax does not change by it."
)
UPSTREAM_IGNORED = (
    "the upstream gradient is ignored: backward gives the same for another dy. By the chain rule "
    "every term is multiplied by dy."
)
TIES_TO_ALL = (
    "at ties the gradient is given to all equals, so that it counts several times. It belongs to "
    "one of them, the first."
)
TIES_SHARED = (
    "at ties the gradient is shared among the equals; like torch, give it to one of them, the "
    "first."
)
ACCUMULATION = (
    "a missing accumulation: where windows overlap (or an index occurs twice) only one of the "
    "contributions arrives. Use += , or np.add.at for index arrays."
)
SWAPPED = "height and width are swapped."
FLIPPED = "the kernel is flipped: convolution where correlation is meant, or the reverse."
TRANSPOSED = "the first two axes are swapped: a transposition is missing, or one too many."
MISPLACED = (
    "the right amounts at the wrong places: an index that forgets stride, dilation or padding, or "
    "a reshape that mixes axes."
)
PARTIAL = "a sum leaves out an axis (or takes one entry of it): only a part of the terms arrives."
MEAN = (
    "a mean, a maximum or a normaliser is treated as a constant: adding a constant to {name} "
    "changes nothing in forward, but backward says it does. Differentiate through it too."
)
VARIANCE = (
    "a variance or a norm is treated as a constant: scaling {name} changes nothing in forward, but "
    "backward says it does. Differentiate through it too."
)
FLAT = (
    "forward does not move where backward says it does: a clip, a rounding, or log(p + eps), which "
    "is flat where p is small against eps."
)
UNREACHABLE = (
    "y does not depend on these elements at all: an index that forgets stride, dilation or "
    "padding, or a mask of forward (dropout, ReLU) that backward leaves out."
)
ZERO = (
    "backward gives nothing but zeros: a gradient that is never computed, or for a parameter "
    "add_grad that is never called."
)
FORGOTTEN = (
    "a parameter is forgotten: the gradient is that of {other} = 1, so {other} is missing from it."
)
SWAPPED_ARGUMENTS = "{one} stands where {other} belongs: the gradient is that of {other} = {one}."
OUTPUT_FOR_INPUT = (
    "the derivative is taken at y where it belongs at {name}: the output of forward is put into a "
    "formula for its input."
)
TURNED_WEIGHT = "the gradient is that of {other} turned: {turn}"
SOFTMAX_AXIS = (
    "the wrong axis: the softmax is along axis {axis}, and backward sums along axis {wrong}."
)
KEEPDIMS = (
    "keepdims=True is missing: a sum along axis {axis} loses that axis, and then is broadcast "
    "along another."
)
COUNT = (
    "a mean is divided by the wrong count: by {wrong}, where {right} numbers are averaged (N for "
    "N*H*W, say)."
)
STATISTICS = (
    "mean and variance are treated as constants: both move with {name}. Differentiate through "
    "them too."
)
PRODUCT = (
    "*= where += belongs: where windows overlap, backward gives the product of the contributions, "
    "not their sum."
)
LAST_ENTRY = (
    "a sum leaves out an axis: only the {entry} entry along axis {axis} of y arrives. In a loop "
    "over that axis, = stands where += belongs; else a sum over it is missing."
)
STRIDE_FORGOTTEN = (
    "{option} is forgotten in backward, which computes as if it were 1. The gradient of a strided "
    "convolution is a transposed one: dy is spread out (dilated) by the stride first."
)
DILATION_FORGOTTEN = (
    "{option} is forgotten in backward, which computes as if it were 1: an index that leaves out "
    "the dilation."
)
PADDING_FORGOTTEN = (
    "{option} is forgotten in backward, which computes as if there were no padding: an index that "
    "leaves it out, or padding that is not cut off."
)
SHIFTED = (
    "the right numbers, shifted by {shift} along the last axes: padding is forgotten, or cut off "
    "at the wrong side."
)
BRANCH = (
    "backward gives 0 where {name} is {sign}, but y moves with it there: a branch of forward that "
    "backward leaves out (the slope of a leaky ReLU, an else)."
)
SMALL = (
    "a small error, of {error:.0e} of the greatest element: an eps that backward leaves out, a "
    "regulariser, or rounding."
)
INFINITE = (
    "backward divides by 0: it gives {value} where forward has finite slopes. At a kink or a 0, "
    "choose a number, with np.where or an eps."
)
RANDOM_BACKWARD = (
    "noise: backward draws random numbers of its own. Keep what forward has drawn, and use that."
)
MEMOISED = "backward keeps a gradient of an earlier dy in the cache; compute it anew."
MEMORY_ORDER = (
    "backward reads the memory of dy in another order than its indices, by ravel(order='K') or "
    "the like."
)
TIES_TO_NONE = (
    "at ties the gradient is given to none of the equals; it belongs to one of them, the first."
)
SIGN = "the sign is wrong."
SKIP = (
    "the branch that hands x on unchanged is forgotten: of a sum, dy goes to every branch, also "
    "along a skip connection."
)
NOT_LINEAR = (
    "backward is not linear in dy: it treats dy otherwise than as a factor, and clips it, rounds "
    "it or divides by it."
)
NARROW = (
    "something that float32 cannot hold (exp beyond 88, a small difference of large numbers), or "
    "that is done for one dtype only."
)
UNREACHED = (
    "no gradient arrives at elements that y does depend on: pixels at the end that a stride leaves "
    "over, a mask, or an early return."
)
ALIAS = (
    "the cache holds the very array that forward returned, and it was changed afterwards (y += ...,"
    " an addition in place in a residual block)."
)
BORDER = (
    "it is wrong only where windows reach into the padding: what padding counts as. For a maximum "
    "it never wins, not even against negative numbers; in a mean it counts or does not."
)
