"""A loop over large tasks, shared out to Numba's threads.

    @shared
    def add(task, x, y, out): ...       one task

    add(tasks, x, y, out)               task 0, task 1, ... task (tasks - 1), on all threads

``prange`` of Numba does the same, and is what short loops are written with. But it compiles the
body of the loop four times over, and takes each member of a table as an argument of its own; for a
convolution that lasts seconds. Here one function is written beside the kernel, for each thread:

    the caller                              thread k
        cut the tasks into parts,               for part = k, k + 1, ... and round:
        one for each thread                         while (t = next[part]++) < end of the part:
        have the threads run that                       task(t, x, y, out)
        raise what a task raised

So each thread begins with tasks of its own, with OpenMP the same ones in layer after layer, and
finds its images in its own cache; only then does it help the others. ``next++`` is one atomic
instruction, so each task is taken once. Any thread may run any task: tasks must not depend on each
other, and each writes its sums to a place of its own. After an error the tasks that are left still
run.

All this stands on names of Numba that are not documented (numba_internals.py). Where a release does
not have them, or MINICNN_PRANGE=1 is set, ``@shared`` writes a ``prange`` over the tasks instead.

``share(count, task, (a, b))`` is the call inside such a kernel. A kernel shares once, not in a
loop: each time takes some of its stack.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import TypingError, config, prange, types
from numba.extending import intrinsic

from minicnn import numba_internals
from minicnn.backend import kernel, task
from minicnn.numba_internals import cgutils

TASKS = 8  # at least, if the work can be cut so; a constant, not the number of cores

_INDEX = cgutils.intp_t
_BYTES = ir.IntType(8).as_pointer()
_RUN = ir.FunctionType(  # what the pool calls with pieces of arrays, how many, steps, and the rest
    ir.VoidType(), [_BYTES.as_pointer(), _INDEX.as_pointer(), _INDEX.as_pointer(), _BYTES]
)


def _share_in_python(
    count: int, task: Callable, arguments: tuple, threads: int | None = None
) -> None:
    for t in range(count):
        task(t, *arguments)


@intrinsic
def _share_in_threads(typing, count, task, arguments, threads=None):
    kinds = types.intp, *(types.unliteral(kind) for kind in arguments)
    result, code = numba_internals.compile_task(task, typing, kinds)
    if result != types.none:
        raise TypingError(f"share: a task returns nothing, but {task} returns {result}.")
    limit = types.Omitted(None) if threads is None else types.intp
    signature = types.void(types.intp, task, types.Tuple(kinds[1:]), limit)

    def generate(context, builder, signature, args):
        count, _, packed, most = args
        limits = [count] if threads is None else [count, most]
        call = numba_internals.task_caller(context, builder.module, code, kinds)
        values = cgutils.unpack_tuple(builder, packed, len(kinds) - 1)
        common = _Common(builder, _threads(builder, limits), count, values)
        common.run_on_threads(common.write_run(call))
        numba_internals.raise_if_error(context, builder, *common.outcome())
        return context.get_dummy_value()

    return signature, generate


def _threads(builder: ir.IRBuilder, limits: list[ir.Value]) -> ir.Value:
    """Return how many threads the pool has, within these limits."""
    kind = ir.FunctionType(_INDEX, [])
    threads = builder.call(
        cgutils.get_or_insert_function(builder.module, kind, numba_internals.GET_NUM_THREADS), []
    )
    for most in limits:
        threads = builder.select(builder.icmp_signed("<", most, threads), most, threads)
    return builder.select(builder.icmp_signed(">", threads, _INDEX(1)), threads, _INDEX(1))


class _Common:
    """What the threads have in common, on the caller's stack."""

    def __init__(
        self, builder: ir.IRBuilder, threads: ir.Value, count: ir.Value, values: list[ir.Value]
    ) -> None:
        self.builder, self.threads = builder, threads
        following = builder.alloca(_INDEX, threads)
        with cgutils.for_range(builder, threads) as loop:
            first = self._part(builder, loop.index, threads, count)
            builder.store(first, builder.gep(following, [loop.index]))
        start = [threads, count, following, *numba_internals.no_error(), *values]
        self.type = ir.LiteralStructType([value.type for value in start])
        self.address = cgutils.alloca_once(builder, self.type)
        for member, value in zip(self._members(builder, self.address), start, strict=True):
            builder.store(value, member)

    def _members(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return [
            cgutils.gep_inbounds(builder, address, 0, i) for i in range(len(self.type.elements))
        ]

    @staticmethod
    def _part(
        builder: ir.IRBuilder, part: ir.Value, threads: ir.Value, count: ir.Value
    ) -> ir.Value:
        """Return the first task of a part."""
        return builder.sdiv(builder.mul(part, count), threads)

    def outcome(self) -> list[ir.Value]:
        """Return the code that the tasks left, and the exception."""
        _, _, _, code, error, *_ = self._members(self.builder, self.address)
        return [self.builder.load(code), self.builder.load(error)]

    def write_run(self, call: Callable[[ir.IRBuilder, list[ir.Value]], Any]) -> ir.Function:
        """Write what each thread runs."""
        module = self.builder.module
        run = ir.Function(module, _RUN, module.get_unique_name("until_none_is_left"))
        run.linkage = "internal"
        builder = ir.IRBuilder(run.append_basic_block())
        members = self._members(builder, builder.bitcast(run.args[3], self.type.as_pointer()))
        threads, count, following = (builder.load(member) for member in members[:3])
        code, error, values = *members[3:5], [builder.load(member) for member in members[5:]]
        own = builder.ptrtoint(builder.load(run.args[0]), _INDEX)  # see run_on_threads
        with cgutils.for_range(builder, threads) as loop:
            part = builder.srem(builder.add(own, loop.index), threads)
            place = builder.gep(following, [part])
            end = self._part(builder, builder.add(part, _INDEX(1)), threads, count)
            take, work, done = (builder.append_basic_block() for _ in range(3))
            builder.branch(take)
            builder.position_at_end(take)
            t = builder.atomic_rmw("add", place, _INDEX(1), "monotonic")
            builder.cbranch(builder.icmp_signed("<", t, end), work, done)
            builder.position_at_end(work)
            status = call(builder, [t, *values])
            with cgutils.if_unlikely(builder, status.is_error):
                builder.store(status.excinfoptr, error)
                builder.store(status.code, code)
            builder.branch(take)
            builder.position_at_end(done)
        builder.ret_void()
        return run

    def run_on_threads(self, run: ir.Function) -> None:
        """Have the pool run it on each thread; the caller alone, where one thread is enough.

        The pool cuts arrays into pieces. It is given one at the address 0, with a number of one
        byte for each thread, so that the address of a thread's piece is the thread's number.
        """
        builder = self.builder
        kind = ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [_INDEX] * 3)
        pool = cgutils.get_or_insert_function(builder.module, kind, numba_internals.PARALLEL_FOR)
        common = builder.bitcast(self.address, _BYTES)
        start = _BYTES(None), self.threads, _INDEX(1)
        pieces = [cgutils.alloca_once_value(builder, value) for value in start]
        several = builder.icmp_signed(">", self.threads, _INDEX(1))
        with builder.if_else(several) as (then, otherwise):
            with then:
                arguments = [builder.bitcast(p, _BYTES) for p in (run, *pieces)]
                builder.call(pool, [*arguments, common, _INDEX(0), _INDEX(1), self.threads])
            with otherwise:
                builder.call(run, [*pieces, common])


