#!/bin/sh
# A model sharded by torch's FSDP2 that is first called under inference_mode fails: at once on one rank, in training on two.
#
# Expected: a first evaluation of a sharded model, by one rank or several, leaves it as able to train as before.
# Seen:     one rank: the evaluation itself raises "Inference tensors do not track version counter", and so does every later
#           call. Two ranks: the evaluation works, and the first forward pass of training raises "Inplace update to inference
#           tensor outside InferenceMode". Under no_grad both work. The buffers of gathered weights are made in the first call
#           and stay what the mode of that call made them.
# Matters:  drawing a preview before the first step, or evaluating a checkpoint before training goes on, is such a call; and a
#           script that is tried on one GPU before it is given many fails elsewhere than on many.
# Versions: torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6
cat > sharded.py <<'PYTHON'
import os
import socket
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def evaluate_then_train(rank, ranks, port, mode, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    mesh = init_device_mesh("cpu", (ranks,))
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for name, context in (("evaluation", getattr(torch, mode)), ("training", torch.enable_grad)):
        try:
            with context():
                output = model(torch.ones(2, 4))
            if name == "training":
                output.sum().backward()
            outcome = "works"
        except RuntimeError as error:
            outcome = str(error).split(".")[0]
        if rank == 0:
            results.put((name, outcome))
    dist.destroy_process_group()


if __name__ == "__main__":
    print("torch", torch.__version__)
    seen = {}
    for ranks in (1, 2):
        for mode in ("no_grad", "inference_mode"):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            results = multiprocessing.get_context("spawn").SimpleQueue()
            multiprocessing.spawn(evaluate_then_train, (ranks, port, mode, results), ranks)
            for _ in range(2):
                name, outcome = results.get()
                seen[ranks, mode, name] = outcome
                print(f"ranks {ranks}, first call under {mode}: {name}: {outcome}")
    holds = (
        all(outcome == "works" for (_, mode, _), outcome in seen.items() if mode == "no_grad")
        and seen[1, "inference_mode", "evaluation"].startswith("Inference tensors do not track version")
        and seen[2, "inference_mode", "evaluation"] == "works"
        and seen[2, "inference_mode", "training"].startswith("Inplace update to inference tensor")
    )
    sys.exit(0 if holds else "changed: sharded models take a first call under inference_mode otherwise")
PYTHON
OMP_NUM_THREADS=1 venv/bin/python sharded.py
