"""How much faster revisor makes residuals than the published way: prints one JSON line.

Run it as `PYTHONPATH=src python benchmarks/build.py --facts 200 --reference-facts 5`. Without
`--data` the facts are CounterFact's first, from the folder that REVISOR_DATA names.

Where other programs use the cores as well, set OMP_WAIT_POLICY=passive: torch's threads otherwise
spin while they wait for one another, which was seen to slow the reference twentyfold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.resources import files
from itertools import islice
from pathlib import Path

from revisor.baselines.speed import compare_build
from revisor.editing.request import ContextPlan
from revisor.errors import RevisorError
from revisor.facts.load import load_facts
from revisor.models.load import load_model
from revisor.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=200)
    parser.add_argument("--reference-facts", type=int, default=5)
    parser.add_argument("--layer", type=int, default=7)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", type=Path, help="a fact file; CounterFact if left out")
    options = parser.parse_args()
    data = options.data
    if data is None:
        folder = os.environ.get("REVISOR_DATA")
        if not folder:
            parser.error("give --data FILE, or set REVISOR_DATA to the folder of benchmark data")
        data = Path(folder) / "counterfact" / "counterfact.jsonl.gz"
    try:
        result = run(options, data)
    except RevisorError as error:
        sys.exit(str(error))
    print(json.dumps(result))


def run(options: argparse.Namespace, data: Path) -> dict[str, int | float | str]:
    facts = list(islice(load_facts(data), options.facts))
    prefixes = (files("revisor") / "data" / "prefixes.txt").read_text("utf-8").splitlines()
    fast = load_model(options.model)
    with Progress("residuals", len(facts) + options.reference_facts, "facts") as progress:
        return compare_build(
            fast,
            load_model(options.model, dtype="fp32"),
            options.layer,
            facts,
            plan=ContextPlan(prefixes=prefixes, per_fact=1, chat=False),
            reference_facts=options.reference_facts,
            on_done=progress.advance,
        )


if __name__ == "__main__":
    main()
