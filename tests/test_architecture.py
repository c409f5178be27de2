"""The house stays as it was drawn: imports point one way, parts do not know each other, --help stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rawmm_cli"
CORE = PACKAGE / "core"
PARTS = ("codecs", "backbones", "heads", "datasets", "metrics")
GROUND = ("settings", "codec_config", "config", "config_help", "codes", "adversary", "controls",
          "document", "mask", "noise", "solvers", "layers", "text_tokenizer", "optimizer", "ema", "records", "images",
          "prepared", "yaml_text", "distributed", "launch", "sharded", "disk", "machine", "flops", "figures",
          "trackers", "curves", "run_files", "gallery", "source", "rows", "columns", "archives", "tables", "terminal")
STORY = ("batch", "stream", "loader", "loss", "train", "run", "posthoc", "preview", "generate", "cache", "uncached",
         "checkpoint", "evaluate", "judges", "attributes", "report", "estimate", "bench", "doctor", "prepare", "card",
         "card_page", "duplicates", "sets", "shards", "streamed", "show", "models", "prompt", "drawn", "tune",
         "reconstruct", "studio", "model_card", "train_codec", "codec_run", "inversion", "codec_spec", "pictures", "ocr",
         "summary", "reconstruct_page", "budget", "catalogue", "budget_plot", "budget_data", "bounds",
         "likelihood", "model_bits", "code_bits", "audit")
# errors < ground < parts < model < build < story < commands < cli; an import goes to an equal or a lower floor
FLOORS = {"errors": 0, **dict.fromkeys(GROUND, 1), **dict.fromkeys(PARTS, 2), "model": 3, "build": 4, "sources": 4,
          **dict.fromkeys(STORY, 5), "commands": 6, "cli": 7, "__main__": 8, "__init__": -1}
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """'heads' for core/heads/diffusion.py, 'train' for core/train.py, 'commands' for commands/train.py."""
    inside = path.relative_to(CORE if CORE in path.parents else PACKAGE).with_suffix("")
    return inside.parts[0]


def imports(path: Path) -> set[str]:
    """The rawmm modules that a file imports, as paths relative to the package."""
    found = set()
    here = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[:len(here) - node.level + 1] + tuple((node.module or "").split(".") if node.module else ())
            for name in node.names:
                target = ROOT.joinpath(*base)
                whole = target / name.name
                is_module = whole.with_suffix(".py").is_file() or whole.is_dir()
                found.add("/".join((whole if is_module else target).relative_to(PACKAGE).parts))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert not any(name.startswith("rawmm_cli") for name in names), f"{path}: inside, imports are relative"
    return found


def floor(module: str) -> int:
    parts = module.split("/")
    return FLOORS[parts[1] if parts[0] == "core" and len(parts) > 1 else parts[0]] if parts != ["."] else -1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = part_of(path)
    for module in imports(path):
        if module in ("", ".", "core"):
            continue
        assert floor(module) <= FLOORS[own], f"{path.relative_to(ROOT)} imports {module}, which stands above it"


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in PARTS], ids=lambda p: str(p.relative_to(CORE)))
def test_parts_do_not_import_parts(path):
    for module in imports(path):
        assert module.split("/")[1] not in PARTS, f"{path.name} imports another part: {module}"


def test_the_check_sees_a_wrong_import(tmp_path):
    assert "core/train" in imports(CORE / "bench.py")
    assert floor("core/train") > FLOORS["heads"]


@pytest.mark.parametrize("arguments", (["--help"], ["presets"], ["train", "--help"], ["doctor", "--help"],
                                       ["entropy-budget", "--L", "256"], ["info-budget", "catalogue"],
                                       ["train", "--preset", "nothing"]))
def test_light_commands_leave_torch_alone(arguments):
    code = (f"import sys; sys.argv = ['rawmm', *{arguments!r}]\nfrom rawmm_cli.cli import main\ntry: main()\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'datasets', 'sklearn', 'numpy'} & set(sys.modules)\nassert not heavy, heavy")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, timeout=60)


def test_files_and_functions_stay_small():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 330, f"{path} has {len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                if any(isinstance(d, ast.Constant) for d in node.args.defaults) and part_of(path) == "commands":
                    continue                            # a command: its arguments are its options
                assert node.end_lineno - node.lineno < 55, f"{path}: {node.name} has {node.end_lineno - node.lineno} lines"
                assert len(node.args.args) <= 9, f"{path}: {node.name} takes {len(node.args.args)} arguments"


def test_every_public_function_says_what_it_does():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.relative_to(ROOT)}: {node.name} has no docstring"


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    """Every line of the README's tree names a file or folder that exists, and no source file is missing from it."""
    block = re.search(r"```text\n(rawmm/.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]
    listed, path = set(), []
    for line in block.splitlines()[1:]:
        entry = re.match(r"( *)(\S+)", line)
        depth = len(entry[1]) // 2 - 1
        path = [*path[:depth], entry[2].rstrip("/")]
        listed.add("/".join(path))
        assert (ROOT / "/".join(path)).exists(), f"the README lists {'/'.join(path)}, which does not exist"
    tracked = {str(p.relative_to(ROOT)) for p in FILES if p.name != "__init__.py"} | {
        f"presets/{p.name}" for p in (ROOT / "presets").glob("*.yaml")} | {
        f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
    assert not tracked - listed, f"missing from the README's tree: {sorted(tracked - listed)}"


def test_the_command_page_is_fresh():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_cli
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == make_cli.text(), "docs/cli.md is stale: run `make docs`"


def test_nothing_unsafe_in_the_source():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"torch\.load\([^\n]*weights_only=True\)", "", text)
        for word in ("pickle.load", "torch.load(", "weights_only=False", "extractall(", "shell=True", " eval("):
            assert word not in text, f"{path} holds {word}"
