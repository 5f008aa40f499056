"""From a corpus to batches: what is found, decoded once, left out with a sentence, padded and masked."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from avser import media
from avser.caching import cache_folder
from avser.config import Config, parse_config
from avser.labels import LABEL_SETS
from avser.models import build_model
from avser.training import data, decoding
from avser.training.data import ExampleDataset, collate, load_examples, network_inputs, run_network, scan
from avser.types import Clip, ConfigError, DataError

cv2 = pytest.importorskip("cv2")

RATE = 16_000
BASIC7 = LABEL_SETS["basic7"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AVSER_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    np.random.seed(0)


def make_config(branch: str, **values) -> Config:
    networks = {
        "audio": {"name": "resnet_attention", "options": {"widths": [4, 4, 4, 4], "features": 8}},
        "face": {"name": "resnet_face", "options": {"widths": [4, 4], "blocks": [1, 1]}},
    }
    plain = {
        "name": "test",
        "branch": branch,
        "labels": "basic7",
        "protocol": "random",
        "network": networks[branch],
    }
    return parse_config({"corpora": [{"name": "folder", "root": "mine"}], **plain, **values}, "test")


def write_wav(path: Path, seconds: float = 0.6, level: float = 0.1, seed: int = 0) -> Path:
    """Noise of this length as a WAV file of 16 kHz mono."""
    samples = level * np.random.default_rng(seed).normal(size=round(seconds * RATE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def write_png(path: Path, image: np.ndarray | None = None, size: int = 48) -> Path:
    """A picture as PNG; noise by default."""
    if image is None:
        image = np.random.default_rng(len(path.name)).integers(0, 256, (size, size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return path


def clip(path: Path, label: str = "happy", **facts) -> Clip:
    return Clip(path, label, "anna", "folder", **facts)


@pytest.fixture
def root(tmp_path) -> Path:
    """A data folder with a corpus `mine`: three sounds of two speakers."""
    write_wav(tmp_path / "data" / "mine" / "happy" / "anna_1.wav", 0.6, seed=1)
    write_wav(tmp_path / "data" / "mine" / "happy" / "bert_1.wav", 0.9, seed=2)
    write_wav(tmp_path / "data" / "mine" / "sad" / "anna_2.wav", 0.4, seed=3)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """A picture with one face, (512, 512, 3)."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def talking(make_media, portrait, tmp_path_factory) -> Path:
    """A video of 2 s at 25 fps with one face."""
    picture = write_png(tmp_path_factory.mktemp("portrait") / "p.png", portrait[:300, 80:380])
    return make_media(
        "face.mp4", *("-loop", "1", "-r", "25", "-i", picture, "-t", "2"), "-pix_fmt", "yuv420p", "-c:v", "mpeg4"
    )


def refuse(*_, **__):
    raise AssertionError("decoded again")


# Scanning


def test_scan_without_a_data_folder_says_how_to_give_one(monkeypatch):
    monkeypatch.delenv("AVSER_DATA", raising=False)
    for _ in ("unset", "empty"):
        with pytest.raises(
            ConfigError, match="no data folder: give --data-root DIR or set the variable AVSER_DATA"
        ):
            scan(make_config("audio"), None)
        monkeypatch.setenv("AVSER_DATA", "")


def test_scan_takes_the_argument_before_the_variable(root, tmp_path, monkeypatch):
    monkeypatch.setenv("AVSER_DATA", str(root))
    assert [c.path.name for c in scan(make_config("audio"), None)] == ["anna_1.wav", "bert_1.wav", "anna_2.wav"]
    with pytest.raises(DataError, match="elsewhere"):
        scan(make_config("audio"), tmp_path / "elsewhere")


