"""Mutation testing of minicnn.ops: would a test notice if a line were wrong?

    python -m tests.mutation                        # every mutant, about an hour on one core
    python -m tests.mutation --sample 400 --seed 0  # as many, drawn from all
    python -m tests.mutation --only conv2d          # those with this text in their report

A mutant is an operation with one thing changed in one place: an operator, a constant, a condition,
two arguments, a statement left out, the height in the place of the width. It is killed if a test
fails. If all pass it survives: a test is missing, or the mutant computes what the original does.

Modules are imported and tests collected once. From that a process is forked for each mutant. It
gives the function its changed code, in memory, and runs the tests that call the function, the
quickest first, and those that call no operation, until one fails. What Numba compiles stays.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import itertools
import json
import os
import pkgutil
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, FunctionType
from typing import NamedTuple

os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # forks and threads do not mix
os.environ["HYPOTHESIS_PROFILE"] = "mutation"

import pytest
import torch.fx.experimental.symbolic_shapes  # noqa: F401  (autograd would, in each fork)
from hypothesis import HealthCheck, Phase, settings

TESTS = ("tests/ops", "tests/parity", "tests/mathematics")
PATIENCE = 30  # seconds for a mutant, beyond three times what its tests take
AT_IMPORT = (  # what conv2d calls only then
    "_make_tile", "_tile_in_python", "_vector_bytes", "_make_transform", "_transform_in_python",
    "_matrices",
)  # fmt: skip
VERDICTS = {0: "survived", 1 << 8: "killed", signal.SIGALRM.value: "timed out"}  # by exit status

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
    tree: ast.FunctionDef
    old: ast.AST
    new: ast.AST

    def __str__(self) -> str:
        file = Path(self.function.__code__.co_filename).relative_to(Path.cwd())
        old, new = (" ".join(ast.unparse(n).split())[:90] for n in (self.old, self.new))
        place = f"{file}:{self.old.lineno}:{self.old.col_offset}"
        return f"{place} {self.function.__name__}: {old}  ->  {new}"

    def trial(self, tests: list[pytest.Item]) -> str:
        """Change the function, for good, and run the tests on it: a thing to do in a fork."""
        old, new = self.old, self.new

        class Replace(ast.NodeTransformer):
            def visit(self, node: ast.AST) -> ast.AST:
                return new if node is old else self.generic_visit(node)

        self.tree.decorator_list = []
        tree = ast.Module([Replace().visit(self.tree)], [])
        ast.fix_missing_locations(tree)
        names = dict(self.function.__globals__)
        exec(compile(tree, self.function.__code__.co_filename, "exec"), names)
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self.function, part, getattr(names[self.tree.name], part))
        run(tests)
        return f"{len(tests)} tests"


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of the functions in minicnn.ops that are Python when they run."""
    package = importlib.import_module("minicnn.ops")
    for info in pkgutil.walk_packages(package.__path__, "minicnn.ops."):
        module = importlib.import_module(info.name)
        for tree in ast.parse(inspect.getsource(module)).body:
            if not isinstance(tree, ast.FunctionDef) or tree.name in AT_IMPORT:
                continue
            if any(ast.unparse(d).startswith("kernel") for d in tree.decorator_list):
                continue
            function = inspect.unwrap(getattr(module, tree.name))
            defaults = [d for d in (*tree.args.defaults, *tree.args.kw_defaults) if d]
            for part in (*defaults, *tree.body):
                for old in ast.walk(part):
                    yield from (Mutant(function, tree, old, new) for new in replacements(old))


class Runner(NamedTuple):
    """A pytest plugin that runs the collected tests for one mutant after the other."""

    chosen: list[Mutant]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        codes = {id(mutant.function.__code__) for mutant in mutants()}
        status, said = forked(lambda: watch(session.items, codes), 3600)
        if session.testsfailed or status:
            raise SystemExit(f"The tests have to pass before anything is changed. {said}")
        seconds, callers = json.loads(said)
        others = set(range(len(seconds))).difference(*callers.values())  # these call none of them
        counts: Counter[str] = Counter()
        for mutant in self.chosen:
            tests = callers.get(str(id(mutant.function.__code__)), [])
            tests = [*sorted(tests, key=seconds.__getitem__), *others]
            items = [session.items[i] for i in tests]
            start, limit = time.monotonic(), PATIENCE + 3 * sum(seconds[i] for i in tests)
            status, said = forked(lambda m=mutant, i=items: m.trial(i), limit)
            counts[verdict := VERDICTS.get(status, "crashed")] += 1
            print(f"{verdict:9} {time.monotonic() - start:5.1f} s  {mutant}  [{said}]", flush=True)
        killed = counts.total() - counts["survived"]
        print(f"{killed} of {counts.total()} killed, {killed / counts.total():.1%}: {dict(counts)}")
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            raise AssertionError(report.nodeid)


def run(items: list[pytest.Item], before: Callable[[int], None] = lambda i: None) -> None:
    """Run the tests, ``before`` ahead of each, up to the first that fails: that is raised."""
    for i, (item, following) in enumerate(itertools.pairwise([*items, None])):
        before(i)
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)


def watch(items: list[pytest.Item], codes: set[int]) -> str:
    """Run all tests. Return how long each takes, and which call the code objects of these ids."""
    starts, callers = [], defaultdict(set)

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and id(frame.f_code) in codes:
            callers[id(frame.f_code)].add(len(starts) - 1)

    sys.setprofile(see)
    run(items, lambda i: starts.append(time.monotonic()))
    sys.setprofile(None)
    seconds = [b - a for a, b in itertools.pairwise([*starts, time.monotonic()])]
    return json.dumps([seconds, {code: list(tests) for code, tests in callers.items()}])


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
    except BaseException as error:
        said = str(error) or repr(error)
    with os.fdopen(write, "w") as pipe:
        pipe.write(said)
    os._exit(status)  # at once: what is open belongs to the parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", usage=__doc__)
    for name, kind, default in (("sample", int, None), ("seed", int, 0), ("only", str, "")):
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in str(mutant)]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    settings.register_profile(
        "mutation", max_examples=25, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    flags = ["-s", "-pno:terminal", "-pno:faulthandler", "-oaddopts="]
    flags += ["-Wignore::pytest.PytestAssertRewriteWarning"]  # of hypothesis: known already
    sys.exit(pytest.main([*TESTS, *flags], plugins=[Runner(chosen)]))


if __name__ == "__main__":
    main()
