"""Draws what run_data.py has read as one figure. Needs matplotlib and numpy."""

import dataclasses
import math
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy  # noqa: E402
from matplotlib.colors import LogNorm  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from plots.run_data import Phase, Routing, Specialisation, column, running_mean  # noqa: E402

REFERENCES = (("unigram", "unigram entropy"), ("bigram", "bigram entropy"), ("trigram", "trigram entropy"),
              ("gzip", "gzip -9"), ("xz", "xz -9"))
INK, GRAY, BLUE, RED = "#222222", "#7a7a7a", "#1f5fa8", "#b5402f"
RATIOS = "RdBu_r"  # diverging, white where a load is the mean; both ends are told apart without red and green
SHARE = "expert's share of the domain's choices / its mean over the domains"
# Phases in which ranks wait for one another, and their backwards.
BETWEEN_RANKS = ("plan", "dispatch", "combine", "objective", "reduce", "clip")
SETTINGS = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 9.5,
            "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": INK, "axes.labelcolor": INK,
            "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK}


@dataclasses.dataclass
class RunPicture:
    headline: str
    lines: list[dict]
    references: list[dict] | None
    phases: list[Phase]
    routing: Routing | None
    domains: list[str]
    specialisations: list[Specialisation]


def draw(picture: RunPicture, out):
    plt.rcParams.update(SETTINGS)
    curves_height = 6.4
    columns, rows = map_grid(picture.routing)
    map_height = min(2.4, 1.05 + 0.02 * picture.routing.experts) if picture.routing else 0
    maps_height = rows * map_height + 1.0 if picture.routing else 0
    figure = plt.figure(figsize=(13, curves_height + maps_height + 0.35), layout="constrained")
    figure.suptitle(picture.headline, x=0.01, ha="left", fontsize=11, color=INK)
    parts = figure.subfigures(2, 1, height_ratios=(curves_height, maps_height), hspace=0.02) if rows else [figure]
    draw_upper(parts[0], picture)
    if rows:
        draw_loads(parts[1], picture.routing, columns, rows)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def draw_upper(part, picture: RunPicture):
    """Curves on the left; on the right where the time goes and what the experts have become, as far as it is known."""
    right = [draw_one for draw_one, known in ((draw_phases, picture.phases),
                                              (draw_specialisation, picture.specialisations)) if known]
    left, beside = part.subfigures(1, 2, width_ratios=(7, 6), wspace=0.02) if right else (part, None)
    draw_curves(left, picture)
    if not right:
        return
    heights = {draw_phases: 3.0, draw_specialisation: 2.6}
    axes = beside.subplots(len(right), 1, height_ratios=[heights[draw_one] for draw_one in right], squeeze=False)[:, 0]
    for draw_one, one in zip(right, axes):
        draw_one(one, picture)


def draw_curves(part, picture: RunPicture):
    small = [(key, label, scale, low) for key, label, scale, low in
             (("communication_share", "communication, % of the step", 100, 0),
              ("load_max_over_mean", "load of the busiest expert / mean", 1, 1),
              ("router_entropy", "entropy of the router, nats", 1, None))
             if any(not math.isnan(value) for value in column(picture.lines, key))]
    axes = part.subplots(1 + len(small), 1, sharex=True, height_ratios=[3.2] + [1] * len(small), squeeze=False)[:, 0]
    draw_loss(axes[0], picture.lines, picture.references)
    for one, (key, label, scale, low) in zip(axes[1:], small):
        values = [scale * value for value in column(picture.lines, key)]
        draw_smoothed(one, column(picture.lines, "step"), values, INK)
        one.set_title(label, pad=3)
        if low is not None:
            one.set_ylim(bottom=low)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_smoothed(axes, steps, values, color):
    """Every step faintly, and their running mean where there are enough of them."""
    width = max(1, len(values) // 50)
    if width > 1:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.7)
    axes.plot(steps, running_mean(values, width), color=color, linewidth=1.4, marker="o" if len(values) == 1 else None)


