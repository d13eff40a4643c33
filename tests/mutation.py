"""Mutation testing of minicnn: would a test notice if a line were wrong?

    python -m tests.mutation --sample 300 --without minicnn/ops   # 300 drawn from all but these
    python -m tests.mutation --only minicnn/fused --tests tests/fused tests/ops
    NUMBA_DISABLE_JIT=0 python -m tests.mutation --only minicnn/ops --sample 500 --seed 2

A mutant is a function or a method with one thing changed in one place: an operator, a constant, a
condition, two arguments, a statement left out, the height in the place of the width. It is killed
if a test fails. If all pass it survives: a test is missing, or the mutant computes what the
original does. Kernels run as plain Python and are changed like the rest; NUMBA_DISABLE_JIT=0 has
them compiled, which is faster, and leaves them out.

Modules are imported and tests collected once. From that a process is forked for each mutant. It
gives the function its changed code, in memory, and runs the tests that execute the function, the
quickest first, until one fails. A mutant whose tests take longer than --seconds together is
undecided.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import dataclasses
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import random
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # forks and threads do not mix
os.environ["HYPOTHESIS_PROFILE"] = "mutation"
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

import numba
import pytest
from hypothesis import HealthCheck, Phase, settings

import minicnn

with contextlib.suppress(ModuleNotFoundError):
    import torch.fx.experimental.symbolic_shapes  # noqa: F401  (autograd would, in each fork)

ROOT = Path(__file__).parents[1]
PATIENCE = 30  # seconds for one test, beyond five times what it takes
# What the tests do in processes of their own is not seen.
ELSEWHERE = ("tests/examples", "tests/reference")
COMPILED = ("kernel", "inner", "task")  # decorators
GENERATES = ("intrinsic", "extending")  # within a function: it writes code for the compiler
ONLY_COMPILING = ("minicnn/kernels/simd.py",)  # a file of such functions
UNDECIDED = 77  # exit status
VERDICTS = {
    0: "survived", 1 << 8: "killed", UNDECIDED << 8: "undecided", signal.SIGALRM.value: "timed out",
}  # fmt: skip

OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
NAMES = (
    "h/w oh/ow kh/kw sh/sw dh/dw top/left high/wide max/min sum/mean maximum/minimum any/all "
    "argmax/argmin exp/log float32/float64 ones/zeros"
)
OTHER = {a: b for pair in NAMES.split() for a, b in itertools.permutations(pair.split("/"))}
COMMUTE = ("max", "min", "np.maximum", "np.minimum")  # arguments that may trade places


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of ``node``."""
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in OPERATORS:
                yield ast.BinOp(left, OPERATORS[type(op)](), right)
            if isinstance(op, ast.Sub | ast.Div | ast.FloorDiv | ast.MatMult):
                yield ast.BinOp(right, op, left)
        case ast.Compare(left, ops, right):
            for i, other in ((i, o) for i, op in enumerate(ops) for o in COMPARISONS[type(op)]):
                yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert(), operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Name(name, ast.Load()) if name in OTHER:
            yield ast.Name(OTHER[name], ast.Load())
        case ast.Attribute(value, name, ast.Load()) if name in OTHER:
            yield ast.Attribute(value, OTHER[name], ast.Load())
        case ast.Tuple([a, b, *rest], ast.Load()) if ast.dump(a) != ast.dump(b):
            yield ast.Tuple([b, a, *rest], ast.Load())
        case ast.Slice(lower, upper, step):
            yield from [ast.Slice(None, upper, step)] * (lower is not None)
            yield from [ast.Slice(lower, None, step)] * (upper is not None)
        case ast.Call(function, args, keywords):
            name = ast.unparse(function)
            for i, (a, b) in enumerate(itertools.pairwise(args)):
                if name not in COMMUTE and not isinstance(b, ast.Starred):
                    yield ast.Call(function, [*args[:i], b, a, *args[i + 2 :]], keywords)
            for keyword in keywords:
                yield ast.Call(function, args, [k for k in keywords if k is not keyword])
            if isinstance(function, ast.Attribute) and not name.startswith(("np.", "math.")):
                yield function.value  # what the method is called on
            elif args and not isinstance(args[0], ast.Constant | ast.JoinedStr | ast.Starred):
                yield args[0]
        case ast.If(test) | ast.IfExp(test) if not isinstance(test, ast.Compare):
            yield type(node)(ast.UnaryOp(ast.Not(), test), node.body, node.orelse)
        case ast.Raise() | ast.AugAssign() | ast.Expr(ast.Call()):
            yield ast.Pass()


