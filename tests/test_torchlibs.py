"""torchvision and torchaudio import whether or not their C++ parts load; each case in a fresh interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import avser
from avser.torchlibs import nms

needs_vision = pytest.mark.skipif(
    not importlib.util.find_spec("torchvision"), reason="torchvision is not installed"
)
needs_audio = pytest.mark.skipif(not importlib.util.find_spec("torchaudio"), reason="torchaudio is not installed")
needs_lightning = pytest.mark.skipif(
    not importlib.util.find_spec("lightning"), reason="lightning is not installed"
)

WHOLE = "MARK = 'as it is'\n"
NEEDS_OPERATOR = """
import torch
@torch.library.register_fake("torchvision::nms")
def fake_nms(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)
from torchvision import ops
"""
OPERATOR_USER = """
import torch
def nms(*args):
    return torch.ops.torchvision.nms(*args)
"""
NEEDS_EXTENSION = "from . import _extension, functional\n"
EXTENSION = "raise OSError('libcudart.so.13: cannot open shared object file: No such file or directory')\n"
EXTENSION_USER = """
from torchaudio._extension import fail_if_no_align
@fail_if_no_align
def forced_align():
    return 1
def resample():
    return 2
"""


def run(code: str, packages: Path | None = None) -> str:
    """What `code` prints, with `packages` before all others on the path."""
    paths = [str(p) for p in (packages, Path(avser.__file__).parents[1]) if p]
    head = (
        f"import sys; sys.path[:0] = {paths!r}\nfrom avser.torchlibs import *\nfrom avser.torchlibs import nms\n"
    )
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """`package(name, module=source, …)`: a package in a folder of its own, which is returned."""

    def make(name: str, **modules: str) -> Path:
        (tmp_path / name).mkdir()
        for module, source in modules.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        return tmp_path

    return make


# The real libraries, whichever way they import here


@needs_vision
def test_real_torchvision_works():
    code = """
import torch
torchvision = import_torchvision()
assert import_torchvision() is torchvision  # a second time, too
import torchvision.transforms.v2 as v2
picture = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Resize(24)])(torch.rand(3, 48, 48))
print(tuple(picture.shape), tuple(torchvision.models.resnet18()(torch.rand(1, 3, 64, 64)).shape))
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
print(torch.ops.torchvision.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist())
"""
    assert run(code).splitlines() == ["(3, 24, 24) (1, 1000)", "[1, 2]"]


@needs_audio
def test_real_torchaudio_works():
    code = """
import torch
torchaudio = import_torchaudio()
assert import_torchaudio() is torchaudio
import torchaudio.transforms as transforms
mask = transforms.SpecAugment(n_time_masks=1, time_mask_param=10, n_freq_masks=1, freq_mask_param=8)
print(tuple(mask(torch.rand(1, 64, 50)).shape))
print(tuple(transforms.Resample(48000, 16000)(torch.rand(1, 4800)).shape))
print(tuple(transforms.MelSpectrogram(16000, n_mels=20)(torch.rand(1, 4000)).shape))
"""
    assert run(code).splitlines() == ["(1, 64, 50)", "(1, 1600)", "(1, 20, 21)"]


@needs_lightning
def test_real_lightning_imports():
    code = "lightning = import_lightning(); print(lightning.LightningModule.__name__)"
    assert run(code).splitlines()[-1] == "LightningModule"


# Packages that import as they are


def test_packages_that_import_are_used_as_they_are(package):
    package("torchvision", __init__=WHOLE)
    folder = package("torchaudio", __init__=WHOLE)
    code = """
import torch
modules = import_torchvision(), import_torchaudio()
import torchvision, torchaudio
assert modules == (torchvision, torchaudio)
print(torchvision.MARK, torchaudio.MARK)
print(hasattr(torch.ops.torchvision, "nms"), "torchaudio._extension" in sys.modules)
"""
    assert run(code, folder).splitlines() == ["as it is as it is", "False False"]


# Packages whose C++ parts do not load


def test_torchvision_without_its_operator_gets_one(package):
    folder = package("torchvision", __init__=NEEDS_OPERATOR, ops=OPERATOR_USER)
    code = """
import torch
try:
    import torchvision
except RuntimeError as error:
    assert "operator torchvision::nms does not exist" in str(error), error
torchvision = import_torchvision()
assert import_torchvision() is torchvision is sys.modules["torchvision"]
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
scores = torch.tensor([0.5, 0.9, 0.1])
assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == nms(boxes, scores, 0.5).tolist()
print(torchvision.ops.nms(boxes, scores, 0.5).tolist())
"""
    assert run(code, folder) == "[1, 2]"


def test_torchaudio_without_its_extension(package):
    folder = package("torchaudio", __init__=NEEDS_EXTENSION, _extension=EXTENSION, functional=EXTENSION_USER)
    code = """
try:
    import torchaudio
except OSError as error:
    assert "libcudart" in str(error)
torchaudio = import_torchaudio()
assert import_torchaudio() is torchaudio is sys.modules["torchaudio"]
print(torchaudio.functional.resample())
try:
    torchaudio.functional.forced_align()
except RuntimeError as error:
    print(error)
"""
    expected = ["2", "forced_align needs torchaudio's C++ extension, which does not load here"]
    assert run(code, folder).splitlines() == expected


def test_not_installed_is_one_sentence_and_other_errors_are_not_hidden(package):
    package("torchvision", __init__="raise RuntimeError('broken in another way')\n")
    folder = package("torchaudio", __init__="import a_package_that_is_not_there\n")
    code = """
def report(name):
    try:
        globals()[f"import_{name}"]()
    except Exception as error:
        print(type(error).__name__, error)
report("torchvision")
report("torchaudio")
for name in ("torchvision", "torchaudio", "lightning"):
    sys.modules[name] = None  # as if it were not installed
    report(name)
"""
    assert run(code, folder).splitlines() == [
        "RuntimeError broken in another way",
        "ModuleNotFoundError No module named 'a_package_that_is_not_there'",
        *(
            f"MissingExtraError this needs {name}, which is not installed: pip install 'avser[train]'"
            for name in ("torchvision", "torchaudio", "lightning")
        ),
    ]


# Non-maximum suppression


def test_nms_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert nms(boxes, scores, 0.5).tolist() == [3, 0, 1]  # 0.5 does not exceed 0.5, but 1 and 2 share 0.8
    assert nms(boxes, scores, 0.45).tolist() == [3, 0, 2]  # 1 goes, and so does not take 2 along
    assert nms(boxes, scores, 0.0).tolist() == [3, 0]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes; 0 where neither has an area."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union else 0.0


corner, side = st.integers(0, 8), st.integers(0, 6)
boxes_and_scores = st.lists(st.tuples(corner, corner, side, side, st.integers(0, 4)), max_size=12)


@given(boxes_and_scores, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
def test_nms_against_brute_force(items, threshold):
    boxes = [[float(x), float(y), float(x + w), float(y + h)] for x, y, w, h, _ in items]
    scores = [float(score) for *_, score in items]
    keep: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: -scores[i]):  # the first of equals first
        if all(overlap(boxes[i], boxes[j]) <= threshold for j in keep):
            keep.append(i)
    tensor = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    assert nms(tensor, torch.tensor(scores, dtype=torch.float64), threshold).tolist() == keep
