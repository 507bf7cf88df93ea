"""The downloads with the last huggingface_hub 1.x, by hand: ``python -m pytest tests/long``.

Makes an environment of its own; needs a package index.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]


def test_downloads_with_the_older_client(tmp_path: Path) -> None:
    venv.create(tmp_path / "v", with_pip=True)
    folder = "Scripts" if sys.platform == "win32" else "bin"
    python = str(tmp_path / "v" / folder / "python")
    packages = ["huggingface_hub<2", "pytest", "pytest-cov>=7", "jsonschema", "hypothesis"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(TREE), *packages], check=True)
    told = subprocess.run(
        [python, "-c", "import huggingface_hub as hub; print(hub.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.startswith("1.")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "tests/download"],
        cwd=TREE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