def test_scan_hands_options_on_and_keeps_what_has_a_place(root):
    write_wav(root / "mine" / "bored" / "anna_3.wav")  # no label of basic7
    write_wav(root / "mine" / "calm" / "anna_4.wav")  # counts as neutral
    corpora = [{"name": "folder", "root": "mine", "options": {"subject": "/([a-z]+)_"}}]
    clips = scan(make_config("audio", corpora=corpora), root)
    assert sorted((c.label, c.subject) for c in clips) == [
        *(("calm", "anna"), ("happy", "anna"), ("happy", "bert"), ("sad", "anna"))
    ]


def test_scan_keeps_only_what_the_config_asks_for(tmp_path):
    for name in ("03-01-03-01-01-01-01", "03-01-04-01-01-01-02", "03-02-03-01-01-01-01", "01-01-03-01-01-01-01"):
        suffix = ".mp4" if name.startswith("01") else ".wav"
        path = tmp_path / "ravdess" / f"Actor_{name[-2:]}" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    only = {"channel": ["speech"], "modality": ["audio"]}
    corpora = [{"name": "ravdess", "root": "ravdess", "only": only}]
    clips = scan(make_config("audio", corpora=corpora), tmp_path)
    assert sorted(c.path.stem for c in clips) == ["03-01-03-01-01-01-01", "03-01-04-01-01-01-02"]


def test_a_corpus_of_which_nothing_can_be_used(root):
    corpora = [{"name": "folder", "root": "mine", "only": {"channel": ["speech"]}}]
    with pytest.raises(DataError, match="mine: none of its 3 clips"):
        scan(make_config("audio", corpora=corpora), root)


# Decoding, once


def test_sound_is_prepared_and_at_one_level(root):
    config = make_config("audio")
    examples, left_out = load_examples(config, scan(config, root))
    assert left_out == []
    assert [round(len(e.inputs) / RATE, 1) for e in examples] == [0.6, 0.9, 0.4]
    for example in examples:
        assert example.inputs.dtype == np.float32
        assert 20 * np.log10(np.sqrt(np.mean(example.inputs**2))) == pytest.approx(config.audio.level_db, abs=0.01)


def test_the_second_time_nothing_is_decoded(root, monkeypatch):
    config = make_config("audio")
    first, _ = load_examples(config, scan(config, root))
    monkeypatch.setattr(media, "read_audio", refuse)
    second, _ = load_examples(config, scan(config, root))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.inputs, b.inputs)


def test_the_cache_goes_by_content_and_not_by_name(root, tmp_path, monkeypatch):
    config = make_config("audio")
    path = root / "mine" / "happy" / "anna_1.wav"
    (before,), _ = load_examples(config, [clip(path)])
    moved = path.rename(tmp_path / "renamed.wav")
    write_wav(path, 0.8, seed=9)  # another sound under the old name
    (after,), _ = load_examples(config, [clip(path)])
    assert len(after.inputs) != len(before.inputs)
    monkeypatch.setattr(media, "read_audio", refuse)
    (same,), _ = load_examples(config, [clip(moved)])
    np.testing.assert_array_equal(same.inputs, before.inputs)


def test_the_cache_goes_by_what_is_wanted_of_the_file(root):
    path = root / "mine" / "happy" / "bert_1.wav"
    whole = load_examples(make_config("audio"), [clip(path)])[0][0]
    piece = load_examples(make_config("audio"), [clip(path, start=0.2, end=0.6)])[0][0]
    slow = load_examples(make_config("audio", audio={"rate": 8000, "fmax": 4000.0}), [clip(path)])[0][0]
    assert [len(e.inputs) for e in (whole, piece, slow)] == pytest.approx([14400, 6400, 7200], abs=200)


