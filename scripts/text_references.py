#!/usr/bin/env python3
"""How many bits per byte the validation text of a corpus takes by means that anyone can check.

For each CORPUS/validation/DOMAIN.txt, and for all of them one after the other:

  uniform   8: every byte alike
  unigram   the entropy H(x[i]) of the text's own bytes
  bigram    H(x[i] | x[i-1]), a byte once the one before it is known
  trigram   H(x[i] | x[i-2], x[i-1])
  gzip, xz  the size that `gzip -9` and `xz -9` make of it

The entropies are those of the held-out text's own counts: a table of pairs that had been trained on exactly this text
could do no better than bigram. With --evaluated, the bits per byte that `expar eval --json` measured stand beside them,
and --prose-below holds those of every domain that CORPUS/corpus.json calls prose against one of the columns, with the
first byte of each window, which no model predicts, counted as 8 bits: exit status 1 unless all are below it.
Needs Python's standard library alone.
"""

import argparse
import gzip
import json
import lzma
import math
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

COLUMNS = ("uniform", "unigram", "bigram", "trigram", "gzip", "xz")
TITLES = {"gzip": "gzip -9", "xz": "xz -9"}


def entropy_given(texts: list[bytes], context: int) -> float:
    """H(x[i] | the `context` bytes before it) in bits, over every byte that has so many before it in its text."""
    runs = Counter()
    for text in texts:
        runs.update(zip(*(text[n:] for n in range(context + 1))))
    before = Counter()
    for run, count in runs.items():
        before[run[:-1]] += count
    total = sum(runs.values())
    return sum(count * math.log2(before[run[:-1]] / count) for run, count in runs.items()) / max(total, 1)


def packed_size(tool: str, text: bytes) -> int:
    """What `gzip -9` or `xz -9` writes for `text` on its standard input, name and time left out.

    Without the tool, Python's own library at the same level: xz is then equal, gzip larger by some thousandths.
    """
    if shutil.which(tool):
        command = {"gzip": ["gzip", "-9", "--no-name"], "xz": ["xz", "-9", "--threads=1"]}[tool]
        return len(subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True).stdout)
    return len(gzip.compress(text, 9, mtime=0) if tool == "gzip" else lzma.compress(text, preset=9))


def references_of(name: str, texts: list[bytes]) -> dict:
    size = sum(map(len, texts))
    row = {"domain": name, "bytes": size, "uniform": 8.0}
    row |= {key: entropy_given(texts, context) for context, key in enumerate(("unigram", "bigram", "trigram"))}
    return row | {tool: 8 * packed_size(tool, b"".join(texts)) / size for tool in ("gzip", "xz")}


def corpus_references(corpus: Path) -> list[dict]:
    """A row per domain, and one for the whole."""
    texts = {path.stem: path.read_bytes() for path in sorted((corpus / "validation").glob("*.txt"))}
    texts = {name: text for name, text in texts.items() if text}
    if not texts:
        raise SystemExit(f"text_references: {corpus}: has no validation/*.txt with text in it")
    return [references_of(name, [text]) for name, text in texts.items()] + [references_of("total", [*texts.values()])]


def add_evaluated(rows: list[dict], folder: Path):
    """Puts the bits_per_byte of FOLDER/DOMAIN.json into the rows; the whole is the mean by bytes, if no domain lacks."""
    for row in rows[:-1]:
        path = folder / f"{row['domain']}.json"
        if path.is_file():
            found = json.loads(path.read_text())
            row["expar"] = found["bits_per_byte"]
            row["predicted"] = found["tokens"]  # all bytes but the first of each window
    if all("expar" in row for row in rows[:-1]):
        rows[-1]["expar"] = sum(row["expar"] * row["bytes"] for row in rows[:-1]) / rows[-1]["bytes"]


def print_table(rows: list[dict]):
    columns = (("expar",) if any("expar" in row for row in rows) else ()) + COLUMNS
    print(f"{'bits per byte of':<18}{'bytes':>9}" + "".join(f"{TITLES.get(key, key):>9}" for key in columns))
    for row in rows:
        cells = (f"{row[key]:9.3f}" if key in row else f"{'-':>9}" for key in columns)
        print(f"{row['domain']:<18}{row['bytes']:>9,}" + "".join(cells))
    if "expar" in rows[-1]:
        beaten = [key for key in COLUMNS if rows[-1]["expar"] < rows[-1][key]]
        print(f"over all text expar takes {rows[-1]['expar']:.3f} bits per byte, less than: {', '.join(beaten) or 'none'}")


def prose_domains(corpus: Path) -> list[str]:
    """Those that have text left to validate with."""
    domains = json.loads((corpus / "corpus.json").read_text())["domains"]
    return [domain["name"] for domain in domains if domain["kind"] == "prose" and domain["validation"]["bytes"]]


def whole_cost(row: dict) -> float:
    """Bits per byte of all of a text, of which the bytes that no window predicts take 8."""
    if "expar" not in row:
        return math.inf
    return (row["expar"] * row["predicted"] + 8 * (row["bytes"] - row["predicted"])) / row["bytes"]


def all_below(rows: list[dict], domains: list[str], column: str) -> bool:
    """Says of each of the domains whether expar takes fewer bits per byte than the column; no domain is no success."""
    title = TITLES.get(column, column)
    print(f"prose beside {title}, the first byte of each window, which is not predicted, counted as 8 bits:")
    below = 0
    for row in rows:
        if row["domain"] not in domains:
            continue
        margin = row[column] - whole_cost(row)
        print(f"{row['domain']:<18}{whole_cost(row):9.3f}  {abs(margin):.3f} {'below' if margin > 0 else 'NOT below'} {title}")
        below += margin > 0
    print(f"below {title}: {below} of {len(domains)} domains of prose")
    return 0 < below == len(domains)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="a folder made by prepare_text.py")
    parser.add_argument("--evaluated", type=Path, metavar="DIR", help="holds DOMAIN.json of `expar eval --json`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--prose-below", choices=COLUMNS, metavar="COLUMN", help="one of the above; needs --evaluated")
    args = parser.parse_args()
    if args.prose_below and not args.evaluated:
        parser.error("--prose-below needs --evaluated")
    rows = corpus_references(args.corpus)
    if args.evaluated:
        add_evaluated(rows, args.evaluated)
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    if args.prose_below and not all_below(rows, prose_domains(args.corpus), args.prose_below):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
