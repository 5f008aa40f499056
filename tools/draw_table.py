"""Draw the table that `avser predict` prints for the sample clip as an SVG, for the README."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console

from avser.console import print_result
from avser.recognizer import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=Path("tests/data/sample.mp4"))
    parser.add_argument("--out", type=Path, default=Path("docs/predict.svg"))
    args = parser.parse_args()
    console = Console(record=True, width=82, file=io.StringIO())
    print_result(load_model().predict(args.clip), console)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(console.export_svg(title=f"avser predict {args.clip}"), encoding="utf-8")


if __name__ == "__main__":
    main()
