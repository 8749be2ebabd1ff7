"""How much one count says of another, in bits, with the error of a sample. Needs the standard library alone."""

import dataclasses
import math


def entropy(weights: list[float]) -> float:
    """Of the distribution that is proportional to them."""
    total = sum(weights)
    return sum(weight / total * math.log2(total / weight) for weight in weights if weight > 0)


def mean_shares(counts: list[list[float]]) -> list[float]:
    """Of each column, when every row counts alike. A row without counts takes no part."""
    rows = [[count / sum(row) for count in row] for row in counts if sum(row)]
    return [sum(column) / len(rows) for column in zip(*rows)]


def mutual_information(counts: list[list[float]]) -> float:
    """I(row; column) = H(column) - H(column | row), where a row is drawn first, each of them alike, and then one of its counts.

    counts  [rows][columns], at least one of them not 0; a row without counts takes no part
    At most log2(rows), which tells every row from the others, and at most H(column).
    """
    rows = [row for row in counts if sum(row)]
    return entropy(mean_shares(rows)) - sum(map(entropy, rows)) / len(rows)


@dataclasses.dataclass
class Information:
    bits: float            # as counted; what a sample of this size has too much on average is in it
    bias: float            # an estimate of that
    standard_error: float  # of bits, for another sample of this kind
    column_entropy: float  # no more than this can be known


def information_of(parts: list[list[list[float]]]) -> Information:
    """The mutual information of a sample, and by the jackknife how far it is from that of all there is.

    parts  [parts][rows][columns], stretches of the sample that know little of one another: what is counted within one
           may depend on what was counted before it, as bytes of a text do, for which formulas of independent counts
           give far too small a bias
    Each part is left out in turn (Quenouille 1956, Tukey 1958). Bias and error are nan, unknown, where a row has its
    counts in one part.
    """
    whole = total_of(parts)
    bits = mutual_information(whole)
    n = len(parts)
    tables = [total_of(parts[:left] + parts[left + 1:]) for left in range(n)] if n > 1 else []
    if n < 2 or any(sum(row) and not sum(rest) for table in tables for row, rest in zip(whole, table)):
        return Information(bits, math.nan, math.nan, entropy(mean_shares(whole)))
    without = list(map(mutual_information, tables))
    mean = sum(without) / n
    spread = (n - 1) / n * sum((value - mean) ** 2 for value in without)
    return Information(bits, (n - 1) * (mean - bits), math.sqrt(spread), entropy(mean_shares(whole)))


def total_of(tables: list[list[list[float]]]) -> list[list[float]]:
    return [[sum(cells) for cells in zip(*rows)] for rows in zip(*tables)]
