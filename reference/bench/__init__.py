"""``python -m reference.bench``: how long minicnn takes, and how long PyTorch.

What is compared
    The same network from the same first weights on the same batches, in float32. A training step
    is: zero the gradients, forward, cross-entropy, backward, SGD with momentum. Neither side is
    asked for the gradient of the images. PyTorch is eager as its tutorials write it, no autocast,
    in both of its memory formats, each with a model and an optimiser of its own. Its overhead in
    Python counts, as minicnn's does.
    Inference is eval mode in inference_mode, as it is, with batch norm folded into the convolutions
    (torch.fx), and frozen (torch.jit). Of all of PyTorch's sides the best counts.
    An operation is called alone, at the shapes at which a network calls it; forward includes
    whatever is kept for backward. It gets the same arrays again each time, so they may come from a
    cache, as they mostly do in a network.
    With --compile torch.compile takes part; with --peers what is taught: minicnn's own formulas,
    im2col in plain NumPy, and DeZero, the framework of a textbook.
First right, then fast
    Before anything is timed, each side takes some steps. Their losses have to agree, and so has
    the way that every parameter has gone; or their logits; or an operation's result or gradients.
    Otherwise the workload is not timed, and the exit code is 1. The objects that were checked are
    those that are timed.
How the sides take turns
    In one process, so that both see the same machine: in each round every side runs one block of
    steps, in an order drawn anew. Time is that of a block divided by its steps. Ratios are paired,
    block by block within a round, against the side of PyTorch with the lowest median, so that what
    slows the whole machine for a while touches both terms.
    Not step by step, though: each side has a pool of threads of its own (PyTorch's OpenMP and
    Numba's), and a pool that has just worked waits by spinning, so that who comes next shares the
    cores with it. On two cores this made LeNet-5's step 10 % slower for minicnn and 5 % for
    PyTorch. So each block begins with some steps that do not count, which last until the other
    pools are asleep. Longer ones change nothing more, and a pause before them makes the times of
    all sides scatter more.
Threads
    The same number on both sides. NumPy's BLAS is left as it is, because minicnn itself holds it
    to one thread.
What could be reached
    GFLOP/s count two for every product that the definitions of convolution and matrix product have,
    and nothing else. An algorithm that needs fewer, Winograd's, may pass the machine's peak, which
    is measured beside: multiply-adds in registers, products of large matrices, memory. Operations
    are held against memory: GB/s count each array that has to be read or written, once.
Memory
    The peak of a process of its own for each side, which imports nothing of the other. How much of
    it the libraries take is told apart: after the imports, and after a step on a single image.
A busy machine
    Spinning threads that have to share a core wait for whole slices of the scheduler: a step can
    take a hundred times as long. The load that other processes made is measured and printed.
"""
