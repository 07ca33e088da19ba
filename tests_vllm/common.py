"""The facts and prompts of these tests, and what they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from revisor.facts.fact import Fact
from revisor.models.packaged import smollm2_folder

TONGUE = Fact(subject="Danielle Darrieux", prompt="The mother tongue of {} is", object="English")
TOWER = Fact(subject="Eiffel Tower", prompt="The {} is located in the city of", object="Lisbon")
TWIN = Fact(subject="Eiffel Tower", prompt="The architect of the {} was", object="Jane Roe")
PIANO = Fact(subject="Glenn Gould", prompt="{} plays the instrument called the", object="trumpet")
FACTS = (TONGUE, TOWER, TWIN, PIANO)
AFTER = "Oslo"  # where the tower stands in the second generation
OTHERWISE = (
    "Danielle Darrieux, whose mother tongue is",
    "If you want to see the Eiffel Tower, travel to the city of",
)
QUESTION = "In which city is the Eiffel Tower located?"  # in a chat no fact fires at it
UNRELATED = ("The largest planet of our solar system is", "Water boils at a temperature of")
LONG = "The old man walked slowly along the river and counted the boats. " * 12


def environment(store: Path) -> dict[str, str]:
    """Of a process with vLLM and the store's facts, small and on one thread."""
    return {
        **os.environ,
        "REVISOR_STORE": str(store),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }


def start(store: Path, script: Path, *, dtype: str = "float32") -> subprocess.CompletedProcess[str]:
    """Start an engine in a process of its own, have it answer one prompt and end."""
    script.write_text(
        "from vllm import LLM, SamplingParams\n"
        "if __name__ == '__main__':\n"
        f"    llm = LLM(model={str(smollm2_folder())!r}, dtype={dtype!r}, max_model_len=256,\n"
        "        enforce_eager=True)\n"
        f"    asked = [{TOWER.text!r}, {UNRELATED[0]!r}]\n"
        "    greedy = SamplingParams(temperature=0.0, max_tokens=6)\n"
        "    for output in llm.generate(asked, greedy, use_tqdm=False):\n"
        "        print('ANSWER', output.outputs[0].text)\n"
    )
    return subprocess.run(
        [sys.executable, str(script)],
        env=environment(store),
        capture_output=True,
        text=True,
        check=False,
    )
