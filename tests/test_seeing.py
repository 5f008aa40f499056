"""mediapipe without what it loads in vain; in processes of their own, where nothing is loaded yet."""

from __future__ import annotations

import subprocess
import sys

import pytest

from avser.faces.networks import brings_networks

pytest.importorskip("cv2")


def said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FIND = "import sys, numpy as np; from avser.faces import FaceDetector\n"
LOOK = "with FaceDetector() as d: d.detect(np.zeros((90, 90, 3), np.uint8))\n"
NAMES = "print(sorted({m.split('.')[0] for m in sys.modules} & {'matplotlib', 'sounddevice', 'mediapipe'}))"


def test_faces_load_neither_matplotlib_nor_sounddevice():
    assert said(FIND + LOOK + NAMES) == "['mediapipe']"


def test_what_was_left_out_is_there_when_it_is_used():
    use = "from mediapipe.python.solutions import drawing_utils as d"
    if not brings_networks():
        use = "from mediapipe.tasks.python.vision import drawing_utils as d"
    use += "; print(d.plt.figure.__module__)\n"
    assert said(FIND + LOOK + use) == "matplotlib.pyplot"
    assert said(FIND + LOOK + "import matplotlib.pyplot as p; print(p.__file__ is not None)") == "True"


@pytest.mark.parametrize("module", ["matplotlib", "matplotlib.pyplot"])
def test_what_is_loaded_already_stays(module):
    code = f"import {module}\n" + FIND + f"before = sys.modules[{module!r}]\n" + LOOK
    code += f"print(sys.modules[{module!r}] is before)\nimport matplotlib.pyplot as p; print(p.figure.__name__)"
    assert said(code) == "True\nfigure"


def test_another_thread_gets_the_true_module_in_the_meantime():
    code = (
        "import sys; from avser.faces.seeing import later\n"
        "with later(('matplotlib', 'matplotlib.pyplot')):\n"
        "    import matplotlib.pyplot as p\n"
        "    print('matplotlib.figure' in sys.modules, p.figure.__name__, 'matplotlib.figure' in sys.modules)\n"
        "print(sys.modules['matplotlib'].__file__ is not None)"
    )
    assert said(code) == "False figure True\nTrue"
