"""A loop over large tasks, shared out to Numba's threads.

    share(count, task, (a, b))      task(0, a, b), task(1, a, b), ... task(count - 1, a, b)
    share(count, task, (a, b), m)   the same on at most m threads

``prange`` of Numba does the same, and is what short loops are written with. But it compiles the
body of the loop four times over, and takes each member of a table as an argument of its own; for a
convolution that lasts seconds. Here one function is written beside the kernel, which each thread
runs until no task is left:

    the caller                              each thread
        next = 0                                while (t = next++) < count:
        have the threads run that               task(t, a, b)
        raise what a task raised

``next++`` is one atomic instruction: each task is taken once, and a core that something else slows
down takes fewer. Which thread runs a task is open, therefore. Tasks must not depend on each other,
and what they add up goes to a place of each task's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.callconv import errcode_t, excinfo_ptr_t
from numba.extending import intrinsic

_INDEX = ir.IntType(types.intp.bitwidth)
_BYTES = ir.IntType(8).as_pointer()
_RUN = ir.FunctionType(  # what the pool calls: the common part comes last, the rest is for arrays
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
    task.get_call_type(typing, kinds, {})  # compiles it
    compiled = task.dispatcher.overloads[kinds]
    limit = types.Omitted(None) if threads is None else types.intp
    signature = types.void(types.intp, task, types.Tuple(kinds[1:]), limit)

    def generate(context, builder, signature, args):
        count, _, packed, most = args
        limits = [count] if threads is None else [count, most]
        values = cgutils.unpack_tuple(builder, packed, len(kinds) - 1)
        common = _Common(builder, count, values)
        context.add_linking_libs([compiled.library])
        callee = context.declare_function(builder.module, compiled.fndesc)

        def call(inner, t, values):
            return context.call_conv.call_function(
                inner, callee, types.none, kinds, [t, *values], attrs=("noinline",)
            )[0]

        _run_on_threads(builder, common.write_run(call), common.address, limits)
        status = context.call_conv._get_return_status(builder, *common.outcome())
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return signature, generate


class _Common:
    """What the threads have in common, on the caller's stack: next, count, outcome, arguments."""

    def __init__(self, builder: ir.IRBuilder, count: ir.Value, values: list[ir.Value]) -> None:
        self.builder = builder
        start = [_INDEX(0), count, errcode_t(0), excinfo_ptr_t(None), *values]
        self.type = ir.LiteralStructType([value.type for value in start])
        self.address = cgutils.alloca_once(builder, self.type)
        for member, value in zip(self._members(builder, self.address), start, strict=True):
            builder.store(value, member)

    def _members(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        return [
            cgutils.gep_inbounds(builder, address, 0, i) for i in range(len(self.type.elements))
        ]

    def outcome(self) -> list[ir.Value]:
        """Return the code that the tasks left, and the exception."""
        return [
            self.builder.load(member) for member in self._members(self.builder, self.address)[2:4]
        ]

    def write_run(self, call: Callable[[ir.IRBuilder, ir.Value, list[ir.Value]], Any]) -> Any:
        """Write the function that takes tasks until none is left."""
        module = self.builder.module
        run = ir.Function(module, _RUN, module.get_unique_name("until_none_is_left"))
        run.linkage = "internal"
        begin, take, work, end = (run.append_basic_block() for _ in range(4))
        builder = ir.IRBuilder(begin)
        common = builder.bitcast(run.args[3], self.type.as_pointer())
        next_, count, code, error, *values = self._members(builder, common)
        count, values = builder.load(count), [builder.load(value) for value in values]
        builder.branch(take)
        builder.position_at_end(take)
        t = builder.atomic_rmw("add", next_, _INDEX(1), "monotonic")
        builder.cbranch(builder.icmp_signed("<", t, count), work, end)
        builder.position_at_end(work)
        status = call(builder, t, values)
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.excinfoptr, error)
            builder.store(status.code, code)
            builder.store(count, next_)  # the tasks that are left, nobody takes
        builder.branch(take)
        builder.position_at_end(end)
        builder.ret_void()
        return run


def _run_on_threads(
    builder: ir.IRBuilder, run: ir.Function, common: ir.Value, limits: list[ir.Value]
) -> None:
    """Call ``run`` on the threads of the pool, within these limits; on the caller's, if one."""
    pool_size = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_INDEX, []), "get_num_threads"
    )
    pool = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [_INDEX] * 3),
        "numba_parallel_for",
    )  # fmt: skip
    threads = builder.call(pool_size, [])
    for most in limits:
        threads = builder.select(builder.icmp_signed("<", most, threads), most, threads)
    common = builder.bitcast(common, _BYTES)
    nothing = cgutils.alloca_once_value(builder, _BYTES(None))  # an array that is never looked at
    size, step = (cgutils.alloca_once_value(builder, value) for value in (threads, _INDEX(0)))
    with builder.if_else(builder.icmp_signed(">", threads, _INDEX(1))) as (several, one):
        with several:
            function, *arrays = (builder.bitcast(p, _BYTES) for p in (run, nothing, size, step))
            builder.call(
                pool, [function, *arrays, common, _INDEX(0), _INDEX(1), threads]
            )  # fmt: skip
        with one:
            builder.call(run, [nothing, size, step, common])


share: Any = (
    _share_in_python if config.DISABLE_JIT else _share_in_threads  # type: ignore[attr-defined]
)
