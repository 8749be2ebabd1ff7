"""Reads what `expar bench ... --json` wrote, for plot_bench.py; needs the standard library alone."""

import collections
import dataclasses
import json
from pathlib import Path

BYTES_OF = {"float64": 8, "float32": 4, "bf16": 2, "bfloat16": 2, "fp8": 1}
# What an algorithm is: named by those of them that differ within a file.
ALGORITHM_KEYS = ("dispatcher", "exchange", "algorithm", "combine_order", "chunks", "layers", "cached_plan")
# What must be equal for times to be compared, beside tokens and hidden, which a picture spreads out.
SETTING_KEYS = ("workload", "seed", "top_k", "experts", "ranks", "nodes", "dtype", "cache", "mode")
# Phases that are a part of another.
PARTS = ("plan", "counts")


class Unreadable(Exception):
    """A file that cannot be drawn; says which, what and where."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One measured time."""
    panel: str  # "forward dispatch"
    setting: tuple  # (key, value) of SETTING_KEYS
    algorithm: str
    tokens: int
    hidden: int
    size: int  # bytes of the tokens' rows of a rank, or of what else is moved
    seconds: float
    low: float
    high: float
    bound: float | None
    efficiency: float | None
    wrong: int


@dataclasses.dataclass(frozen=True)
class Rate:
    """One pattern of a probe."""
    pattern: str
    size: int
    gb_per_second: float


def read_rows(path: Path) -> tuple[dict, list[dict]]:
    """Provenance and rows."""
    try:
        text = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: no JSON ({error})") from error
    rows = text.get("rows") if isinstance(text, dict) else text
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable(f"{path}: has no rows; expected what `expar bench ... --json` wrote")
    if not rows:
        raise Unreadable(f"{path}: has no row yet")
    return (text.get("provenance") or {} if isinstance(text, dict) else {}), rows


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def has_time(row: dict) -> bool:
    return is_number(row.get("median_seconds")) and row["median_seconds"] > 0


def rates_of(rows: list[dict]) -> list[Rate]:
    return [Rate(str(row["pattern"]), int(row.get("bytes") or 0), float(row["gb_per_second"]))
            for row in rows if "pattern" in row and is_number(row.get("gb_per_second"))]


def size_of(row: dict) -> int:
    if is_number(row.get("bytes")):
        return int(row["bytes"])
    return int(row.get("tokens") or 0) * int(row.get("hidden") or 0) * BYTES_OF.get(str(row.get("dtype")), 4)


def panel_of(row: dict) -> str:
    if "algorithm" in row and "phase" not in row:
        return "allreduce"
    return f"{row.get('direction', '')} {row.get('phase', '')}".strip() or "time"


def naming_keys(rows: list[dict]) -> list[str]:
    """Of ALGORITHM_KEYS those that tell algorithms apart: cached_plan where one phase is there with and without."""
    keys = [key for key in ALGORITHM_KEYS[:-1] if len({str(row.get(key)) for row in rows}) > 1]
    ways = collections.defaultdict(set)
    for row in rows:
        ways[panel_of(row)].add(bool(row.get("cached_plan")))
    if any(len(both) > 1 for both in ways.values()):
        keys.append("cached_plan")
    # One that follows from what is there already: the only exchange of a dispatcher says nothing more.
    return keys or [next((key for key in ALGORITHM_KEYS if rows and rows[0].get(key)), "dispatcher")]


def algorithm_of(row: dict, keys: list[str]) -> str:
    parts = []
    for key in keys:
        value = row.get(key)
        if key == "cached_plan":
            parts += ["plan cached"] if value else []
        elif key in ("chunks", "layers"):
            parts += [f"{value} {key}"] if value is not None else []
        elif value not in (None, "", "-"):
            parts.append(str(value))
    return " · ".join(parts) or "measured"


def points_of(rows: list[dict]) -> list[Point]:
    rows = [row for row in rows if "pattern" not in row and has_time(row) and size_of(row) > 0]
    keys = naming_keys(rows)
    points = []
    for row in rows:
        seconds = row["median_seconds"]
        points.append(Point(
            panel=panel_of(row), setting=tuple((key, row[key]) for key in SETTING_KEYS if key in row),
            algorithm=algorithm_of(row, keys), tokens=int(row.get("tokens") or 0), hidden=int(row.get("hidden") or 0),
            size=size_of(row), seconds=seconds, low=row.get("ci_low_seconds") or seconds,
            high=row.get("ci_high_seconds") or seconds, bound=row.get("bound_seconds"),
            efficiency=row.get("efficiency"), wrong=int(row.get("wrong_rows") or row.get("wrong_elements") or 0)))
    return points


def settings_of(points: list[Point]) -> list[tuple]:
    """The one with most points first."""
    return [setting for setting, _ in collections.Counter(point.setting for point in points).most_common()]


def describe_setting(setting: tuple, besides: list[tuple] = ()) -> str:
    """All of it, or, beside others, what differs from one of them."""
    differing = [key for key, value in setting if any(dict(other).get(key) != value for other in besides)]
    return ", ".join(f"{key}={value}" for key, value in setting if not besides or key in differing)


def panels_of(points: list[Point]) -> list[str]:
    """What is drawn over bytes, in the order of a layer: whole movements where there are any, else what there is."""
    names = list(dict.fromkeys(point.panel for point in points))
    whole = [name for name in names if name.split()[-1] not in (*PARTS, "total")] or names
    order = ["forward dispatch", "forward compute", "forward combine", "backward combine", "backward dispatch"]
    return sorted(whole, key=lambda name: order.index(name) if name in order else len(order))


def crossover_panels(points: list[Point]) -> list[str]:
    names = list(dict.fromkeys(point.panel for point in points))
    return [name for name in names if name.split()[-1] == "total"] or panels_of(points)[:2]


@dataclasses.dataclass(frozen=True)
class Winner:
    algorithm: str
    lead: float | None  # time of the next best / its own; None: it ran alone
    sure: bool  # their intervals do not overlap


def winners(points: list[Point], panel: str) -> dict[tuple[int, int], Winner]:
    """Which algorithm is fastest, by (tokens, hidden). Those with wrong rows take no part."""
    cells = collections.defaultdict(list)
    for point in points:
        if point.panel == panel and not point.wrong:
            cells[point.tokens, point.hidden].append(point)
    found = {}
    for cell, there in cells.items():
        best, *others = sorted(there, key=lambda point: point.seconds)
        following = next((point for point in others if point.algorithm != best.algorithm), None)
        found[cell] = Winner(best.algorithm, following.seconds / best.seconds if following else None,
                             following is not None and best.high < following.low)
    return found
