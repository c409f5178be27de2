#!/bin/sh
# huggingface_hub's snapshot_download gives a folder without the files that were asked for, where the network is away.
#
# Expected: an error, as hf_hub_download raises one, where a file that `allow_patterns` names, or any file of the
#           repository, is neither in the cache nor can be fetched.
# Seen:     any earlier download of one file of that revision (a README, a config.json) is enough: the folder is returned
#           as if it were whole, with `local_files_only=True` and without, patterns or not. Nothing is raised.
# Matters:  jobs that fetch on a login node and run offline: what was interrupted, or fetched with other patterns,
#           passes as complete and fails later, or loads other weights than were meant. Check the files themselves,
#           by name: `try_to_load_from_cache`, or `hf_hub_download` for each.
# Versions: huggingface_hub 2.4.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile huggingface_hub==2.4.0
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" venv/bin/python - <<'PYTHON'
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

print("huggingface_hub", huggingface_hub.__version__)
commit = "0123456789abcdef0123456789abcdef01234567"
cache = Path("cache")  # as one earlier hf_hub_download of config.json leaves it
inside = cache / "models--owner--name" / "snapshots" / commit
inside.mkdir(parents=True)
(inside / "config.json").write_text("{}")
(cache / "models--owner--name" / "refs").mkdir()
(cache / "models--owner--name" / "refs" / "main").write_text(commit)


def call(function, *words, **options):
    try:
        function("owner/name", *words, cache_dir=cache, **options)
        return "a folder, no error" if function is snapshot_download else "a file"
    except Exception as error:
        return type(error).__name__


whole = call(snapshot_download, local_files_only=True)
weights = call(snapshot_download, allow_patterns=["*.safetensors"], local_files_only=True)
offline = call(snapshot_download, allow_patterns=["*.safetensors"])
single = call(hf_hub_download, "model.safetensors", local_files_only=True)
print("in the cache: config.json alone")
print(f"snapshot_download, whole repository: expected an error, seen {whole}")
print(f"snapshot_download, *.safetensors: expected an error, seen {weights}")
print(f"the same without local_files_only, no network: expected an error, seen {offline}")
print(f"hf_hub_download, model.safetensors: {single}; try_to_load_from_cache:", end=" ")
print(try_to_load_from_cache("owner/name", "model.safetensors", cache_dir=cache))
holds = {whole, weights, offline} == {"a folder, no error"} and single == "LocalEntryNotFoundError"
sys.exit(0 if holds else "changed: a snapshot that lacks files is an error, or single files are not")
PYTHON
