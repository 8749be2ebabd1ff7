"""Tests of scripts/prepare_text.py and scripts/text_references.py; python3 -m unittest, nothing to install."""

import contextlib
import io
import json
import math
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import prepare_text  # noqa: E402
import text_references  # noqa: E402
from prepare_text import RUN, SEPARATOR, Document, cut_common_runs, split  # noqa: E402


def plain_cut(text: bytes, training: bytes) -> bytes:
    """What one round of the cut must leave, byte by byte: a zero byte where something was, none at the ends."""
    covered = [any(text[begin:begin + RUN] in training for begin in range(max(0, at - RUN + 1), at + 1)
                   if begin + RUN <= len(text)) for at in range(len(text))]
    marked = bytes(0 if cut else byte for byte, cut in zip(text, covered))
    return SEPARATOR.join(piece for piece in marked.split(SEPARATOR) if piece)


def random_texts(seed: int) -> tuple[bytes, bytes]:
    """A training and a validation text of equal snippets of every length around RUN, between bytes of their own."""
    rng = random.Random(seed)
    snippets = [bytes(rng.choices(b"ab", k=rng.randint(RUN - 3, RUN + 40))) for _ in range(4)] + [b" " * (RUN + 9)]
    texts = []
    for alphabet in (b"cd", b"ef"):
        parts = [bytes(rng.choices(alphabet, k=rng.randint(0, 30))) + rng.choice(snippets)[rng.randint(0, 20):]
                 for _ in range(12)]
        texts.append(SEPARATOR.join([b"".join(parts[:6]), b"".join(parts[6:])]))
    return texts[0], texts[1]


class Cut(unittest.TestCase):
    def test_agrees_with_the_plain_cut_on_random_texts(self):
        for seed in range(8):
            training, validation = random_texts(seed)
            expected = validation
            while (again := plain_cut(expected, training)) != expected:
                expected = again
            self.assertEqual(cut_common_runs({"x": validation}, [training])["x"], expected, f"seed {seed}")

    def test_a_run_of_63_stays_and_one_of_64_goes(self):
        common = bytes(range(1, 65))
        for length, left in ((63, b"<" + common[:63] + b">"), (64, b"<\0>")):
            cut = cut_common_runs({"x": b"<" + common[:length] + b">"}, [b"(" + common[:length] + b")"])
            self.assertEqual(cut["x"], left)

    def test_overlapping_runs_are_cut_as_one(self):
        run = bytes(range(1, 101))
        cut = cut_common_runs({"x": b"<" + run + b">"}, [run[:70] + b"!" + run[30:]])
        self.assertEqual(cut["x"], b"<\0>")

    # 20 bytes, the cut run, 50 bytes: the join 20 + separator + 50 is in the training text as well.
    def test_a_cut_completes_no_new_run(self):
        run, head, tail = b"r" * 80, bytes(range(1, 21)), bytes(range(100, 150))
        training = [b"(" + run + b")", head + SEPARATOR + tail]
        self.assertEqual(cut_common_runs({"x": b"<" + head + run + tail + b">"}, training)["x"], b"<\0>")

    def test_runs_of_another_domain_are_cut_too(self):
        run = bytes(range(1, 101))
        cut = cut_common_runs({"x": b"<" + run, "y": run}, [b"nothing", run])
        self.assertEqual(cut, {"x": b"<", "y": b""})


class Split(unittest.TestCase):
    documents = [Document(f"d{n}", bytes([n]) * 100) for n in range(1, 101)]

    def test_no_document_is_in_both_and_the_order_stays(self):
        train, held = split(self.documents, 0.1, 10**6, 10**6)
        self.assertEqual((len(train), len(held)), (90, 10))
        self.assertFalse({d.name for d in train} & {d.name for d in held})
        self.assertEqual(train, [d for d in self.documents if d in train])

    def test_limits_hold_to_the_byte(self):
        train, held = split(self.documents, 0.5, 1234, 250)
        self.assertEqual(sum(len(d.text) for d in train), 1234)
        self.assertEqual(sum(len(d.text) for d in held), 250)

    def test_two_documents_give_one_to_each(self):
        train, held = split(self.documents[:2], 0.001, 10**6, 10**6)
        self.assertEqual((len(train), len(held)), (1, 1))


