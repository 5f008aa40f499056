"""Empty figures and how they are saved. Matplotlib is loaded here, late, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avser.files import replacing
from avser.types import DataError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, for `save`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            f"pictures need matplotlib, which does not load ({error}): pip install 'avser[plots]'"
        ) from None
    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with replacing(Path(path)) as temporary:
            figure.savefig(temporary, format="png")
    except OSError as error:
        raise DataError(
            f"cannot write the picture {path} ({error.strerror or error}): choose another place"
        ) from None