def test_preprocessing_is_not_frozen_in_the_cache(root):
    path = root / "mine" / "happy" / "bert_1.wav"
    for level in (-26.0, -20.0):
        (example,), _ = load_examples(make_config("audio", audio={"level_db": level}), [clip(path)])
        assert 20 * np.log10(np.sqrt(np.mean(example.inputs**2))) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_entry_is_made_anew(root, cache, junk):
    path = root / "mine" / "happy" / "bert_1.wav"
    (before,), _ = load_examples(make_config("audio"), [clip(path)])
    (entry,) = cache.rglob("*.npy")
    entry.write_bytes(junk)
    (after,), _ = load_examples(make_config("audio"), [clip(path)])
    np.testing.assert_array_equal(before.inputs, after.inputs)
    assert np.load(entry).size
    assert [p.name for p in cache.rglob("*") if p.is_file()] == [entry.name]  # no temporary file is left


def test_without_a_cache_folder_it_works_all_the_same(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "file"))
    examples, left_out = load_examples(make_config("audio"), scan(make_config("audio"), root))
    assert (len(examples), left_out) == (3, [])


def test_where_the_cache_is(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("AVSER_CACHE")
    assert cache_folder().name == "avser"


# Left out


def test_what_cannot_be_used_is_left_out_with_a_sentence(tmp_path):
    good = write_wav(tmp_path / "good.wav")
    silent = write_wav(tmp_path / "silent.wav", level=0.0)
    short = write_wav(tmp_path / "short.wav", 0.1)
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF, but nothing else")
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    examples, left_out = load_examples(
        make_config("audio"), [clip(p) for p in (damaged, good, silent, empty, short)]
    )
    assert [e.clip.path for e in examples] == [good]
    assert len(left_out) == 4
    for sentence, path in zip(left_out, (damaged, silent, empty, short), strict=True):
        assert path.name in sentence
        assert "\n" not in sentence
    assert "no sound found" in left_out[1]


def test_a_missing_file_is_left_out_with_a_sentence(tmp_path):
    clips = [clip(tmp_path / "gone.wav"), clip(write_wav(tmp_path / "good.wav"))]
    examples, left_out = load_examples(make_config("audio"), clips)
    assert len(examples) == 1
    assert "gone.wav" in left_out[0]


def test_video_without_sound_or_face(video_only):
    for branch, reason in (("audio", "no sound"), ("face", "no face")):
        examples, left_out = load_examples(make_config(branch), [clip(video_only)])
        assert examples == []
        assert video_only.name in left_out[0]
        assert reason in left_out[0]


def test_progress_sees_every_clip(root):
    seen = []

    def progress(clips):
        for c in clips:
            seen.append(c)
            yield c

    clips = scan(make_config("audio"), root)
    load_examples(make_config("audio"), clips, progress=progress)
    assert seen == clips


# The same picture twice


def test_what_is_also_held_out_is_not_trained_on(tmp_path):
    seen = write_png(tmp_path / "seen.png")
    twin = write_png(tmp_path / "twin.png", cv2.imread(str(seen))[..., ::-1])
    image = cv2.imread(str(seen))[..., ::-1].copy()
    image[5, 5, 0] ^= 1
    nearly = write_png(tmp_path / "nearly.png", image)
    examples, _ = load_examples(make_config("face"), [clip(twin), clip(nearly)])
    held_out, _ = load_examples(make_config("face"), [clip(seen, "sad")])
    assert data.without_copies(examples, held_out) == (examples[1:], 1)
    assert data.without_copies(examples, []) == (examples, 0)
    assert data.without_copies([*examples, *examples], [])[1] == 0  # twins in training are no leak


def test_a_sound_under_two_names_is_found_as_well(tmp_path):
    paths = [write_wav(tmp_path / f"{name}.wav", seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    examples, _ = load_examples(make_config("audio"), [clip(path) for path in paths])
    kept, count = data.without_copies(examples[1:], examples[:1])
    assert ([example.clip.path.stem for example in kept], count) == (["c"], 1)


# Targets


def test_votes_mix_into_the_target_by_hand(tmp_path):
    path = write_png(tmp_path / "a.png")
    clips = [
        clip(path, "happy", votes={"happy": 0.5, "sad": 0.25, "contempt": 0.25}),  # contempt has no place
        clip(path, "happy", votes={"contempt": 1.0}),
        clip(path, "happy"),
        clip(path, "calm", votes={"calm": 1.0}),
    ]
    expected = {
        0.0: [(0, 1, 0), (0, 1, 0), (0, 1, 0), (1, 0, 0)],
        0.5: [(0, 5 / 6, 1 / 6), (0, 1, 0), (0, 1, 0), (1, 0, 0)],
        1.0: [(0, 2 / 3, 1 / 3), (0, 1, 0), (0, 1, 0), (1, 0, 0)],
    }
    for votes, targets in expected.items():
        examples, _ = load_examples(make_config("face"), clips, votes=votes)
        for example, target in zip(examples, targets, strict=True):
            assert example.target.dtype == np.float32
            np.testing.assert_allclose(example.target, [*target, 0, 0, 0, 0], atol=1e-6)


# Faces


def test_small_pictures_are_crops_already(tmp_path):
    same, other = write_png(tmp_path / "same.png"), write_png(tmp_path / "wide.png", size=64)
    examples, left_out = load_examples(make_config("face"), [clip(same), clip(other)])
    assert left_out == []
    assert [e.inputs.shape for e in examples] == [(1, 48, 48, 3)] * 2
    assert [e.inputs.dtype for e in examples] == [np.uint8] * 2
    np.testing.assert_array_equal(examples[0].inputs[0], cv2.imread(str(same))[..., ::-1])


def test_large_pictures_are_searched_for_a_face(tmp_path, portrait):
    face = write_png(tmp_path / "portrait.png", portrait)
    none = write_png(tmp_path / "wall.png", np.full((300, 300, 3), 90, np.uint8))
    examples, left_out = load_examples(make_config("face"), [clip(face), clip(none)])
    assert [e.inputs.shape for e in examples] == [(1, 48, 48, 3)]
    assert left_out == [f"{none}: no face found"]


def test_frames_of_a_video_at_most_so_many_evenly_spread(talking, monkeypatch):
    (few,), _ = load_examples(make_config("face", face={"fps": 5}), [clip(talking)])
    assert len(few.inputs) == pytest.approx(10, abs=1)
    (many,), _ = load_examples(make_config("face", face={"fps": 25}), [clip(talking)])
    assert many.inputs.shape == (decoding.MAX_FRAMES, 48, 48, 3)
    monkeypatch.setattr(media, "iter_frames", refuse)  # another limit needs no decoding
    monkeypatch.setattr(decoding, "MAX_FRAMES", 4)
    (cut,), _ = load_examples(make_config("face", face={"fps": 25}), [clip(talking)])
    np.testing.assert_array_equal(cut.inputs[[0, -1]], many.inputs[[0, -1]])


# Batches


def sound_examples(tmp_path, *seconds: float) -> list[data.Example]:
    clips = [clip(write_wav(tmp_path / f"{n}.wav", s, seed=n), BASIC7[n]) for n, s in enumerate(seconds)]
    return load_examples(make_config("audio"), clips)[0]


def test_batches_of_sound(tmp_path):
    config = make_config("audio")
    examples = sound_examples(tmp_path, 0.5, 0.9, 0.3)
    dataset = ExampleDataset(examples, config, training=False)
    batch = collate([dataset[i] for i in (2, 0, 1)])
    assert batch["index"].tolist() == [2, 0, 1]
    assert batch["lengths"].tolist() == [len(examples[i].inputs) for i in (2, 0, 1)]
    assert batch["targets"].argmax(1).tolist() == [2, 0, 1]
    assert batch["inputs"].shape == (3, len(examples[1].inputs))
    assert (batch["inputs"][0, batch["lengths"][0] :] == 0).all()
    mel, lengths = network_inputs(batch, config, training=False)
    assert mel.shape[:3] == (3, 1, config.audio.n_mels)
    assert lengths.tolist() == [n // config.audio.hop + 1 for n in batch["lengths"].tolist()]
    assert lengths.max() <= mel.shape[-1]


def test_batches_of_faces(tmp_path, talking):
    config = make_config("face", face={"fps": 5})
    clips = [clip(write_png(tmp_path / "a.png"), "sad"), clip(talking), clip(talking, start=0.0, end=1.0)]
    dataset = ExampleDataset(load_examples(config, clips)[0], config, training=False)
    assert len(dataset) == 3
    batch = collate([dataset[i] for i in range(3)])
    pictures, mask = network_inputs(batch, config, training=False)
    counts = [len(example.inputs) for example in dataset.examples]
    assert pictures.shape == (3, max(counts), 3, 48, 48)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == counts
    assert mask[0].tolist() == [True] + [False] * (max(counts) - 1)
    np.testing.assert_allclose(
        pictures[1, 0].permute(1, 2, 0) * 255, dataset.examples[1].inputs[0], atol=1e-3
    )  # RGB in [0, 1]


def test_training_cuts_and_augments_and_validation_does_not(tmp_path):
    strong = {"speed": 0.2, "noise": 1.0, "band": 1.0, "time_masks": 2, "freq_masks": 2}
    config = make_config("audio", audio={"max_seconds": 0.5}, augment=strong)
    examples = sound_examples(tmp_path, 0.6, 0.9)
    batches = {}
    for training in (True, False):
        dataset = ExampleDataset(examples, config, training)
        for turn in (0, 1):
            batch = collate([dataset[i] for i in range(2)])
            batches[training, turn] = network_inputs(batch, config, training)[0]
            if training:
                assert batch["lengths"].max() <= 0.5 * RATE
            else:
                assert batch["lengths"].tolist() == [len(e.inputs) for e in examples]
    assert torch.equal(batches[False, 0], batches[False, 1])
    assert all(mel.isfinite().all() for mel in batches.values())
    assert batches[True, 0].shape != batches[True, 1].shape or not torch.equal(batches[True, 0], batches[True, 1])


def test_training_augments_faces(tmp_path):
    config = make_config("face", augment={"rotate": 20, "light": 0.3})
    examples, _ = load_examples(config, [clip(write_png(tmp_path / f"{n}.png")) for n in range(3)])
    batch = collate([ExampleDataset(examples, config, True)[i] for i in range(3)])
    plain, mask = network_inputs(batch, config, training=False)
    changed, same_mask = network_inputs(batch, config, training=True)
    assert changed.shape == plain.shape
    assert torch.equal(mask, same_mask)
    assert not torch.allclose(changed, plain, atol=0.01)


@pytest.mark.parametrize("branch", ["audio", "face"])
def test_logits_come_in_the_order_of_the_examples(branch, tmp_path, talking):
    if branch == "audio":
        config, examples = make_config("audio"), sound_examples(tmp_path, 0.8, 0.3, 1.1, 0.5)
    else:
        config = make_config("face", face={"fps": 5})
        half = np.zeros((48, 48, 3), np.uint8)
        half[24:] = 255
        pictures = [write_png(tmp_path / "noise.png"), write_png(tmp_path / "half.png", half)]
        clips = [clip(talking), *map(clip, pictures)]
        examples, _ = load_examples(config, clips)
    network = build_model(config)
    together = run_network(network, config, examples)
    assert together.shape == (len(examples), 7)
    assert not network.training
    alone = np.concatenate([run_network(network, config, [example]) for example in examples])
    together, alone = (torch.from_numpy(x).log_softmax(1) for x in (together, alone))
    # Convolutions at the end of a sound may see a little of what is behind it.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-3 if branch == "audio" else 1e-5)
    for i in range(len(examples)):  # the right one and no other
        assert (together - alone[i]).abs().sum(1).argmin() == i