class Mutant(NamedTuple):
    function: FunctionType
    module: ast.Module
    old: ast.AST
    new: ast.AST
    default: int | str | None  # which default value it changes, if it is one

    @property
    def key(self) -> str:
        """Which function it is."""
        return f"{self.function.__code__.co_filename}:{self.function.__code__.co_firstlineno}"

    @property
    def room(self) -> str:
        """The folder that the function lives in."""
        return str(file_of(self.function).parent)

    def __str__(self) -> str:
        old, new = (" ".join(ast.unparse(n).split())[:90] for n in (self.old, self.new))
        place = f"{file_of(self.function)}:{self.old.lineno}:{self.old.col_offset}"
        return f"{place} {self.function.__qualname__}: {old}  ->  {new}"

    def plant(self) -> None:
        """Change the function, for good: a thing to do in a fork."""
        old, new, function = self.old, self.new, self.function

        class Replace(ast.NodeTransformer):
            def visit(self, node: ast.AST) -> ast.AST:
                return new if node is old else self.generic_visit(node)

        tree = ast.fix_missing_locations(Replace().visit(self.module))
        if self.default is not None:
            value = eval(ast.unparse(self.old_default(tree)), function.__globals__)
            if isinstance(self.default, str):
                function.__kwdefaults__[self.default] = value
            else:
                values = list(function.__defaults__ or ())
                values[self.default] = value
                function.__defaults__ = tuple(values)
            return
        name, line = function.__code__.co_qualname, function.__code__.co_firstlineno
        whole = compile(tree, function.__code__.co_filename, "exec")
        (function.__code__,) = [
            c for c in codes_in(whole) if c.co_qualname == name and c.co_firstlineno == line
        ]

    def old_default(self, tree: ast.Module) -> ast.expr:
        """Return the expression of the default value, as it stands in the changed tree."""
        line = self.function.__code__.co_firstlineno
        (found,) = [f for f in functions_in(tree) if first_line(f) == line]
        return dict(defaults(found.args))[self.default]


