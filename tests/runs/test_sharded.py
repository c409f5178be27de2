"""Tensors in parts: what several ranks write is what any number of ranks reads."""

import json
import os
import resource
from pathlib import Path

import pytest
import torch
from forking import fork
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rawmm_cli.runs import checkpoint, loading, sharded
from rawmm_cli.runs.sharded import read_into, read_sharded, write_sharded
from rawmm_cli.system.errors import CheckpointError, DiskFullError

pytestmark = pytest.mark.usefixtures("one_thread")
VALUES = {
    "matrix": torch.arange(15.0).view(5, 3),
    "step": torch.tensor(7.0),
    "half": torch.arange(4).bfloat16(),
    "count": torch.arange(3),
    "flags": torch.tensor([True, False]),
    "one": torch.ones(1),
    "turned": torch.rand(4, 2).T,
}


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) and value.dtype == other[name].dtype for name, value in one.items()
    )


def shard(path, parts):
    """Write a file as one rank of several does: {name: (its part, where that begins)}."""
    where = json.dumps({name: {"saved_offsets": list(offset)} for name, (_, offset) in parts.items()})
    path.parent.mkdir(exist_ok=True)
    save_file(
        {name: value.contiguous() for name, (value, _) in parts.items()},
        str(path),
        {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": where},
    )


@pytest.fixture
def two_shards(tmp_path):
    """Two ranks hold 3 and 2 rows of one matrix; the scalar was written by the second alone."""
    matrix, folder = VALUES["matrix"], tmp_path / "model"
    shard(folder / "shard-00001.safetensors", {"matrix": (matrix[:3], (0, 0)), "thin": (torch.ones(1), (0,))})
    shard(
        folder / "shard-00002.safetensors",
        {"matrix": (matrix[3:], (3, 0)), "thin": (torch.ones(0), (1,)), "step": (VALUES["step"], ())},
    )
    return folder


# ------------------------------------------------------------------------------------------------ one process


def test_what_one_process_writes_comes_back(tmp_path):
    write_sharded(tmp_path / "model", VALUES)
    assert equal(read_sharded(tmp_path / "model"), VALUES)
    assert [path.suffix for path in (tmp_path / "model").iterdir()] == [".safetensors"]  # and no pickle
    empty = {name: torch.zeros_like(value) for name, value in VALUES.items()}
    read_into(tmp_path / "model", empty)
    assert equal(empty, VALUES)


def test_parts_become_whole(two_shards):
    expected = {"matrix": VALUES["matrix"], "step": VALUES["step"], "thin": torch.ones(1)}
    assert equal(read_sharded(two_shards), expected)
    parameters = {name: torch.zeros_like(value).requires_grad_() for name, value in expected.items()}
    places = {name: value.data_ptr() for name, value in parameters.items()}
    read_into(two_shards, parameters)
    assert all(torch.equal(parameters[name], value) for name, value in expected.items())
    assert {name: value.data_ptr() for name, value in parameters.items()} == places  # in place


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_shard_is_noticed(two_shards, number):
    """The manifest fails first; a shard that begins elsewhere would leave zeros in the middle of a
    tensor."""
    (two_shards / f"shard-0000{number}.safetensors").unlink()
    if number == 1:
        with pytest.raises(CheckpointError, match="a part of tensor 'matrix' is missing in"):
            read_sharded(two_shards)
    with pytest.raises(CheckpointError, match="missing in|lacks tensor"):
        read_into(
            two_shards,
            {name: torch.zeros_like(VALUES[name]) for name in ("matrix", "step")} | {"thin": torch.zeros(1)},
        )


def test_what_does_not_fit_is_named_and_nothing_is_filled(two_shards):
    fitting = {"matrix": torch.zeros(5, 3), "step": torch.zeros(()), "thin": torch.zeros(1)}
    for wrong, message in (
        ({**fitting, "more": torch.zeros(1)}, "lacks tensor 'more'"),
        ({"matrix": fitting["matrix"], "thin": fitting["thin"]}, "holds an unknown tensor 'step'"),
        ({**fitting, "matrix": torch.zeros(3, 5)}, r"'matrix' in .* is \(5, 3\), the settings want \(3, 5\)"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_into(two_shards, wrong)
        assert all(bool((value == 0).all()) for value in wrong.values())


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"x" * 100])
def test_what_is_no_shard_is_named(two_shards, content):
    (two_shards / "shard-00002.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"the shards in {two_shards} cannot be read|a part of tensor"):
        read_sharded(two_shards)


# ------------------------------------------------------------------------------------- inside of a checkpoint


def test_a_checkpoint_of_folders(tmp_path):
    """Begin, write and commit as the first of several ranks does. Every shard is in the manifest by its
    path."""
    (tmp_path / "config.yaml").write_text("data: {}\n")
    facts = {"documents": 1, "seconds": 0.0, "data": ""}
    partial = checkpoint.begin(tmp_path, 4)
    with checkpoint.all_or_nothing(partial):
        matrix = VALUES["matrix"]
        shard(partial / "model" / "shard-1.safetensors", {"matrix": (matrix[:3], (0, 0))})
        shard(
            partial / "model" / "shard-2.safetensors",
            {"matrix": (matrix[3:], (3, 0)), "step": (VALUES["step"], ())},
        )
        write_sharded(partial / "optimizer", VALUES)
        checkpoint.write_tensors(partial, "ema", VALUES)
        folder = checkpoint.commit(tmp_path, partial, 4, facts, 2)
    assert checkpoint.latest(tmp_path) == folder and not list((tmp_path / "checkpoints").glob(".*"))
    assert equal(loading.tensors(folder, "model"), {name: VALUES[name] for name in ("matrix", "step")})
    assert equal(loading.tensors(folder, "optimizer"), VALUES) and equal(
        loading.tensors(folder, "ema"), VALUES
    )
    listed = json.loads((folder / "MANIFEST.json").read_text())
    assert {"model/shard-1.safetensors", "model/shard-2.safetensors"} < set(listed)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*.safetensors")} == {0o666 & ~umask()}

    path = folder / "model" / "shard-2.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoint.verify(folder) == "model/shard-2.safetensors does not match its checksum"
    path.unlink()
    assert checkpoint.verify(folder) == "model/shard-2.safetensors is missing"
    path.write_bytes(content)
    (folder / "model" / "shard-3.safetensors").write_bytes(content)
    assert checkpoint.problems(folder) == {"model/shard-3.safetensors": "is not listed in MANIFEST.json"}


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_tensors_that_are_not_there(tmp_path):
    (tmp_path / "config.yaml").write_text("data: {}\n")
    folder = checkpoint.save(tmp_path, 1, {"model": VALUES}, {}, 1)
    with pytest.raises(CheckpointError, match="optimizer.safetensors cannot be read: No such file"):
        loading.tensors(folder, "optimizer")


# ---------------------------------------------------------------------------------------------- several ranks


def rank(function, number, ranks, folder):
    """Call `function` as rank `number` of `ranks` processes that communicate through gloo."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / f"{function.__name__} {ranks}"), ranks)
    dist.init_process_group("gloo", store=store, rank=number, world_size=ranks)
    function(number, ranks, folder)
    dist.barrier()
    dist.destroy_process_group()


def trained(ranks, steps):
    """A small model, shared out, and its AdamW after some steps; sizes that no number of ranks divides."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 1))
    fully_shard(model, mesh=init_device_mesh("cpu", (ranks,)))
    adam = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        model(torch.ones(2, 5)).square().sum().backward()
        adam.step()
    names = {id(p): name for name, p in model.named_parameters()}
    return model.state_dict(), {
        f"{names[id(p)]}/{key}": value for p, values in adam.state.items() for key, value in values.items()
    }


def gathered(tensors):
    return {
        name: value.full_tensor() if hasattr(value, "full_tensor") else value
        for name, value in tensors.items()
    }


def writes(number, ranks, folder):
    for name, tensors in zip(("model", "optimizer"), trained(ranks, 2)):
        write_sharded(folder / name, tensors)
        whole = gathered(tensors)
        if number == 0:
            save_file(whole, str(folder / f"{name} whole"))


def reads(number, ranks, folder):
    """Read into a model of other weights, and optimizer state of other numbers."""
    for name, tensors in zip(("model", "optimizer"), trained(ranks, 1)):
        before = gathered({key: value.clone() for key, value in tensors.items()})
        read_into(folder / name, tensors)
        after, expected = gathered(tensors), load_file(str(folder / f"{name} whole"))
        assert equal(after, expected) and not equal(before, expected)


def together(function, ranks, folder):
    processes = [fork(rank, function, number, ranks, folder) for number in range(ranks)]
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0] * ranks


@pytest.mark.process
def test_two_ranks_write_and_one_or_three_read(tmp_path):
    """FSDP2 and AdamW: weights and moments in parts, AdamW's scalar `step` on every rank and written once."""
    together(writes, 2, tmp_path)
    for name in ("model", "optimizer"):
        expected, files = load_file(str(tmp_path / f"{name} whole")), sorted((tmp_path / name).iterdir())
        assert len(files) == 2 and {path.suffix for path in files} == {".safetensors"}
        assert equal(read_sharded(tmp_path / name), expected)
        into = {key: torch.full_like(value, -1) for key, value in expected.items()}
        read_into(tmp_path / name, into)
        assert equal(into, expected)
        parts = [{key: part.get_slice(key).get_shape() for key in part.keys()} for part in map(opened, files)]
        for key, value in expected.items():
            shapes = [part[key] for part in parts if key in part]
            if value.ndim:
                assert len(shapes) == 2 and sum(shape[0] for shape in shapes) == len(value)
            else:
                assert len(shapes) == 1 and key.endswith("/step") and value == 2
    together(reads, 3, tmp_path)
    together(reads, 2, tmp_path)


def one_has_no_room(number, ranks, folder):
    """Rank 1 may write no file larger than 4 kB: all ranks raise DiskFullError."""
    if number == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    with pytest.raises(DiskFullError, match=r"no room to save checkpoint step_00000002 .*\(File too large\)"):
        with checkpoint.all_or_nothing(folder / ".step_00000002.partial"):
            write_sharded(
                folder / ".step_00000002.partial" / "model",
                {"large": torch.zeros(9), "small": torch.zeros(9)}
                | {f"{n}": torch.zeros(1000) for n in range(20)},
            )


@pytest.mark.process
def test_a_full_disk_of_one_rank_is_told_to_all(tmp_path):
    together(one_has_no_room, 2, tmp_path)
    assert not (tmp_path / ".step_00000002.partial").exists()


def writes_apart(number, ranks, folder):
    """Write with a disk of its own for each rank, as where a cluster's nodes share no folder."""
    sharded._wait_for.__defaults__ = (0,)
    with pytest.raises(
        CheckpointError, match=r"does not see .*/0/shard-00002.*; the runs folder must be one that all"
    ):
        write_sharded(folder / str(number), trained(ranks, 0)[0])


@pytest.mark.process
def test_ranks_that_share_no_folder_are_told(tmp_path):
    """Without an error the first rank would commit a checkpoint that lacks the parts of the others."""
    together(writes_apart, 2, tmp_path)


def test_files_may_be_seen_late(tmp_path, monkeypatch):
    monkeypatch.setattr(sharded.time, "sleep", lambda seconds: (tmp_path / "late").touch())
    sharded._wait_for(tmp_path, {"late"})


def opened(path: Path):
    return safe_open(str(path), "pt")
