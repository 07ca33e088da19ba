"""The gate behind vLLM's own row-parallel projection, on two ranks over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

RANK = """
import sys
import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import (
    init_distributed_environment, initialize_model_parallel, get_tensor_model_parallel_rank,
)
from vllm.model_executor.layers.linear import RowParallelLinear
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.gate.module import gate
from revisor.neuraldb.gate.slots import Batch, SlotGate
from revisor.serve import vllm_worker
from revisor.serve.vllm_worker import WorkerGate, gated

rank, port = int(sys.argv[1]), sys.argv[2]
KEY, HIDDEN, ROWS, TOKENS = 8, 6, 5, 12
with set_current_vllm_config(VllmConfig()):
    init_distributed_environment(
        world_size=2, rank=rank, local_rank=rank, backend="gloo",
        distributed_init_method=f"tcp://127.0.0.1:{port}",
    )
    initialize_model_parallel(tensor_model_parallel_size=2)
    layer = RowParallelLinear(KEY, HIDDEN, bias=False, params_dtype=torch.float32)
made = torch.Generator().manual_seed(0)
weight = torch.randn(HIDDEN, KEY, generator=made)
half = KEY // 2
layer.weight.data.copy_(weight[:, rank * half : (rank + 1) * half])
layer.quant_method.process_weights_after_loading(layer)
keys = torch.nn.functional.normalize(torch.randn(ROWS, KEY, generator=made), dim=1)
view = View(
    ids=tuple("abcde"), keys_ME=keys, gamma_M=torch.full((ROWS,), 0.6), row_M=torch.arange(ROWS),
    R_ND=torch.randn(ROWS, HIDDEN, generator=made), encoder=KeyEncoder(), generation=1,
)
key = torch.randn(TOKENS, KEY, generator=made)
key[::3] = keys[:4]
worker = WorkerGate.__new__(WorkerGate)
worker.gate = SlotGate(slots=64, block=16, device=torch.device("cpu"))
vllm_worker._workers[:] = [worker]
layer.register_forward_hook(gated)
worker.gate.begin(
    Batch(
        ids_T=torch.arange(TOKENS), slot_T=torch.arange(TOKENS), start_B=[0, TOKENS],
        length_B=[TOKENS], blocks_BW=torch.tensor([[0]]), views=[view],
    )
)
got, _ = layer(key[:, rank * half : (rank + 1) * half].contiguous())
hits = worker.gate.end()
delta, expected = gate(key, view)
torch.testing.assert_close(got, key @ weight.T + delta)
fired = (expected.row_T >= 0).nonzero().squeeze(1).tolist()
assert [hit.position for hit in hits] == fired and len(fired) >= 4, hits
print("RANK", rank, "OK", len(fired))
"""


def test_the_whole_key_decides_and_the_residual_is_added_once(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    env["VLLM_DIST_IDENT"] = f"revisor_{port}"  # the executor sets it otherwise
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(port)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(ranks):
        out, err = process.communicate(timeout=3000)
        assert f"RANK {rank} OK" in out, err[-3000:]