def file_of(function: FunctionType) -> Path:
    return Path(function.__code__.co_filename).relative_to(ROOT)


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """Yield the code objects in ``code``, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_in(constant)


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a module and the methods of its classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef | ast.If):
            yield from functions_in(node)


def first_line(tree: ast.FunctionDef) -> int:
    """Return the line that its code object names: that of the first decorator."""
    return min(node.lineno for node in (tree, *tree.decorator_list))


def defaults(args: ast.arguments) -> Iterator[tuple[int | str, ast.expr]]:
    """Yield the default values, with the place that each has in the function."""
    yield from enumerate(args.defaults)
    for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        if value is not None:
            yield arg.arg, value


def evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs: all below ``node`` but annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from evaluated(child)


def is_python(tree: ast.FunctionDef) -> bool:
    """Whether the function runs as Python: not where it is compiled, or generates code."""
    words = {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in tree.decorator_list}
    if words & {"overload", "intrinsic", *GENERATES}:
        return False
    if not numba.config.DISABLE_JIT and words & set(COMPILED):
        return False
    nested = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n is not tree]
    return not any("intrinsic" in ast.unparse(d) for n in nested for d in n.decorator_list)


@functools.cache
def mutants() -> list[Mutant]:
    """Return every mutant of the functions and methods of minicnn that are Python when they run."""
    for info in pkgutil.walk_packages(minicnn.__path__, "minicnn."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)
    living: dict[tuple[str, int], FunctionType] = {
        (thing.__code__.co_filename, thing.__code__.co_firstlineno): thing
        for thing in gc.get_objects()
        if type(thing) is FunctionType
    }
    found: list[Mutant] = []
    for path in sorted((ROOT / "minicnn").rglob("*.py")):
        if str(path.relative_to(ROOT)) in ONLY_COMPILING:
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        for tree in functions_in(module):
            function = living.get((str(path), first_line(tree)))
            if function is None or not is_python(tree):
                continue
            parts = [(None, part) for part in tree.body] + list(defaults(tree.args))
            for default, part in parts:
                for old in evaluated(part):
                    news = replacements(old)
                    found.extend(Mutant(function, module, old, new, default) for new in news)
    return found


@dataclasses.dataclass(eq=False)  # a plugin is hashed
class Runner:
    """A pytest plugin that runs the collected tests for one mutant after the other."""

    chosen: list[Mutant]
    seconds: float

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # for all
        status, said = forked(lambda: watch(session.items, self.chosen), 7200)
        if session.testsfailed or status:
            raise SystemExit(f"The tests have to pass before anything is changed. {said}")
        seconds, callers = json.loads(said)
        print(f"{len(seconds)} tests in {sum(seconds):.0f} s", flush=True)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for mutant in self.chosen:
            tests = callers.get(mutant.key, [])
            tests.sort(key=seconds.__getitem__)
            items = [(session.items[i], seconds[i]) for i in tests]
            start = time.monotonic()
            status, said = forked(lambda m=mutant, i=items: self.trial(m, i), PATIENCE)
            verdict = VERDICTS.get(status, "crashed") if tests else "not run"
            counts[mutant.room][verdict] += 1
            took = time.monotonic() - start
            print(f"{verdict:9} {took:5.1f} s  {mutant}  [{said}]", flush=True)
        print(table(counts))
        return True

    def trial(self, mutant: Mutant, items: list[tuple[pytest.Item, float]]) -> str:
        """Run the tests on the changed function: a thing to do in a fork."""
        mutant.plant()
        end = time.monotonic() + self.seconds

        def next_test(i: int) -> None:
            if time.monotonic() > end:
                raise OutOfTime(f"after {i} of {len(items)} tests")
            signal.alarm(int(PATIENCE + 5 * items[i][1]))

        run([item for item, _ in items], next_test)
        return f"{len(items)} tests"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            raise AssertionError(report.nodeid)


class OutOfTime(Exception):
    """Not all tests of a mutant have run."""


def table(counts: dict[str, Counter[str]]) -> str:
    """Return the score of each folder and of all: killed of those decided."""
    lines = []
    for room, some in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        decided = some.total() - some["undecided"]
        killed = decided - some["survived"] - some["not run"]
        share = f"{killed / decided:.1%}" if decided else "-"
        lines.append(f"{room:32} {killed:4} of {decided:4} killed, {share:>6}  {dict(some)}")
    return "\n".join(lines)


def run(items: list[pytest.Item], before: Callable[[int], None] = lambda i: None) -> None:
    """Run the tests, ``before`` ahead of each, up to the first that fails: that is raised."""
    for i, (item, following) in enumerate(itertools.pairwise([*items, None])):
        before(i)
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)


def watch(items: list[pytest.Item], chosen: list[Mutant]) -> str:
    """Run all tests. Return how long each takes, and which execute each of the functions.

    The functions get a first statement that reports them. A trace of all calls would make kernels
    that run as Python ten times slower.
    """
    starts: list[float] = []
    callers: dict[str, set[int]] = defaultdict(set)
    builtins.__report__ = lambda key: callers[key].add(len(starts) - 1)  # type: ignore[attr-defined]
    functions = {mutant.key: (mutant.function, mutant.module) for mutant in chosen}
    reporting: dict[int, dict[tuple[str, int], CodeType]] = {}
    for key, (function, module) in functions.items():
        path = function.__code__.co_filename
        if id(module) not in reporting:
            for tree in functions_in(module):
                tree.body[:0] = ast.parse(f"__report__('{path}:{first_line(tree)}')").body
            reporting[id(module)] = {
                (c.co_qualname, c.co_firstlineno): c
                for c in codes_in(compile(module, path, "exec"))
            }
        code = function.__code__
        function.__code__ = reporting[id(module)][code.co_qualname, code.co_firstlineno]
        assert key == f"{path}:{code.co_firstlineno}"
    run(items, lambda i: starts.append(time.monotonic()))
    seconds = [b - a for a, b in itertools.pairwise([*starts, time.monotonic()])]
    return json.dumps([seconds, {key: sorted(tests) for key, tests in callers.items()}])


def forked(work: Callable[[], str], seconds: float) -> tuple[int, str]:
    """Run ``work`` in a fork. Return its exit status, and what it returns or how it fails."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        return os.waitpid(pid, 0)[1], said
    signal.alarm(int(seconds))  # ends the process, whatever it is at
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    status = 1
    try:
        said, status = work(), 0
    except OutOfTime as error:
        said, status = str(error), UNDECIDED
    except BaseException as error:
        said = str(error) or repr(error)
        if not isinstance(error, AssertionError):
            said += f"\n{traceback.format_exc()}"
    with os.fdopen(write, "w") as pipe:
        pipe.write(said)
    os._exit(status)  # at once: what is open belongs to the parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", usage=__doc__)
    parser.add_argument("--sample", type=int, help="so many, drawn from all")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--only", nargs="+", default=[""], help="texts, of which a report has one")
    parser.add_argument("--without", nargs="+", default=[], help="texts that a report has not")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files and folders of tests")
    parser.add_argument("--seconds", type=float, default=120, help="for the tests of one mutant")
    parser.add_argument("--examples", type=int, default=25, help="of each property")
    options = parser.parse_args()
    chosen = [
        mutant for mutant in mutants()
        if any(text in str(mutant) for text in options.only)
        and not any(text in str(mutant) for text in options.without)
    ]  # fmt: skip
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    settings.register_profile(
        "mutation", max_examples=options.examples, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    flags = ["-s", "-pno:terminal", "-pno:faulthandler", "-pno:xdist", "-oaddopts="]
    flags += ["-Wignore::pytest.PytestAssertRewriteWarning"]  # of hypothesis: known already
    flags += [f"--ignore={folder}" for folder in ELSEWHERE]
    sys.exit(pytest.main([*options.tests, *flags], plugins=[Runner(chosen, options.seconds)]))


if __name__ == "__main__":
    main()
