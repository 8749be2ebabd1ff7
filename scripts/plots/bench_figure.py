"""Draws what bench_data.py has read as one figure. Needs matplotlib and numpy."""

import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: E402

from plots import bench_data  # noqa: E402
from plots.bench_data import Point, Rate  # noqa: E402

INK, GRAY, RED = "#222222", "#7a7a7a", "#b5402f"
# Told apart without red and green (Okabe and Ito), and by their marks.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#444444")
MARKS = "osD^vPX*"
SETTINGS = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 9.5,
            "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": INK, "axes.labelcolor": INK,
            "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK}
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
MOST_WIDTHS = 2  # of rows that get a pair of lines of panels of their own


def byte_text(size: float, _position=None) -> str:
    scale, unit = next(((scale, unit) for scale, unit in UNITS if size >= scale), UNITS[-1])
    return f"{size / scale:.3g} {unit}"


def time_text(seconds: float, _position=None) -> str:
    scale, unit = (1, "s") if seconds >= 1 else (1e-3, "ms") if seconds >= 1e-3 else (1e-6, "µs")
    return f"{seconds / scale:.3g} {unit}"


def looks_of(points: list[Point]) -> dict[str, dict]:
    names = sorted({point.algorithm for point in points})
    return {name: {"color": COLORS[n % len(COLORS)], "marker": MARKS[n % len(MARKS)]} for n, name in enumerate(names)}


def draw_points(points: list[Point], headline: str, out):
    """Time over bytes and efficiency for the smallest and the largest width of rows, and who is best where."""
    plt.rcParams.update(SETTINGS)
    panels, looks = bench_data.panels_of(points)[:5], looks_of(points)
    widths = sorted({point.hidden for point in points})
    shown = widths if len(widths) <= MOST_WIDTHS else [widths[0], widths[-1]]
    crossings = bench_data.crossover_panels(points)[:2] if len(looks) > 1 and points[0].tokens else []
    map_height = 1.15 + 0.42 * len(widths)
    height = 5.1 * len(shown) + (map_height if crossings else 0)
    figure = plt.figure(figsize=(max(8.5, 3.5 * len(panels)), height + 0.9), layout="constrained")
    figure.suptitle(headline, x=0.01, ha="left", fontsize=10.5, color=INK)
    heights = [5.1] * len(shown) + ([map_height] if crossings else [])
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, width in zip(parts, shown):
        draw_width(part, [point for point in points if point.hidden == width], panels, looks, width)
    draw_legend(figure, points, looks)
    if crossings:
        for axes, panel in zip(parts[-1].subplots(1, len(crossings), squeeze=False)[0], crossings):
            draw_crossover(axes, points, panel, looks)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def draw_width(part, points: list[Point], panels: list[str], looks: dict, width: int):
    axes = part.subplots(2, len(panels), sharex=True, height_ratios=(3, 2), squeeze=False)
    for column, panel in enumerate(panels):
        here = [point for point in points if point.panel == panel]
        draw_times(axes[0, column], here, looks)
        draw_efficiency(axes[1, column], here, looks)
        axes[0, column].set_title(panel)
    share_scale(axes[0])
    axes[0, 0].set_ylabel(f"rows of {width}: time, slowest rank" if width else "time, slowest rank")
    axes[1, 0].set_ylabel("efficiency: bound / time")


def share_scale(row):
    """Times of neighbouring panels are compared, too."""
    limits = [axes.get_ylim() for axes in row if axes.has_data()]
    if not limits:
        return
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    for axes in row:  # at least two marks
        axes.set_ylim(10 ** min(math.floor(math.log10(low)), math.log10(high) - 1), high)


def of_algorithm(points: list[Point], name: str) -> list[Point]:
    return sorted((point for point in points if point.algorithm == name), key=lambda point: point.size)


def draw_times(axes, points: list[Point], looks: dict):
    for name, look in looks.items():
        line = of_algorithm(points, name)
        if not line:
            continue
        sizes, seconds = [point.size for point in line], [point.seconds for point in line]
        axes.plot(sizes, seconds, linewidth=1.5, markersize=4.5, **look)
        axes.fill_between(sizes, [point.low for point in line], [point.high for point in line], alpha=0.15,
                          color=look["color"], linewidth=0)
        wrong = [point for point in line if point.wrong]
        axes.plot([point.size for point in wrong], [point.seconds for point in wrong], "x", color=RED, markersize=11,
                  markeredgewidth=2.5)
    bounds = {point.size: point.bound for point in points if point.bound}
    if bounds:
        axes.plot(sorted(bounds), [bounds[size] for size in sorted(bounds)], color=INK, linewidth=1.2,
                  linestyle=(0, (4, 2)), marker="_" if len(bounds) == 1 else None, markersize=14)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(time_text))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    byte_axis(axes, {point.size for point in points})


