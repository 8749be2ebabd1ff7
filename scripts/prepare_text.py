#!/usr/bin/env python3
"""Makes a folder of real text to train on and to validate with, by domain.

Without --text it takes what the distribution's own packages have put on this machine, and says what is absent:

  bible            the King James text, one chapter a document     (apt: bible-kjv, bible-kjv-text)
  reference-LANG   the Debian Reference, one section a document    (apt: debian-reference-en -de -fr -es)
  c-headers        the headers of the C library and the kernel, one file a document

With --text, each FILE is a domain of its own and every stretch of it, ended at a line's end, is a document.

The split is by document: those whose names hash lowest become the validation text. Then every run of 64 or more bytes
of the validation text that also occurs anywhere in the training text is cut out of it, and the text is split there.

  OUT/train/DOMAIN.txt        documents, separated by one zero byte, which occurs nowhere else
  OUT/validation/DOMAIN.txt   what is left of the held-out documents, pieces separated in the same way
  OUT/corpus.json             domains, whether prose or code (every FILE counts as prose), where they are from, bytes,
                              documents and bytes cut

The same sources give the same bytes. Needs Python's standard library alone, 10 seconds and 300 MB of memory.
"""

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SEPARATOR = b"\0"
RUN = 64  # bytes; a run this long that both texts have is cut from the validation text
DOCUMENT = 16384  # bytes; the longest stretch of a --text file that counts as one document
LANGUAGES = ("en", "de", "fr", "es")
HEADER_FOLDERS = ("linux", "asm-generic", "asm", "bits", "sys", "gnu", "arpa", "net", "netinet", "rpc", "rdma", "scsi",
                  "misc", "mtd", "sound", "video", "xen")


class Absent(Exception):
    """A source that this machine does not have; the message says what is missing."""


@dataclass
class Document:
    name: str
    text: bytes


@dataclass
class Domain:
    name: str
    source: str
    documents: list[Document]
    kind: str = "prose"  # or "code"


# --- sources -----------------------------------------------------------------------------------------------------------


