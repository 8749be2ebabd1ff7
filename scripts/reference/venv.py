"""Runs a Python script with the modules of requirements.txt, whatever interpreter started it.

An interpreter that has them at the pinned versions is used as it is. Any other makes, or reuses, a virtual environment
at <build>/reference-venv and runs the script again inside it. Nothing is written outside the build folder, and the
system's pip is never asked. Where pip finds packages is pip's own configuration (PIP_INDEX_URL, pip.conf): an index of
CPU-only builds of PyTorch saves several GB.
"""

import argparse
import fcntl
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"


def fail(message):
    """Bad input or a missing tool: one line, exit status 2."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """Has --build-dir, and refuses bad flags with one line."""

    def __init__(self, description):
        super().__init__(description=description)
        default = os.environ.get("EXPAR_BUILD_DIR") or REPOSITORY / "build"
        self.add_argument("--build-dir", type=pathlib.Path, default=pathlib.Path(default), metavar="DIR",
                          help="where expar was built and the Python environment lives (default: EXPAR_BUILD_DIR, "
                               "else build/ in the repository)")

    def error(self, message):
        fail(message)


def enter(build_dir):
    """Returns when the required modules can be imported; may replace this process by one that can."""
    build_dir = build_dir.resolve()
    keep_caches_in(build_dir)
    missing = missing_requirements()
    if not missing:
        return
    environment = build_dir / "reference-venv"
    if pathlib.Path(sys.prefix).resolve() == environment:
        fail(f"{environment} lacks {', '.join(missing)}; remove that folder and try again")
    make(environment)
    python = environment / "bin" / "python"
    sys.stdout.flush()
    os.execv(python, [str(python), *sys.argv])


def missing_requirements():
    """The pinned requirements that this interpreter does not have; a local version such as +cpu is accepted."""
    missing = []
    for line in REQUIREMENTS.read_text().split():
        name, version = line.split("==")
        try:
            found = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found != version:
            missing.append(line)
    return missing


def make(environment):
    """Fills the folder unless it already holds these requirements; two scripts at once wait for each other."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = environment / "requirements.sha256"
    try:
        environment.parent.mkdir(parents=True, exist_ok=True)
        lock = open(environment.with_suffix(".lock"), "w")
    except OSError as error:
        fail(f"cannot write to {environment.parent} ({error.strerror}); name another folder with --build-dir")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"making {environment}: PyTorch and transformers, once; several minutes", file=sys.stderr, flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        # -I: our own name is venv too, and must not be found first by someone who stands in this folder.
        run([sys.executable, "-I", "-m", "venv", str(environment)],
            "cannot make a virtual environment (on Debian: apt install python3-venv)")
        run([str(environment / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet",
             "--disable-pip-version-check", "--requirement", str(REQUIREMENTS)],
            "cannot install the packages of scripts/reference/requirements.txt")
        stamp.write_text(wanted)


def run(command, failure):
    """Runs it with its output on stderr, so that a script's own stdout stays clean."""
    if subprocess.run(command, stdout=sys.stderr, stderr=sys.stderr).returncode != 0:
        fail(failure)


def keep_caches_in(build_dir):
    """Libraries that would write elsewhere, or look for models on the network, do neither."""
    caches = build_dir / "reference-caches"
    os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("HF_HOME", str(caches / "huggingface"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(caches / "inductor"))
