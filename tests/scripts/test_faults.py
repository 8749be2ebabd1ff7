"""Tests of what scripts/faults reads off a list of calls."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts/faults"))
import experiments
from experiments import FaultPoint

SAVE = "checkpoints/step-000004.h5"
NEXT = "checkpoints/step-000006.h5"


def calls(*listed, rank=0):
    return [FaultPoint(rank, number, call, path) for number, (call, path) in enumerate(listed, 10)]


class PointsOfASave(unittest.TestCase):
    def test_begin_with_the_save_and_end_before_the_next(self):
        points = calls(("write", "metrics.jsonl"), ("open", SAVE), ("rename", SAVE), ("write", "metrics.jsonl"),
                       ("open", NEXT), ("unlink", SAVE))
        chosen = experiments.points_of_a_save(points + calls(("write", SAVE), rank=1), 2)
        self.assertEqual([(point.rank, point.number, point.call) for point in chosen],
                         [(0, 1, "open"), (0, 2, "rename"), (0, 3, "write"), (1, 1, "write")])

    def test_of_a_stretch_are_its_ends_and_its_middle(self):
        points = calls(*[("write", SAVE)] * 9, ("fsync", SAVE), ("write", SAVE))
        self.assertEqual([point.number for point in experiments.ends_of_stretches(points)], [10, 14, 18, 19, 20])


class CameTo(unittest.TestCase):
    point = FaultPoint(1, 7, "write", SAVE)

    def test_a_log_that_names_the_point(self):
        with tempfile.NamedTemporaryFile("w") as log:
            log.write(f"0\t5\t7\twrite\t9\t{SAVE}\n1\t6\t8\twrite\t9\t{SAVE}\n")
            log.flush()
            self.assertFalse(experiments.came_to(log.name, self.point))
            log.write(f"1\t7\t7\twrite\t9\t{SAVE}\n")
            log.flush()
            self.assertTrue(experiments.came_to(log.name, self.point))

    def test_not_without_a_log(self):
        self.assertFalse(experiments.came_to("/nowhere/points", self.point))


class Unsynced(unittest.TestCase):
    good = (("write", f"{SAVE}.partial"), ("fsync", f"{SAVE}.partial"), ("close", f"{SAVE}.partial"), ("rename", SAVE),
            ("fsync", "checkpoints"))

    def test_nothing_to_say_when_file_and_folder_are_synced(self):
        self.assertEqual(experiments.unsynced(calls(*self.good)), [])

    def test_names_a_write_after_the_sync(self):
        points = calls(*self.good[:2], ("pwrite", f"{SAVE}.partial"), *self.good[3:])
        self.assertEqual(experiments.unsynced(points), [f"{SAVE} is renamed before all of it is synced"])

    def test_names_a_folder_that_is_not_synced(self):
        self.assertEqual(experiments.unsynced(calls(*self.good[:-1])),
                         [f"the folder is not synced after {SAVE} is renamed"])


if __name__ == "__main__":
    unittest.main()