def read_bible() -> Domain:
    program = shutil.which("bible")
    if not program:
        raise Absent("no program `bible` (apt: bible-kjv, bible-kjv-text)")
    # One verse a line, "Ge1:1 In the beginning ...", for the whole range.
    dump = subprocess.run([program, "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    chapters: dict[str, list[str]] = {}
    for line in dump.stdout.decode("utf-8", "replace").splitlines():
        if match := re.match(r"(\w+):\d+ (.+)", line):
            chapters.setdefault(match[1], []).append(match[2] + "\n")
    if not chapters:
        raise Absent("the program `bible` printed no verse (apt: bible-kjv-text)")
    return Domain("bible", program, [Document(name, "".join(verses).encode()) for name, verses in chapters.items()])


def read_reference(language: str) -> Domain:
    path = Path(f"/usr/share/debian-reference/debian-reference.{language}.txt.gz")
    if not path.is_file():
        raise Absent(f"no {path} (apt: debian-reference-{language})")
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    if start := re.search(r"^\w+\s1\.\s", text, re.MULTILINE):  # "Chapter 1. ": what is before lists the contents
        text = text[start.start():]
    # Sections have equal names in every language, so that the split is alike: they share the examples.
    parts = re.split(r"^(?=\d+\.\d+\.\s)", text, flags=re.MULTILINE)
    names = [part.split(None, 1)[0] if n else "0" for n, part in enumerate(parts)]
    return Domain(f"reference-{language}", str(path), [Document(n, part.encode()) for n, part in zip(names, parts)])


def read_headers(root: Path = Path("/usr/include")) -> Domain:
    folders = [base / name for base in (root, *sorted(root.glob("*-linux-gnu"))) for name in HEADER_FOLDERS]
    # Debian's /usr/include/asm may be a link to the folder of the architecture: each file once.
    paths = {path.resolve() for folder in folders if folder.is_dir() for path in folder.rglob("*.h") if path.is_file()}
    texts = [Document(str(path), path.read_bytes()) for path in sorted(paths)]
    texts = [document for document in texts if document.text and SEPARATOR not in document.text]
    if not texts:
        raise Absent(f"no C headers in {root} (apt: libc6-dev, linux-libc-dev)")
    return Domain("c-headers", str(root), texts, "code")


def read_file(path: Path, name: str) -> Domain:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SystemExit(f"prepare_text: {path}: cannot be read: {error.strerror}") from None
    if len(text) < 16 * RUN:
        raise SystemExit(f"prepare_text: {path}: {len(text)} bytes are too short to split, at least {16 * RUN} are needed")
    if SEPARATOR in text:
        raise SystemExit(f"prepare_text: {path}: holds a zero byte at {text.index(SEPARATOR)}, so it is not plain text")
    longest = min(DOCUMENT, len(text) // 16)
    documents = []
    begin = 0
    while begin < len(text):
        end = text.rfind(b"\n", begin, begin + longest) + 1 or begin + longest
        documents.append(Document(f"{name}/{len(documents)}", text[begin:end]))
        begin = end
    return Domain(name, str(path.resolve()), documents)


def read_files(paths: list[Path]) -> list[Domain]:
    domains: list[Domain] = []
    for path in paths:
        taken = [domain.name for domain in domains]
        name, n = path.stem or path.name, 2
        while name in taken:
            name, n = f"{path.stem}-{n}", n + 1
        domains.append(read_file(path, name))
    return domains


def read_machine() -> tuple[list[Domain], list[dict]]:
    """Every source that is present, and why the others are not."""
    sources = {"bible": read_bible, **{f"reference-{x}": lambda x=x: read_reference(x) for x in LANGUAGES},
               "c-headers": read_headers}
    domains, absent = [], []
    for name, read in sources.items():
        try:
            domains.append(read())
        except Absent as reason:
            absent.append({"name": name, "reason": str(reason)})
    return domains, absent


# --- split and cut -----------------------------------------------------------------------------------------------------


def split(documents: list[Document], fraction: float, train_limit: int, validation_limit: int):
    """Training and validation documents, each in their own order.

    In the order of their names' hashes, documents go to validation until it holds `fraction` of all bytes or
    validation_limit bytes, at least one; then to training up to train_limit bytes, at least one. The rest is unused,
    and so is what the last document of either has over its limit.
    """
    by_hash = sorted(documents, key=lambda document: hashlib.sha256(document.name.encode()).digest())
    wanted = min(validation_limit, int(fraction * sum(len(document.text) for document in documents)))
    count = held = 0
    while count < len(by_hash) - 1 and (count == 0 or held < wanted):
        held += len(by_hash[count].text)
        count += 1

    def take(candidates: list[Document], limit: int) -> list[Document]:
        chosen = {}
        for document in candidates:
            if limit > 0:
                chosen[document.name] = Document(document.name, document.text[:limit])
                limit -= len(document.text)
        return [chosen[document.name] for document in documents if document.name in chosen]

    return take(by_hash[count:], train_limit), take(by_hash[:count], validation_limit)


def windows(text: bytes):
    return map(text.__getitem__, map(slice, range(len(text) - RUN + 1), range(RUN, len(text) + 1)))


def cut_common_runs(validation: dict[str, bytes], training: list[bytes]) -> dict[str, bytes]:
    """The validation texts without any run of RUN or more bytes that some training text has too.

    A byte is cut when one of the windows of RUN bytes around it occurs in the training text; windows are compared as
    they are, not by a hash. What stays on either side of a cut is joined by SEPARATOR, which could complete a new
    common run with the separators of the training text: repeated until none is left.
    """
    while True:
        wanted = {window for text in validation.values() for window in windows(text)}
        common = set()
        for text in training:
            common |= wanted.intersection(windows(text))
        if not common:
            return validation
        validation = {name: SEPARATOR.join(pieces_outside(text, common)) for name, text in validation.items()}


def pieces_outside(text: bytes, common: set[bytes]) -> list[bytes]:
    """The pieces of `text` that no window in `common` covers, without empty ones."""
    pieces = []
    begin = 0  # of the piece that is open
    for start, window in enumerate(windows(text)):
        if window in common:
            pieces.append(text[begin:start] if start > begin else b"")
            begin = start + RUN
    pieces.append(text[begin:])
    return [piece for part in pieces for piece in part.split(SEPARATOR) if piece]


# --- files -------------------------------------------------------------------------------------------------------------


def content_bytes(text: bytes) -> int:
    return len(text) - text.count(SEPARATOR)


def clear(out: Path):
    """Makes OUT's folders, and removes what an earlier run of this script wrote; other files are not ours to touch."""
    if out.is_dir() and any(out.iterdir()) and not (out / "corpus.json").is_file():
        raise SystemExit(f"prepare_text: {out}: is not empty and holds no corpus.json: not a folder of this script")
    for part in ("train", "validation"):
        (out / part).mkdir(parents=True, exist_ok=True)
        for path in (out / part).glob("*.txt"):
            path.unlink()


def write_corpus(domains: list[Domain], absent: list[dict], args: argparse.Namespace) -> dict:
    train, held = {}, {}
    for domain in domains:
        kept, validation = split(domain.documents, args.validation_fraction, args.max_bytes_per_domain,
                                 args.max_validation_bytes)
        train[domain.name], held[domain.name] = kept, validation
    joined = {name: SEPARATOR.join(document.text for document in documents) for name, documents in train.items()}
    before = {name: SEPARATOR.join(document.text for document in documents) for name, documents in held.items()}
    after = cut_common_runs(before, list(joined.values()))
    if not any(after.values()):
        raise SystemExit("prepare_text: nothing is left to validate with: the training text holds all of it too")

    clear(args.out)
    report = {"format": "expar-corpus-1", "separator": 0, "run": RUN, "domains": [], "absent": absent}
    for domain in domains:
        name = domain.name
        (args.out / "train" / f"{name}.txt").write_bytes(joined[name])
        if after[name]:
            (args.out / "validation" / f"{name}.txt").write_bytes(after[name])
        report["domains"].append({
            "name": name, "kind": domain.kind, "source": domain.source,
            "source_bytes": sum(len(document.text) for document in domain.documents),
            "train": {"bytes": content_bytes(joined[name]), "documents": len(train[name])},
            "validation": {"bytes": content_bytes(after[name]), "documents": len(held[name]),
                           "pieces": after[name].count(SEPARATOR) + 1 if after[name] else 0,
                           "bytes_cut": content_bytes(before[name]) - content_bytes(after[name])}})
    (args.out / "corpus.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def print_report(report: dict, out: Path):
    print(f"{'domain':<16}{'source bytes':>14}{'training':>12}{'held out':>12}{'cut of it':>12}{'left':>12}")
    for domain in report["domains"]:
        left, cut = domain["validation"]["bytes"], domain["validation"]["bytes_cut"]
        print(f"{domain['name']:<16}{domain['source_bytes']:>14,}{domain['train']['bytes']:>12,}{left + cut:>12,}"
              f"{cut:>12,}{left:>12,}   {domain['source']}")
    for source in report["absent"]:
        print(f"{source['name']:<16}not used: {source['reason']}")
    print(f"cut: runs of {report['run']} or more bytes that the training text has too; text in {out.resolve()}")


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--text", type=Path, nargs="+", metavar="FILE", help="use these files and nothing else")
    parser.add_argument("--max-bytes-per-domain", type=positive, default=2_000_000, metavar="N",
                        help="of training text; the rest is left unused (default: %(default)s)")
    parser.add_argument("--max-validation-bytes", type=positive, default=131_072, metavar="N",
                        help="of validation text per domain, before the cut (default: %(default)s)")
    parser.add_argument("--validation-fraction", type=float, default=0.1, metavar="X",
                        help="of a domain's bytes, unless that is more than the above (default: %(default)s)")
    args = parser.parse_args()
    domains, absent = (read_files(args.text), []) if args.text else read_machine()
    if not domains:
        raise SystemExit("prepare_text: no text on this machine; give some with --text FILE...")
    try:
        print_report(write_corpus(domains, absent, args), args.out)
    except OSError as error:
        raise SystemExit(f"prepare_text: {error.filename}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
