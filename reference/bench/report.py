"""What was measured, as an object, as text and for JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.bench.machine import Peak
from reference.bench.measure import Agreement, Quartiles, Timing
from reference.bench.memory import Memory
from reference.bench.operations import Work
from reference.bench.workloads import Workload

WIDTH = 100
BUSY = 0.1  # cores kept busy by others from which on the times are not to be trusted


@dataclass(frozen=True)
class Result:
    """What was measured of one workload at one batch size on so many threads."""

    name: str
    workload: Workload
    batch: int
    threads: int
    agreement: Agreement
    timing: Timing
    other_load: float | None  # cores that other processes kept busy meanwhile
    memory: Mapping[str, Memory]  # of no side where it was not asked for
    work: Work

    @property
    def sides(self) -> list[str]:
        return list(self.timing.seconds)

    @property
    def ours(self) -> str:
        return self.sides[0]

    @property
    def best(self) -> str:
        """The fastest side of PyTorch."""
        return self.timing.best(side for side in self.sides if side.startswith("torch"))

    @property
    def ratio(self) -> Quartiles:
        return self.timing.ratio(self.ours, self.best)

    @property
    def busy(self) -> bool:
        return self.other_load is not None and self.other_load >= BUSY

    def flops(self, side: str) -> float:
        """FLOP/s, counted as if every product were done."""
        return self.work.flops / self.timing.quartiles(side).median

    def as_dict(self) -> dict[str, Any]:
        return {
            "workload": self.name,
            "batch": self.batch,
            "threads": self.threads,
            "agreement": self.agreement._asdict(),
            "steps_per_block": self.timing.steps,
            "work": self.work._asdict(),
            "sides": {side: self._side(side) for side in self.sides},
            "best_of_torch": self.best,
            "ratio": self.ratio._asdict(),
            "cores_busy_with_others": self.other_load,
        }

    def _side(self, side: str) -> dict[str, Any]:
        about = {
            "seconds": self.timing.quartiles(side)._asdict(),
            "seconds_by_round": self.timing.seconds[side],
            "effective_flops": self.flops(side),
        }
        if side != self.ours:
            about["ratio"] = self.timing.ratio(self.ours, side)._asdict()
        if side in self.memory:
            about["bytes"] = self.memory[side]._asdict()
        return about


# ------------------------------------------------------------------------------------------- text


def settings(environment: dict[str, Any], peaks: list[Peak]) -> str:
    """Return what the times depend on, and what the machine can do."""
    ours, torch, variables = (environment[key] for key in ("minicnn", "torch", "variables"))
    blas = [
        f"{pool['library'].partition('-')[0]} {pool['version']} ({pool['architecture']}) "
        f"of {pool['of'].removesuffix('.libs')} on {pool['threads']}"
        for pool in environment["pools"]
        if pool["kind"] == "blas"
    ]
    unset = [name for name, value in variables.items() if value is None]
    lines = {
        "machine": f"{environment['processor']}, {environment['cores']} cores, "
        f"{environment['system']}",
        "versions": ", ".join(f"{name} {v}" for name, v in environment["versions"].items()),
        "threads": ", ".join(str(peak.threads) for peak in peaks) + " of each side",
        "minicnn": f"threads of Numba ({ours['threading_layer']})",
        "torch": f"{torch['vectors']}, oneDNN {_switch(torch['mkldnn'])}, "
        f"MKL {_switch(torch['mkl'])}",
        "BLAS": "; ".join(blas) + " threads; minicnn holds it to 1 while it works",
        "variables": ", ".join(f"{n}={v}" for n, v in variables.items() if v is not None) or "none",
        "not set": ", ".join(unset),
    }
    for peak in peaks:
        lines[f"peak on {peak.threads}"] = (
            f"{peak.fma / 1e9:,.0f} GFLOP/s of multiply-adds in registers; of products of "
            f"matrices {peak.sgemm_torch / 1e9:,.0f} in torch, {peak.sgemm_numpy / 1e9:,.0f} in "
            f"NumPy; memory {peak.memory / 1e9:,.1f} GB/s"
        )
    return "\n".join(
        textwrap.fill(
            text, WIDTH - 4, initial_indent=f"{title:<11}", subsequent_indent=" " * 11,
            break_on_hyphens=False,
        )
        for title, text in lines.items()
    )  # fmt: skip


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("s" if n > 1 else "")


def _agreed(result: Result) -> str:
    agreement = result.agreement
    if agreement.way is None:
        return f"checked: the results agree to {agreement.result:.0e}"
    return (
        f"checked: over {agreement.steps} steps the losses agree to {agreement.result:.0e}, "
        f"the parameters' ways to {agreement.way:.0e}"
    )


def text(result: Result) -> str:
    """Return the result as a table, one line for each side.

    Networks are counted in images, operations in the bytes that they have to move.
    """
    timing, work = result.timing, result.work
    networks = result.workload.is_network
    lines = [
        f"{result.workload.title}, batch {result.batch}, {_count(result.threads, 'thread')}"
        f"    ({result.name})",
        f"  {_agreed(result)}",
        f"  {'ms a step':<20}{'median':>9}{'quartiles':>19}"
        f"{'images/s' if networks else 'GB/s':>10}{'GFLOP/s':>9}{'ours / it':>11}"
        + (f"{'peak MB':>9}{'1 image':>9}" if result.memory else ""),
    ]
    for side in result.sides:
        seconds = timing.quartiles(side)
        median, lower, upper = (1e3 * s for s in seconds)
        rate = result.batch if networks else work.bytes / 1e9
        share = timing.ratio(result.ours, side).median
        line = (
            f"  {side:<20}{median:>9.3f}{f'{lower:.3f} - {upper:.3f}':>19}"
            f"{rate / seconds.median:>10,.{0 if networks else 1}f}"
            f"{f'{result.flops(side) / 1e9:,.1f}' if work.flops else '-':>9}"
            f"{f'{share:.3f}' if side != result.ours else '':>11}"
        )
        if peak := result.memory.get(side):
            line += f"{peak.peak / 1e6:>9.0f}{peak.one_image / 1e6:>9.0f}"
        lines.append(line.rstrip())
    ratio = result.ratio
    lines.append(
        f"  {result.ours} / {result.best}: {ratio.median:.3f}  "
        f"({ratio.lower:.3f} - {ratio.upper:.3f}), "
        f"{_count(len(timing.seconds[result.ours]), 'round')} "
        f"in blocks of {_count(timing.steps, 'step')}"
    )
    if result.busy:
        lines.append(
            f"  BEWARE: other processes kept {result.other_load:.2f} cores busy meanwhile. "
            "Measure again on an idle machine."
        )
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    """Return one line for each result: by what of PyTorch's best time minicnn gets along."""
    title = max(len(_headline(result)) for result in results)
    lines = [f"{'minicnn / the best of torch':<{title}}  ratio  quartiles"]
    for result in results:
        ratio = result.ratio
        lines.append(
            f"{_headline(result):<{title}}  {ratio.median:5.2f}  "
            f"{ratio.lower:.2f} - {ratio.upper:.2f}  {result.best}"
            + ("  (busy machine)" if result.busy else "")
        )
    return "\n".join(lines)


def _headline(result: Result) -> str:
    return f"{result.name}, batch {result.batch}, {_count(result.threads, 'thread')}"