def draw_efficiency(axes, points: list[Point], looks: dict):
    for name, look in looks.items():
        line = [point for point in of_algorithm(points, name) if point.efficiency is not None]
        axes.plot([point.size for point in line], [point.efficiency for point in line], linewidth=1.5, markersize=4.5,
                  **look)
    axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set_ylim(0, max([1.1, *(point.efficiency + 0.05 for point in points if point.efficiency is not None)]))
    axes.set_xscale("log", base=2)
    byte_axis(axes, {point.size for point in points})
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlabel("bytes of a rank's rows")


def byte_axis(axes, sizes: set[int]):
    """Marks at powers of four or wider, so that they do not run into each other."""
    if sizes:
        octaves = math.log2(max(sizes) / min(sizes))
        axes.xaxis.set_major_locator(LogLocator(base=2 ** max(1, math.ceil(octaves / 4))))
        axes.xaxis.set_minor_locator(NullLocator())
        if len(sizes) == 1:
            axes.set_xlim(min(sizes) / 2, max(sizes) * 2)
    axes.xaxis.set_major_formatter(FuncFormatter(byte_text))


def draw_legend(figure, points: list[Point], looks: dict):
    handles = [plt.Line2D([], [], linewidth=1.5, markersize=5, label=name, **look) for name, look in looks.items()]
    if any(point.bound for point in points):
        handles.append(plt.Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="bound"))
    if any(point.low < point.high for point in points):
        handles.append(Rectangle((0, 0), 1, 1, color=GRAY, alpha=0.3, label="interval of the median"))
    if any(point.wrong for point in points):
        handles.append(plt.Line2D([], [], color=RED, marker="x", linestyle="", markersize=9, markeredgewidth=2.5,
                                  label="wrong rows"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)


def draw_crossover(axes, points: list[Point], panel: str, looks: dict):
    """A map of tokens x width in the colour of the fastest, with what the next one takes more."""
    found = bench_data.winners(points, panel)
    tokens, widths = sorted({t for t, _ in found}), sorted({h for _, h in found})
    for (t, h), winner in found.items():
        column, row = tokens.index(t), widths.index(h)
        color = looks[winner.algorithm]["color"]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=2,
                                 alpha=0.85 if winner.sure else 0.4))
        lead = "alone" if winner.lead is None else f"{winner.lead:.2f} ×"
        axes.annotate(f"{winner.algorithm}\n{lead}", (column, row), ha="center", va="center", fontsize=7.5,
                      color="white" if winner.sure else INK)
    axes.set_xlim(-0.5, max(len(tokens), 1) - 0.5)
    axes.set_ylim(-0.5, max(len(widths), 1) - 0.5)
    axes.set_xticks(range(len(tokens)), [f"{t:,}" for t in tokens])
    axes.set_yticks(range(len(widths)), [f"{h:,}" for h in widths])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("tokens of a rank")
    axes.set_ylabel("width of a row")
    axes.set_title(f"fastest, {panel}; × of the next one's time (pale: intervals overlap)")


def draw_rates(rates: list[Rate], headline: str, out):
    """A bar for each pattern; lines where patterns were measured at several sizes."""
    plt.rcParams.update(SETTINGS)
    patterns = list(dict.fromkeys(rate.pattern for rate in rates))
    figure = plt.figure(figsize=(9.5, 1.4 + 0.26 * len(rates)), layout="constrained")
    figure.suptitle(headline, x=0.01, ha="left", fontsize=10.5, color=INK)
    axes = figure.subplots()
    several = len(rates) > len(patterns)
    labels = [f"{rate.pattern}, {byte_text(rate.size)}" if several else rate.pattern for rate in rates][::-1]
    values = [rate.gb_per_second for rate in rates][::-1]
    axes.barh(range(len(rates)), values, color=COLORS[0], height=0.72)
    axes.set_yticks(range(len(rates)), labels)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    for row, value in enumerate(values):
        axes.annotate(f"{value:.3g}", (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_ylim(-0.6, len(rates) - 0.4)
    axes.set_xlabel("GB/s of one rank, all ranks at once; read and written together")
    axes.set_title("what the machine does")
    figure.savefig(out, dpi=120)
    plt.close(figure)
