"""The rooms of the house: imports point one way, parts do not know each other, every door has a sign, --help
stays light."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rawmm_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
# A file imports from its own room and from rooms below it in this list (docs/house.md).
ROOMS = (
    "commands",
    "pages",
    "comparison",
    "evaluation",
    "reconstruction",
    "information",
    "sampling",
    "profiling",
    "training",
    "runs",
    "data",
    "config",
    "codecs",
    "core",
    "metrics",
    "system",
)
PARTS = ("codecs", "core/heads", "core/backbones", "data/datasets")  # no file knows another, `base` aside
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
# Exceptions to the sizes, each with its reason.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_ARGUMENTS: dict[str, str] = {}
UPWARDS: dict[tuple[str, str], str] = {}


def name(path: Path) -> str:
    """'core/loss' for rawmm_cli/core/loss.py; 'core' for its sign."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return (inside.parent if inside.name == "__init__" else inside).as_posix()


def imports(path: Path) -> set[str]:
    """Names of the rawmm modules that a file imports, anywhere in it."""
    modules = set()
    here = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ROOT.joinpath(*here[: len(here) - node.level + 1], *(node.module or "").split("."))
            for alias in node.names:
                whole = base / alias.name
                target = whole if whole.with_suffix(".py").is_file() or whole.is_dir() else base
                modules.add(target.relative_to(PACKAGE).as_posix())
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
            assert not any(n.startswith("rawmm_cli") for n in names), f"{path}: inside, imports are relative"
    return modules - {"."}


def floor(module: str) -> int:
    """Place of a module's room in the list, from below; `cli` and `__main__` stand above all rooms."""
    room = module.split("/")[0]
    return len(ROOMS) - ROOMS.index(room) if room in ROOMS else len(ROOMS) + 1


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path):
    for module in imports(path):
        if (name(path), module) not in UPWARDS:
            assert floor(module) <= floor(name(path)), f"{name(path)} imports {module}, which stands above it"


def test_an_import_that_points_upwards_is_seen():
    assert "core/document" in imports(PACKAGE / "core" / "loss.py")
    assert floor("training/train") > floor("core/loss") > floor("system/errors")


def test_no_circles():
    graph = {name(path): imports(path) - {name(path)} for path in FILES if path.name != "__init__.py"}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


@pytest.mark.parametrize("path", [p for p in FILES if name(p).startswith(PARTS)], ids=name)
def test_parts_do_not_import_parts(path):
    for module in imports(path):
        folder, _, part = module.rpartition("/")
        assert folder not in PARTS or part == "base", f"{name(path)} imports another part: {module}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(PACKAGE).as_posix())
def test_the_sign_at_the_door_names_every_file(folder):
    """One line a file, and a file for every line."""
    sign = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert sign, f"{folder} has no sign"
    entries = set(re.findall(r"^(\w+(?:\.py|/)) ", sign, re.M))
    inside = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    rooms = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert entries - rooms == inside
    assert len(inside) <= 20, f"{folder} has {len(inside)} files"


@pytest.mark.process
def test_core_is_light():
    """The model needs torch and einops; settings, commands and data sets are not its affair."""
    files = [name(path) for path in FILES if name(path).split("/")[0] == "core"]
    modules = [file.replace("/", ".") for file in files]
    code = (
        f"import importlib, sys\nfor module in {modules!r}: importlib.import_module('rawmm_cli.' + module)\n"
        "heavy = {'pydantic', 'typer', 'datasets', 'pyarrow'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    (
        ["--help"],
        ["presets"],
        ["train", "--help"],
        ["doctor", "--help"],
        ["entropy-budget", "--L", "256"],
        ["info-budget", "catalogue"],
        ["train", "--preset", "nothing"],
    ),
)
@pytest.mark.process
def test_light_commands_leave_torch_alone(arguments):
    code = (
        f"import sys; sys.argv = ['rawmm', *{arguments!r}]\nfrom rawmm_cli.cli import main\ntry: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'datasets', 'sklearn', 'numpy'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, timeout=60)


def _is_command(node: ast.FunctionDef, path: Path) -> bool:
    """The arguments of a command are its options."""
    return name(path).startswith("commands/") and any(isinstance(d, ast.Constant) for d in node.args.defaults)


def test_files_and_functions_stay_small():
    """300 lines a file, 45 a function, 7 arguments; exceptions stand at the top of this file with their
    reasons."""
    for path in FILES:
        text, file = path.read_text(encoding="utf-8"), name(path)
        lines = len(text.splitlines())
        assert lines <= 300 or file in LONG_FILES, f"{file} has {lines} lines"
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef) or _is_command(node, path):
                continue
            function, lines = f"{file}:{node.name}", node.end_lineno - node.lineno + 1
            assert lines <= 45 or function in LONG_FUNCTIONS, f"{function} has {lines} lines"
            arguments = [a for a in node.args.args if a.arg not in ("self", "cls")]
            assert len(arguments) <= 7 or function in MANY_ARGUMENTS, (
                f"{function} takes {len(arguments)} arguments"
            )


def test_every_public_function_says_what_it_does():
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name(path)}: {node.name} has no docstring"


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    """Every line of the README's tree names a file or folder that exists, and no room is missing from it."""
    block = re.search(r"```text\n(rawmm/.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]
    entries, path = set(), []
    for line in block.splitlines()[1:]:
        entry = re.match(r"( *)(\S+)", line)
        path = [*path[: len(entry[1]) // 2 - 1], entry[2].rstrip("/")]
        entries.add("/".join(path))
        assert (ROOT / "/".join(path)).exists(), f"the README lists {'/'.join(path)}, which does not exist"
    assert not {f"rawmm_cli/{room}" for room in ROOMS} - entries


def test_the_command_page_is_fresh():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_cli
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == make_cli.text(), (
        "docs/cli.md is stale: run `make docs`"
    )


def test_the_version_is_the_packages_own():
    """Not that of metadata, which sources that are not installed have not."""
    for path in (*FILES, *(ROOT / "benchmarks").rglob("*.py")):
        assert not re.search(r"""version\(\s*["']rawmm""", path.read_text(encoding="utf-8")), path


def test_nothing_unsafe_in_the_source():
    for path in FILES:
        text = re.sub(r"torch\.load\([^\n]*weights_only=True\)", "", path.read_text(encoding="utf-8"))
        for word in (
            "pickle.load",
            "torch.load(",
            "weights_only=False",
            "extractall(",
            "shell=True",
            " eval(",
        ):
            assert word not in text, f"{path} holds {word}"
