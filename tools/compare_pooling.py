"""Compares ways to make one answer of a face's frames: plain mean, by confidence, by expression, by attention.

    python tools/compare_pooling.py --pictures FER2013 --clips RAVDESS --only subject=01 -o pooling

Attention is a layer on the features of a face model whose other layers stay as they are (cf. Meng et al. 2019,
Frame attention networks). FER2013 has no clips to learn it from, so they are made up: of a clip's frames some show
the emotion and the others neutral faces, as those of somebody who speaks do, though each is another person.
Pictures of the training part teach, those of the validation part (PublicTest) choose the epoch; the clips of
`--clips` have no say in anything. The folder gets a model for each way, and its logits of each clip, for
`avser evaluate --from-logits`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avser import checkpoint, datasets
from avser.benchmark.evaluation import evaluate
from avser.checkpoint import Branch
from avser.labels import place
from avser.logits import write_logits
from avser.models.building import FaceBranch, build_model
from avser.recognizer import load_model
from avser.training import data

WAYS = ("mean", "confidence", "expression", "attention")
FRAMES = 16
CLIPS = 8000
"""Made-up clips of an epoch; a quarter as many judge it."""
EPOCHS = 20
BATCH = 100


@torch.inference_mode()
def features_of(network: FaceBranch, config, clips: Sequence) -> tuple[torch.Tensor, np.ndarray]:
    """Features (N, D) of pictures, and the numbers of their labels (N,)."""
    examples, _ = data.load_examples(config, clips)
    found = [
        (index, network.backbone.encode(faces[:, 0]).float())
        for index, (faces, _) in data.batches(config, examples)
    ]
    order = np.argsort(np.concatenate([index for index, _ in found]))
    targets = np.array([example.target.argmax() for example in examples])
    return torch.cat([features for _, features in found])[torch.from_numpy(order)], targets


def made_up(
    targets: np.ndarray, neutral: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Clips as numbers of pictures (count, FRAMES), and their labels (count,): emotions are equally frequent."""
    pictures = [np.flatnonzero(targets == number) for number in range(targets.max() + 1)]
    labels = rng.integers(len(pictures), size=count)
    shown = rng.integers(1, FRAMES + 1, size=count)
    clips = rng.choice(pictures[neutral], (count, FRAMES))
    for clip, label, many in zip(clips, labels, shown, strict=True):
        clip[:many] = rng.choice(pictures[label], many)
    return clips, labels


def learn(network: FaceBranch, known: tuple, judges: tuple, neutral: int, seed: int) -> float:
    """Teach the attention layer, and leave it as it was in the best epoch; its accuracy on made-up clips then."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(network.attend.parameters(), lr=3e-3)
    judged = made_up(judges[1], neutral, CLIPS // 4, rng)
    kept, best = {}, 0.0
    for _ in range(EPOCHS):
        clips, labels = made_up(known[1], neutral, CLIPS, rng)
        for first in range(0, CLIPS, BATCH):
            part = slice(first, first + BATCH)
            loss = torch.nn.functional.cross_entropy(
                answers(network, known[0][clips[part]]), torch.from_numpy(labels[part])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            said = answers(network, judges[0][judged[0]]).argmax(1).numpy()
        if (accuracy := float((said == judged[1]).mean())) > best:
            best, kept = accuracy, {name: x.clone() for name, x in network.attend.state_dict().items()}
    network.attend.load_state_dict(kept)
    return best


def answers(network: FaceBranch, features: torch.Tensor) -> torch.Tensor:
    """Logits (B, C) of clips by the features of their frames (B, N, D)."""
    logits = network.head(features).log_softmax(-1) + network.attend(features)
    return network.pool(logits, torch.ones(logits.shape[:2], dtype=torch.bool))


def pooled(branch: Branch, way: str, network: FaceBranch | None) -> Branch:
    """The face branch with another way to pool its frames, and with this network."""
    chosen = branch.config.network.model_copy(update={"pool": way})
    config = branch.config.model_copy(update={"network": chosen})
    meta = {**branch.meta, "config": config.model_dump(mode="json")}
    return Branch(lambda: network, config, meta)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to pool the frames of a face.")
    parser.add_argument("--model", default="av-base", help="fused model whose face branch is taken")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of FER2013")
    parser.add_argument("--clips", type=Path, required=True, help="folder of RAVDESS's videos")
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE", help="clips to measure")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = checkpoint.load(args.model)
    branch = model.branches["face"]
    neutral = branch.labels.index("neutral")
    config = pooled(branch, "attention", None).config
    network = build_model(config)
    network.load_state_dict(branch.network.state_dict(), strict=False)  # all but the attention
    network.eval().requires_grad_(False)
    network.attend.requires_grad_(True)
    scanned = datasets.scan("fer2013", args.pictures)
    usable = [clip for clip in scanned if place(clip.label, branch.labels) is not None]
    known, judges = (
        features_of(network, config, [c for c in usable if c.info["split"] == s]) for s in ("train", "val")
    )
    accuracy = learn(network, known, judges, neutral, args.seed)
    print(f"attention: accuracy {accuracy:.3f} on made-up clips of validation pictures")
    only = {key: value.split(",") for key, _, value in (text.partition("=") for text in args.only)}
    meta = {key: model.meta[key] for key in ("name", "version", "licence", "corpora", "held_out")}
    for way in WAYS:
        path = args.output / f"{way}.safetensors"
        face = pooled(branch, way, network if way == "attention" else branch.network)
        checkpoint.save_fused(path, {**model.branches, "face": face}, model.fusion, meta)
        done = evaluate(load_model(path), "ravdess", args.clips, only, "face")
        write_logits(args.output / f"{way}.csv", done.table)
        report = done.report()
        print(f"{way:11} accuracy {report.accuracy:.3f}  UAR {report.uar:.3f}  {len(done.clips)} clips")


if __name__ == "__main__":
    main()
