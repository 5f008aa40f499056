"""One of several processes that train together: `python -m avser.training.rank FOLDER RANK COUNT`.

`avser.training.devices` starts them, and says in the folder what they are to fit.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import torch

from avser.training import devices, trainer


def main() -> None:
    threading.Thread(target=_end_with_owner, daemon=True).start()
    share = devices.Share(int(sys.argv[2]), int(sys.argv[3]))
    job = devices.read_job(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    module = trainer.make_module(job.config, job.parts["train"])
    module.load_state_dict(torch.load(job.weights, map_location="cpu", weights_only=True))
    # what is drawn for augmentation differs from process to process
    torch.manual_seed(job.config.seed + share.rank)
    np.random.seed(job.config.seed + share.rank)
    trainer.run(module, job.folder, job.title, job.parts, share)


def _end_with_owner() -> None:
    """The pipe ends when the process that started this one is no more."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