class Command(unittest.TestCase):
    def run_script(self, *arguments):
        return subprocess.run([sys.executable, "-B", SCRIPTS / "prepare_text.py", *arguments], capture_output=True,
                              text=True, check=False)

    def test_own_files_become_domains(self):
        with tempfile.TemporaryDirectory() as folder:
            rng = random.Random(1)
            for name in ("one.txt", "two.txt"):
                lines = (" ".join(rng.choices(["red", "green", "blue", "grey", name], k=9)) for _ in range(500))
                Path(folder, name).write_text("\n".join(lines))
            out = Path(folder, "out")
            first = self.run_script("--out", out, "--text", Path(folder, "one.txt"), Path(folder, "two.txt"))
            self.assertEqual(first.returncode, 0, first.stderr)
            report = json.loads((out / "corpus.json").read_text())
            self.assertEqual([d["name"] for d in report["domains"]], ["one", "two"])
            self.assertEqual(text_references.prose_domains(out), ["one", "two"])
            for domain in report["domains"]:
                text = (out / "validation" / f"{domain['name']}.txt").read_bytes()
                self.assertEqual(len(text) - text.count(0), domain["validation"]["bytes"])
            before = {path: path.read_bytes() for path in out.rglob("*.txt")}
            self.run_script("--out", out, "--text", Path(folder, "one.txt"), Path(folder, "two.txt"))
            self.assertEqual({path: path.read_bytes() for path in out.rglob("*.txt")}, before)

    def test_errors_are_one_line_that_names_the_file(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            Path(folder, "short").write_text("short")
            Path(folder, "binary").write_bytes(bytes(5000))
            Path(folder, "same").write_bytes(b"x" * 5000)
            for name in ("absent", "short", "binary", "same"):
                result = self.run_script("--out", out, "--text", Path(folder, name))
                self.assertEqual(result.returncode, 1)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                self.assertFalse(out.exists())
            result = self.run_script("--out", folder)
            self.assertIn("not a folder of this script", result.stderr)
            self.assertTrue(Path(folder, "same").exists())


class References(unittest.TestCase):
    def test_entropies_of_a_text_that_repeats(self):
        text = b"ab" * 500
        self.assertAlmostEqual(text_references.entropy_given([text], 0), 1)
        self.assertAlmostEqual(text_references.entropy_given([text], 1), 0)

    def test_bigram_entropy_follows_its_definition(self):
        text = bytes(random.Random(3).choices(b"abc", [5, 3, 2], k=400))
        pairs = list(zip(text, text[1:]))
        expected = -sum(math.log2(pairs.count(pair) / sum(first == pair[0] for first, _ in pairs)) for pair in pairs)
        self.assertAlmostEqual(text_references.entropy_given([text], 1), expected / len(pairs))

    def test_no_pair_spans_two_texts(self):
        self.assertEqual(text_references.entropy_given([b"aaaa", b"bbbb"], 1), 0)


class ProseBelow(unittest.TestCase):
    # 9 of 10 bytes at 2 bits and one at 8: 2.6.
    def test_only_prose_counts_and_all_of_it_must_be_below(self):
        rows = [{"domain": "verse", "bytes": 10, "predicted": 9, "gzip": 2.7, "xz": 2.5, "expar": 2.0},
                {"domain": "code", "bytes": 10, "predicted": 9, "gzip": 2.5, "xz": 2.5, "expar": 3.0},
                {"domain": "novel", "bytes": 10, "gzip": 2.5, "xz": 2.5}]
        for domains, column, expected in ((["verse"], "gzip", True), (["verse"], "xz", False), ([], "gzip", False),
                                          (["verse", "code"], "gzip", False), (["verse", "novel"], "gzip", False)):
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(text_references.all_below(rows, domains, column), expected, (domains, column))

    def test_every_file_that_is_given_is_prose_and_headers_are_not(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "linux").mkdir()
            for path in (Path(folder, "linux", "one.h"), Path(folder, "one.txt")):
                path.write_text("int a;\n" * 400)
            self.assertEqual(prepare_text.read_headers(Path(folder)).kind, "code")
            self.assertEqual(prepare_text.read_files([Path(folder, "one.txt")])[0].kind, "prose")


if __name__ == "__main__":
    unittest.main()
