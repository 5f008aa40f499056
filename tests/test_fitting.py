"""One branch in training, step by step: side tasks, optimizers and schedules."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser.config import Config, Training, parse_config
from avser.training import fitting
from avser.training.fitting import BranchModule, SideTasks
from avser.types import Clip, ConfigError

FACTS = ({"gender": "female"}, {"gender": "male", "statement": "2"}, {}, {"gender": "female", "statement": "1"})
CLIPS = [Clip(Path(f"{n}.wav"), "happy", None, "ab"[n % 2], info=info) for n, info in enumerate(FACTS)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make_config(augment: dict | None = None, **training) -> Config:
    values = {"name": "test", "branch": "audio", "labels": "basic7", "corpora": [], "protocol": "random"}
    network = {"name": "resnet_attention", "options": {"widths": [4, 4, 4, 4], "features": 8}, "dropout": 0.0}
    values |= {"network": network, "audio": {"n_mels": 16}, "augment": augment or {}}
    return parse_config({**values, "training": {"epochs": 2, **training}}, "test")


def make_batch() -> dict[str, torch.Tensor]:
    """The four clips in another order."""
    return {
        "inputs": 0.1 * torch.randn(4, 6000),
        "lengths": torch.tensor([6000, 4000, 6000, 5000]),
        "targets": torch.eye(7)[[2, 0, 1, 5]],
        "index": torch.tensor([2, 0, 1, 3]),
    }


def step(module: BranchModule, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of a step, outside of a trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nobody takes the logged figures
        return module.training_step(batch, 0)


# Side tasks


def test_facts_become_columns():
    side = SideTasks(CLIPS, ["gender", "statement", "corpus"], 5)
    assert side.sizes == [2, 2, 2]
    assert side.facts.tolist() == [
        [1, 0, 0, 0, 1, 0],  # female, statement unknown, corpus a
        [0, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 1, 0],
        [1, 0, 1, 0, 0, 1],
    ]
    assert side.heads.weight.shape == (6, 5)


def test_unknown_facts_add_nothing():
    side = SideTasks(CLIPS, ["gender", "statement"], 5)
    features = torch.randn(1, 5, requires_grad=True)
    loss = side.loss(features, side.facts[[2]])
    loss.backward()
    assert loss == 0
    assert (features.grad == 0).all()
    assert (side.heads.weight.grad == 0).all()


def test_loss_by_hand():
    side = SideTasks(CLIPS, ["gender", "statement"], 5)
    features = torch.randn(4, 5)
    logits = side.heads(features).detach()
    gender, statement = logits[:, :2].log_softmax(1), logits[:, 2:].log_softmax(1)
    expected = -(gender[0, 0] + gender[1, 1] + gender[3, 0] + statement[1, 1] + statement[3, 0]) / 4
    torch.testing.assert_close(side.loss(features, side.facts).detach(), expected)


def test_mixed_facts_are_a_mixed_loss():
    side = SideTasks(CLIPS, ["gender", "statement"], 5)
    features = torch.randn(1, 5)
    one, other = side.facts[[1]], side.facts[[3]]
    mixed = side.loss(features, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(mixed, 0.3 * side.loss(features, one) + 0.7 * side.loss(features, other))
    half = side.loss(features, 0.3 * one + 0.7 * side.facts[[2]])  # mixed with a clip that tells nothing
    torch.testing.assert_close(half, 0.3 * side.loss(features, one))


def test_a_fact_that_no_clip_tells_is_one_clear_error():
    with pytest.raises(
        ConfigError, match="no training clip tells its 'gendr'; they tell corpus, gender, label, statement"
    ):
        SideTasks(CLIPS, ["corpus", "gendr"], 5)


@pytest.mark.parametrize("augment", [{}, {"mixup": 0.4}], ids=["plain", "mixup"])
def test_the_side_loss_is_added_at_its_weight(augment):
    batch, losses = make_batch(), {}
    for weight in (0.0, 0.5):
        torch.manual_seed(1)
        config = make_config(augment, side_tasks=["gender", "corpus"], side_weight=weight)
        module = BranchModule(config, 1, CLIPS)
        fitting.augment.np.random.seed(0)
        losses[weight] = step(module, batch)
    losses[0.5].backward()
    assert module.side.heads.weight.grad.abs().sum() > 0
    assert losses[0.5] > losses[0.0] + 0.3  # of two facts of two values each, about log 2
    if not augment:
        torch.manual_seed(1)
        plain = step(BranchModule(make_config(), 1), batch)
        torch.testing.assert_close(losses[0.0], plain)
        with torch.no_grad():
            features = module.network.backbone(*fitting.data.network_inputs(batch, config, training=True))
            side = module.side.loss(features, module.side.facts[batch["index"]])
        torch.testing.assert_close((losses[0.5] - plain).detach(), 0.5 * side, rtol=1e-3, atol=1e-4)


def test_side_heads_are_trained_and_not_part_of_what_is_kept():
    for average in (0.0, 0.9):
        module = BranchModule(make_config(side_tasks=["gender"], average=average), 1, CLIPS)
        optimizer = module.configure_optimizers()["optimizer"]
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert {id(p) for p in module.side.parameters()} <= trained
        kept = module.judged.state_dict()
        assert all(name.startswith(("backbone.", "head.")) for name in kept)
        assert kept.keys() == BranchModule(make_config(), 1).network.state_dict().keys()


def test_a_face_learns_the_label_of_its_corpus_beside_the_votes():
    clips = [Clip(Path(f"{n}.png"), ("happy", "sad")[n % 2], None, "a") for n in range(4)]
    config = make_config(side_tasks=["label"]).model_dump()
    network = {"name": "resnet_face", "options": {"widths": [4, 8], "blocks": [1, 1]}}
    config = parse_config({**config, "branch": "face", "network": network}, "test")
    for frames in (1, 3):
        module = BranchModule(config, 1, clips)
        batch = make_batch() | {"inputs": torch.randint(0, 256, (4, frames, 24, 24, 3), dtype=torch.uint8)}
        batch["lengths"] = torch.tensor([frames, 1, frames, 1])
        step(module, batch).backward()
        assert module.side.sizes == [2]
        assert module.side.heads.weight.grad.abs().sum() > 0
        assert module.network.head[-1].weight.grad.abs().sum() > 0


def test_a_frozen_backbone_stays_as_it_was():
    values = make_config(weight_decay=0.1, lr=0.1).model_dump()
    values["training"]["freeze"] = True
    config = parse_config({**values, "init_from": "a.safetensors"}, "test")
    module = BranchModule(config, 2, CLIPS).train()
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    optimizer = module.configure_optimizers()["optimizer"]
    step(module, make_batch()).backward()
    optimizer.step()
    changed = {name for name, value in module.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


# Figures of an epoch


def test_accuracy_in_training_is_logged(monkeypatch):
    module, batch = BranchModule(make_config(), 1), make_batch()
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    module.eval()  # without what training adds, by hand
    step(module, batch)
    with torch.inference_mode():
        logits = module.network(*fitting.data.network_inputs(batch, module.config, training=True))
    assert logged["train_accuracy"] == (logits.argmax(1) == batch["targets"].argmax(1)).float().mean()
    assert set(logged) == {"loss", "train_accuracy"}


# Optimizers


def test_every_optimizer_of_the_config_is_there():
    assert {*fitting.OPTIMIZERS, "sgd"} == set(Training.model_fields["optimizer"].annotation.__args__)


@pytest.mark.parametrize("schedule", Training.model_fields["schedule"].annotation.__args__)
def test_plain_descent_has_no_momentum_under_any_schedule(schedule):
    module = BranchModule(make_config(optimizer="sgd", momentum=0.0, schedule=schedule), 2)
    group = module.configure_optimizers()["optimizer"].param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.0, False)


@pytest.mark.parametrize("schedule", Training.model_fields["schedule"].annotation.__args__)
@pytest.mark.parametrize("name", [*fitting.OPTIMIZERS, "sgd"])
def test_every_optimizer_takes_a_step_under_every_schedule(name, schedule):
    module = BranchModule(make_config(optimizer=name, schedule=schedule, lr=1e-3), 2)
    made = module.configure_optimizers()
    optimizer, batch = made["optimizer"], make_batch()
    before = [p.detach().clone() for p in module.network.parameters()]
    for _ in range(4):  # of two epochs of two
        optimizer.zero_grad()
        step(module, batch).backward()
        optimizer.step()
        if "lr_scheduler" in made:
            made["lr_scheduler"]["scheduler"].step()
    after = list(module.network.parameters())
    assert all(p.isfinite().all() for p in after)
    assert all(not torch.equal(p, q) for p, q in zip(after, before, strict=True))
    assert optimizer.param_groups[0].get("momentum", 0.0) > 0 if name == "sgd" else True
    if name in ("rmsprop", "adagrad"):
        assert not optimizer.param_groups[0].get("momentum", 0.0)  # nor under one cycle
