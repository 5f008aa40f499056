"""The order of imports in the design, and what may not be loaded on the way to a prediction."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import avser

PACKAGE = Path(avser.__file__).parent

LAYERS = tuple(
    tuple(line.split())
    for line in (
        "errors arrays files types options results labels palette settings signals config members torchlibs "
        "wording sample scratch",
        "media faces features pictures handcrafted embeddings inputs units silero speech speaking metrics logits "
        "packed subjects folds splits windows timeline models evidence gradcam figures",
        "checkpoint annotated_video writers datasets bundles yamnet_import",
        "branches beside deciding story recognizer caching onnx runtime console batch live",
        "fusion training",
        "onnx_int8 audit corpora explain plots benchmark reports training_reports",
        "exits app datasets_cli models_cli predict_cli app_cli cli cluster",
    )
)
"""A module imports only from the layers above its own, or from its own where that makes no circle."""

LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
TRAINING = "torchlibs subjects folds splits datasets caching handcrafted figures"
PREDICTION = set(sum(LAYERS[:4], ())) - set(TRAINING.split())
TRAINING_ONLY = {"lightning", "pytorch_lightning", "librosa", "sklearn", "matplotlib", "torchvision", "torchaudio"}


def modules() -> dict[str, list[Path]]:
    """Files of each module of the package; a sub-package counts as one module."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):  # they only hand names on
            found.setdefault(parts[0], []).append(path)
    return found


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; `from a import b` gives `a.b`."""
    names: set[str] = set()
    package = ("avser", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def own_imports(module: str) -> set[str]:
    """Modules of the package that a module imports, itself left out."""
    names = {
        name.split(".")[1] for path in modules()[module] for name in imports(path) if name.startswith("avser.")
    }
    return names & modules().keys() - {module}


def test_the_check_sees_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "sub").mkdir()
    source = "import avser.a\nfrom avser import b\ndef f():\n    from avser.c import d\n    from .. import e\n"
    (tmp_path / "sub" / "x.py").write_text(source + "    from ..g import h\n    import lightning.pytorch as l\n")
    found = {"avser.a", "avser.b", "avser.c.d", "avser.e", "avser.g.h", "lightning.pytorch"}
    assert imports(tmp_path / "sub" / "x.py") == found


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_those_above_it(module):
    assert module in LAYER, f"avser/{module} has no place in the order of imports: give it one in LAYERS"
    wrong = {name for name in own_imports(module) if LAYER.get(name, -1) > LAYER[module]}
    assert not wrong, f"avser/{module} imports {', '.join(sorted(wrong))}, which lie below it"


def test_no_imports_in_a_circle():
    graphlib.TopologicalSorter({module: own_imports(module) for module in modules()}).prepare()


@pytest.mark.parametrize("module", PREDICTION)
def test_prediction_imports_nothing_of_training(module):
    assert module in modules(), f"avser/{module} is gone: take it out of PREDICTION"
    wrong = {name.split(".")[0] for path in modules()[module] for name in imports(path)} & TRAINING_ONLY
    assert not wrong, f"avser/{module} imports {', '.join(sorted(wrong))}"


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after running `code` in a fresh interpreter."""
    code += "\nimport sys; print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_no_heavy_library():
    assert not loaded("import avser; avser.__version__; dir(avser)") & {"torch", "mediapipe", "cv2", "numpy"}


def test_help_loads_neither_torch_nor_mediapipe():
    code = """
import sys
from avser.cli import app, main
for argv in (["avser", "--help"], ["avser", "predict", "--help"]):
    sys.argv = argv
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
"""
    assert not loaded(code) & ({"torch", "mediapipe", "cv2"} | TRAINING_ONLY)


def test_importing_the_recognizer_loads_nothing_of_training():
    assert not loaded("import avser; avser.load_model; avser.write") & TRAINING_ONLY
