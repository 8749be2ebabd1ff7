"""What a run folder holds, reduced to what a picture can show.

Everything but read_routing needs the standard library alone.
"""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from studies.information import mean_shares, mutual_information


class Unreadable(Exception):
    """A file that is missing or not what it should be, in one line."""


def read_metrics(path: Path) -> tuple[list[dict], list[str]]:
    """The lines of metrics.jsonl and what there is to say of them; a killed run may leave the last one cut short."""
    try:
        text = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: {getattr(error, 'strerror', None) or 'no text'}") from None
    lines, notes = [], []
    for number, line in enumerate(text, 1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(text):
                raise Unreadable(f"{path}: line {number} is no JSON") from None
            notes.append(f"{path}: line {number}, the last, is cut short and left out")
    if not all(isinstance(line, dict) and "step" in line for line in lines):
        raise Unreadable(f"{path}: holds a line without a step")
    if not lines:
        raise Unreadable(f"{path}: holds no step yet")
    return lines, notes


def read_json(path: Path):
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except ValueError:
        raise Unreadable(f"{path}: is no JSON") from None


def column(lines: list[dict], key: str) -> list[float]:
    """A value per step; what is missing or null becomes a gap in the curve."""
    return [line[key] if line.get(key) is not None else math.nan for line in lines]


def running_mean(values: list[float], width: int) -> list[float]:
    """The mean over `width` steps around each, over fewer at the ends."""
    around = [values[max(0, n - width // 2):n + width // 2 + 1] for n in range(len(values))]
    return [sum(part) / len(part) for part in around]


@dataclasses.dataclass
class Phase:
    name: str
    seconds: float  # the median over the steps
    share: float    # of the median step


def phases_of(lines: list[dict], most: int = 16) -> list[Phase]:
    """The phases of a step, longest first; what lies beyond `most` is summed up. Empty where nothing was recorded."""
    timed = [line for line in lines if line.get("phase_seconds") and line.get("seconds")]
    if not timed:
        return []
    step = statistics.median(line["seconds"] for line in timed)
    names = {name: None for line in timed for name in line["phase_seconds"]}
    medians = {name: statistics.median(line["phase_seconds"].get(name, 0.0) for line in timed) for name in names}
    phases = [Phase(name, seconds, seconds / step) for name, seconds in medians.items() if seconds > 0]
    phases.sort(key=lambda phase: -phase.seconds)
    shown, rest = (phases, []) if len(phases) <= most else (phases[:most - 1], phases[most - 1:])
    if rest:
        shown.append(Phase(f"{len(rest)} more", sum(p.seconds for p in rest), sum(p.share for p in rest)))
    return shown


@dataclasses.dataclass
class Specialisation:
    """How much the choice of an expert says of the domain, in one layer."""
    layer: int                 # counted among the MoE layers
    bits: float                # mutual information of domain and expert, every domain counted alike
    ratio: list[list[float]]   # [domains][experts]: share of the domain's choices, over the mean of the domains


def specialisation_of(loads: list[list[float]], layer: int) -> Specialisation:
    """`loads`: [domains][experts], choices. A domain without choices takes no part."""
    mean = mean_shares(loads)
    ratio = [[count / sum(row) / mean[e] if sum(row) and mean[e] > 0 else math.nan for e, count in enumerate(row)]
             for row in loads]
    return Specialisation(layer, mutual_information(loads), ratio)


def domain_loads(summary: dict | None, evaluated: list[Path]) -> dict[str, list[list[float]]]:
    """{domain: [MoE layers][experts]}: from files or folders of `expar eval --json`, else from the run's validation."""
    rows = []
    for path in evaluated:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            rows += read_json(file).get("domains", [])
    if not evaluated and summary:
        rows = summary.get("validation", [])
    loads = {row["domain"]: row["expert_loads"] for row in rows if row.get("expert_loads")}
    if len({(len(layers), len(layers[0])) for layers in loads.values()}) > 1:
        raise Unreadable("the domains' expert loads have not the same layers and experts: they are of several models")
    return loads


def specialisations(loads: dict[str, list[list[float]]]) -> list[Specialisation]:
    """One per MoE layer; none where fewer than two domains were routed."""
    routed = [layers for layers in loads.values() if sum(layers[0])]
    if len(routed) < 2:
        return []
    return [specialisation_of([layers[n] for layers in loads.values()], n) for n in range(len(routed[0]))]


def bins_of(count: int, most: int) -> list[tuple[int, int]]:
    """0 … count cut into at most `most` runs of nearly equal length: [begin, end)."""
    bins = min(count, most)
    return [(count * n // bins, count * (n + 1) // bins) for n in range(bins)]


@dataclasses.dataclass
class Routing:
    layers: list[int]      # of the model
    experts: int
    edges: list[float]     # of the bins, in steps: one more than bins
    ratio: list            # per layer [experts, bins]: load over the mean of the layer's experts


# Reads what open_while_written opens, in a process that can be ended.
PROBE = """
import sys, h5py
with h5py.File(sys.argv[1], "r", swmr=True) as file:
    for name in ("step", "layer", "loads"):
        file[name][...]
"""


def open_while_written(path: Path, patience_seconds: float = 30):
    """An HDF5 file that is complete, is being written, or whose writer was killed.

    HDF5 waits for ever for the rest of one that its writer did not close and that was cut short then: the plain way
    comes first, and the other is tried out before.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "already open" not in str(error):
            raise
    try:
        subprocess.run([sys.executable, "-c", PROBE, str(path)], timeout=patience_seconds, stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{path}: is cut short") from None
    return h5py.File(path, "r", swmr=True)


def read_routing(path: Path, most_bins: int = 120) -> Routing:
    """Expert loads over time from routing.h5, also of a run that still writes or was killed."""
    import numpy

    try:
        with open_while_written(path) as file:
            loads = file["loads"]
            count = min(loads.shape[0], file["step"].shape[0])
            if count == 0:
                raise Unreadable(f"{path}: holds no step yet")
            steps = file["step"][:count]
            bins = bins_of(count, most_bins)
            sums = numpy.stack([loads[begin:end].sum(axis=0, dtype=float) for begin, end in bins], axis=-1)
            layers = [int(layer) for layer in file["layer"][...]]
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise Unreadable(f"{path}: {' '.join(str(error).split())}") from None
    mean = sums.mean(axis=1, keepdims=True)
    ratio = numpy.divide(sums, mean, out=numpy.full_like(sums, numpy.nan), where=mean > 0)
    edges = [float(steps[begin]) - 0.5 for begin, _ in bins] + [float(steps[-1]) + 0.5]
    return Routing(layers, sums.shape[1], edges, list(ratio))