def draw_loss(axes, lines: list[dict], references: list[dict] | None):
    steps, values = column(lines, "step"), column(lines, "bits_per_byte")
    draw_smoothed(axes, steps, values, BLUE)
    axes.set_title("training loss, bits per byte")
    known = [value for value in values if not math.isnan(value)] or [0, 8]
    low, high = min(known), min(8.5, max(known) + 0.3)
    if references:
        whole = references[-1]
        low = min([low, *(whole[key] for key, _ in REFERENCES), whole.get("expar", low)])
        # Labels share the right margin: each is lifted clear of the one below it.
        floor = -math.inf
        for key, label in sorted(REFERENCES, key=lambda reference: whole[reference[0]]):
            floor = max(whole[key], floor + 0.055 * (high - low))
            axes.axhline(whole[key], color=GRAY, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(f"{label} {whole[key]:.2f}", (1.01, floor), xycoords=axes.get_yaxis_transform(), color=GRAY,
                          va="center", annotation_clip=False)
        if "expar" in whole:
            axes.plot(steps[-1], whole["expar"], marker="o", color=RED, clip_on=False, zorder=3)
            axes.annotate(f"held out {whole['expar']:.2f}", (steps[-1], whole["expar"]), xytext=(-6, 8), ha="right",
                          textcoords="offset points", color=RED)
    axes.set_ylim(low - 0.15, max(high, low + 0.5))


def draw_phases(axes, picture: RunPicture):
    phases = picture.phases[::-1]
    colors = [RED if phase.name.startswith(BETWEEN_RANKS) else BLUE for phase in phases]
    longest = max(phase.seconds for phase in phases)
    names = [phase.name.replace("_", " ") for phase in phases]
    axes.barh(names, [1e3 * phase.seconds for phase in phases], color=colors, height=0.72)
    for row, phase in enumerate(phases):
        axes.annotate(f"{milliseconds(phase.seconds)} ms · {100 * phase.share:.1f} %", (1e3 * phase.seconds, row),
                      xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1.32e3 * longest)
    axes.set_ylim(-0.6, len(phases) - 0.4)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_xlabel("milliseconds of a step: median over steps of the slowest rank")
    axes.set_title("time per phase, % of the step")
    for height, color, meaning in ((0.18, BLUE, "on a rank"), (0.1, RED, "between ranks")):
        axes.annotate(f"■ {meaning}", (0.76, height), xycoords="axes fraction", color=color)


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def draw_specialisation(axes, picture: RunPicture):
    """Domain x expert of the layer whose choices say most of the domain."""
    strongest = max(picture.specialisations, key=lambda one: one.bits)
    norm = ratio_norm([numpy.array(strongest.ratio, dtype=float)])
    image = draw_ratio(axes, strongest.ratio, picture.domains, norm)
    axes.set_xlabel("expert")
    layers = picture.routing.layers if picture.routing else range(len(picture.specialisations))
    layer = layers[strongest.layer] if strongest.layer < len(layers) else strongest.layer
    among = f", the strongest of {len(layers)}" if len(layers) > 1 else ""
    axes.set_title(f"specialisation in layer {layer}{among}: {strongest.bits:.2f} bit")
    color_bar(axes.figure, image, axes, SHARE, 0.5)


def draw_ratio(axes, ratio: list[list[float]], domains: list[str], norm: LogNorm):
    """A map of domain x expert, with its numbers where there is room; returns its mesh for a color_bar."""
    ratio = numpy.array(ratio, dtype=float)
    image = axes.imshow(clipped(ratio, norm), norm=norm, cmap=RATIOS, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(domains)), [shortened(name) for name in domains])
    axes.tick_params(length=0, labelsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True))
    if ratio.shape[1] <= 12 and ratio.shape[0] <= 12:
        for domain, expert in numpy.ndindex(ratio.shape):
            dark = abs(math.log(max(ratio[domain, expert], 1e-9))) > 0.6 * math.log(norm.vmax)
            axes.annotate(f"{ratio[domain, expert]:.2f}", (expert, domain), ha="center", va="center", fontsize=8,
                          color="white" if dark else INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def shortened(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[:most - 1] + "…"


def map_grid(routing: Routing | None) -> tuple[int, int]:
    """Columns and rows of the maps of all layers."""
    if not routing:
        return 0, 0
    layers = len(routing.layers)
    columns = min(layers, 4 if layers <= 12 else 6 if layers <= 24 else 8)
    return columns, -(-layers // columns)


def draw_loads(part, routing: Routing, columns: int, rows: int):
    """A map of experts x steps for every MoE layer."""
    axes = part.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    norm = ratio_norm(routing.ratio)
    mesh = None
    for number, one in enumerate(axes.flat):
        if number >= len(routing.layers):
            one.set_visible(False)
            continue
        mesh = one.pcolormesh(routing.edges, numpy.arange(routing.experts + 1) - 0.5,
                              clipped(routing.ratio[number], norm), norm=norm, cmap=RATIOS, rasterized=True)
        one.set_title(f"layer {routing.layers[number]}", fontweight="normal", pad=3)
        one.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        one.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if number % columns == 0:
            one.set_ylabel("expert")
        if number + columns >= len(routing.layers):
            one.set_xlabel("step")
            one.tick_params(labelbottom=True)
    part.suptitle("expert load over time", x=0.01, ha="left", fontsize=9.5, fontweight="bold", color=INK)
    color_bar(part, mesh, axes, "load of the expert / mean of its layer", 0.25)


def ratio_norm(maps) -> LogNorm:
    """From 1/m to m, so that the mean is white: m is 2 or 4, as the bulk of the values needs."""
    values = numpy.concatenate([numpy.ravel(one) for one in maps])
    values = values[numpy.isfinite(values) & (values > 0)]
    spread = numpy.quantile(numpy.abs(numpy.log(values)), 0.98) if values.size else 0
    most = 2.0 if spread <= math.log(2.2) else 4.0
    return LogNorm(1 / most, most)


def clipped(values, norm: LogNorm):
    """An expert without load is the darkest blue, not a hole."""
    return numpy.clip(values, norm.vmin, norm.vmax)


def color_bar(figure, mesh, axes, label: str, width: float):
    """Below the axes, for a mesh with a LogNorm; `width` is a share of theirs."""
    bar = figure.colorbar(mesh, ax=axes, extend="both", location="bottom", shrink=width, aspect=32, pad=0.025)
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4) if mesh.norm.vmin <= tick <= mesh.norm.vmax]
    bar.set_ticks(ticks, labels=[{0.25: "¼", 0.5: "½"}.get(tick, f"{tick:g}") for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8.5)
    bar.set_label(label, labelpad=1)
    bar.outline.set_visible(False)


def headline(name: str, lines: list[dict], summary: dict | None) -> str:
    speed = statistics.median(column(lines, "tokens_per_second"))
    parts = [name, f"{lines[-1]['step']:,} steps", f"median {speed:,.0f} tokens/s"]
    if summary:
        parts.append(f"{summary['ranks']} ranks, EP={summary['ep']} × DP={summary['dp']}")
        parts.append(f"{summary['parameters_total'] / 1e6:.1f} M parameters")
        parts.append(f"{summary['parameters_active'] / 1e6:.1f} M active")
    return " · ".join(parts)
