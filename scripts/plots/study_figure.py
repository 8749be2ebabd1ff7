"""Draws what studies/experts.py has found as one figure. Needs matplotlib and numpy."""

import math

from matplotlib.ticker import MaxNLocator
import numpy

from plots.run_data import specialisation_of
from plots.run_figure import BLUE, GRAY, INK, RED, SETTINGS, SHARE, color_bar, draw_ratio, plt, ratio_norm, shortened
from studies import information


def draw(report: dict, tables: list, domains: list[str], out):
    """`tables`: [layers][parts][domains][experts], the choices of the first seed's experts."""
    plt.rcParams.update(SETTINGS)
    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    maps_height = rows * (0.55 + 0.27 * len(domains)) + 0.8
    figure = plt.figure(figsize=(13, 3.6 + maps_height), layout="constrained")
    moe, dense = report["parameters"]["moe"], report["parameters"]["dense"]
    figure.suptitle(
        f"{report['experts']} experts, top-{report['top_k']}: {moe['active'] / 1e6:.2f} M of {moe['total'] / 1e6:.2f} M "
        f"parameters active · dense: {dense['active'] / 1e6:.2f} M · {report['steps']:,} steps of both, "
        f"{len(report['seeds'])} seed{'s' if len(report['seeds']) > 1 else ''}", x=0.01, ha="left", fontsize=11, color=INK)
    upper, lower = figure.subfigures(2, 1, height_ratios=(3.2, maps_height), hspace=0.03)
    left, right = upper.subplots(1, 2, width_ratios=(7, 6))
    draw_losses(left, report)
    draw_information(right, report, len(domains))
    draw_maps(lower.subplots(rows, columns, squeeze=False), tables, domains, report["seeds"][0])
    figure.savefig(out, dpi=120)
    plt.close(figure)


def draw_losses(axes, report: dict):
    for row, found in enumerate(report["domains"]):
        for model, color, lift in (("moe", BLUE, -0.13), ("dense", RED, 0.13)):
            values = found[model]["values"]
            axes.plot([min(values), max(values)], [row + lift] * 2, color=color, linewidth=1.2)
            axes.plot(values, [row + lift] * len(values), "o", color=color, markersize=4)
        at = max(found["moe"]["highest"], found["dense"]["highest"])
        axes.annotate(f"{found['difference']['mean']:+.3f}", (at, row), xytext=(9, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(report["domains"])), [shortened(found["domain"]) for found in report["domains"]])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("bits per byte of held-out text, a point per seed; beside them the mean of experts − dense")
    axes.set_title("experts and dense")
    for right, color, meaning in ((0.9, BLUE, "experts"), (1, RED, "dense")):
        axes.annotate(f"■ {meaning}", (right, 1.02), xycoords="axes fraction", ha="right", color=color)


def draw_information(axes, report: dict, domains: int):
    for row in report["layers"]:
        values = row["bits"]["values"]
        axes.bar(row["layer"], row["bits"]["mean"], color=BLUE, alpha=0.35, width=0.6)
        axes.plot([row["layer"]] * len(values), values, "o", color=BLUE, markersize=4)
        axes.annotate(f"{row['bits']['mean']:.2f}", (row["layer"], row["bits"]["highest"]), xytext=(0, 6), ha="center",
                      textcoords="offset points", fontsize=8.5, color=INK)
    axes.axhline(report["byte"]["bits"], color=GRAY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(f"the byte alone\nsays {report['byte']['bits']:.2f}", (1.01, report["byte"]["bits"]), color=GRAY,
                  xycoords=axes.get_yaxis_transform(), va="center", annotation_clip=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.2 * max([report["byte"]["bits"], *(row["bits"]["highest"] for row in report["layers"])]))
    axes.set_xlabel("layer")
    axes.set_title(f"bits that an expert says of the domain, a point per seed; {math.log2(domains):.2f} would be all")


def draw_maps(axes, tables: list, domains: list[str], seed: int):
    found = [specialisation_of(information.total_of(parts), layer) for layer, parts in enumerate(tables)]
    norm = ratio_norm([numpy.array(one.ratio, dtype=float) for one in found])
    mesh = None
    for number, one in enumerate(axes.flat):
        if number >= len(found):
            one.set_visible(False)
            continue
        mesh = draw_ratio(one, found[number].ratio, domains, norm)
        one.set_title(f"layer {number}, seed {seed}: {found[number].bits:.2f} bit")
    color_bar(axes[0, 0].figure, mesh, axes, f"experts 0, 1, …: {SHARE}", 0.4)
