"""Average the weights of two encoders of which one was trained on from the other.

    python tools/average_question_encoders.py ONE OTHER --share 0.35 --out FILE

Such an average is often as good as either where that one is good (Wortsman et al. 2022, "Model
soups"). `--shift` moves its log-odds, as that of `train_question_encoder.py` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from question_bases import written

from revisor.question.scope_encoder import write


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("one", type=Path)
    options.add_argument("other", type=Path)
    options.add_argument("--share", type=float, default=0.5, help="of the other")
    options.add_argument("--shift", type=float, default=0.0, help="of the log-odds")
    options.add_argument("--name", default="scope-2")
    options.add_argument("--out", type=Path, default=Path("src/revisor/data/question_encoder.npz"))
    given = options.parse_args()
    one, other = (written(path, ()) for path in (given.one, given.other))
    theirs = other.network.state_dict()
    weights = {
        name: (1 - given.share) * value + given.share * theirs[name]
        for name, value in one.network.state_dict().items()
    }
    weights["bias"] += given.shift
    arrays = {name: value.float().numpy() for name, value in weights.items()}
    head = {"name": given.name, "open": one.open, "close": one.close, "unseen": []}
    with given.out.open("wb") as file:
        write(file, one.network.shape, arrays, one.tokenizer, head)


if __name__ == "__main__":
    main()