share: Any = (
    _share_in_python if config.DISABLE_JIT else _share_in_threads  # type: ignore[attr-defined]
)


_SHARE = " share(tasks, _task, ({packed}){limit})"
_PRANGE = """
    for _t in prange(tasks):
        _task(_t, {given})
"""
_PRANGE_WITHIN = """
    if threads == 1:
        for _t in range(tasks):
            _task(_t, {given})
    else:
        for _t in prange(tasks):
            _task(_t, {given})
"""


def shared(function: Callable | None = None, *, limited: bool = False) -> Any:
    """Make of one task the kernel that runs all of them: f(task, a, b) becomes f(tasks, a, b).

    A task whose second parameter is ``tasks`` is told how many there are; the kernel is called in
    the same way, f(tasks, a, b). A ``limited`` kernel is called f(tasks, threads, a, b) and works
    on at most so many threads.

    Numba compiles a kernel by the names of its parameters, so the kernel is written out as source.
    """
    if function is None:
        return functools.partial(shared, limited=limited)
    name, _, *given = function.__name__, *inspect.signature(function).parameters
    taken = sorted({"threads", "share", "prange", "_task", "_t"} & {*given})
    if taken:
        raise TypeError(f"@shared: {name} has a parameter {taken[0]!r}. Give it another name.")
    limit = ["threads"] if limited else []
    parameters = ["tasks", *limit, *(name for name in given if name != "tasks")]
    body = _SHARE if numba_internals.SHARES else _PRANGE_WITHIN if limited else _PRANGE
    source = f"def {name}({', '.join(parameters)}):" + body.format(
        given=", ".join(given), packed=", ".join([*given, ""]), limit=", ".join(["", *limit])
    )
    line = function.__code__.co_firstlineno
    scope = {"share": share, "prange": prange, "__name__": function.__module__}
    exec(compile("\n" * (line - 1) + source, function.__code__.co_filename, "exec"), scope)
    whole: Any = scope[name]
    whole.__doc__ = function.__doc__
    whole.__qualname__, function.__qualname__ = (
        function.__qualname__,
        f"{function.__qualname__}.task",
    )
    scope["_task"] = task(function)  # which compiles it under the name it has by now
    if numba_internals.SHARES:
        return kernel(whole, shares=True)
    return kernel(whole, parallel=True)
