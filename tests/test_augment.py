"""Augmentation: nothing when switched off, and never more than what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avser.config import Augment
from avser.training import augment

RATE = 16_000
OFF = Augment()
FULL = Augment(
    rotate=15,
    shift=0.1,
    scale=0.15,
    light=0.4,
    blur=0.5,
    erase=0.5,
    background=0.5,
    grain=0.5,
    jpeg=0.5,
    flip=True,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    np.random.seed(0)


def sounds(
    batch: int = 4, size: int = RATE, lengths: list[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """White noise (B, S) with zeros behind each length, and the lengths."""
    lengths = torch.tensor(lengths or [size] * batch)
    samples = 0.1 * torch.randn(batch, size)
    return samples * (torch.arange(size)[None, :] < lengths[:, None]), lengths


def band_energy(samples: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Energy between two frequencies in Hz, (B,)."""
    power = torch.fft.rfft(samples).abs().square()
    hz = torch.linspace(0, RATE / 2, power.shape[1])
    return power[:, (hz >= low) & (hz < high)].sum(1)


def smooth_faces(batch: int = 3, frames: int = 4) -> torch.Tensor:
    """Pictures without sharp edges, the same in all frames of a clip, (B, N, 3, 48, 48)."""
    coarse = torch.rand(batch, 3, 6, 6)
    fine = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bilinear")
    return (0.2 + 0.6 * fine)[:, None].repeat(1, frames, 1, 1, 1)


# Switched off


def test_what_is_off_changes_nothing():
    samples, lengths = sounds(lengths=[16000, 9000, 4000, 100])
    assert torch.equal(augment.change_speed(samples[0], 0.0), samples[0])
    assert torch.equal(augment.add_noise(samples, lengths, 0.0), samples)
    assert torch.equal(augment.low_pass(samples, 0.0, RATE), samples)
    assert torch.equal(augment.cut(samples[0], RATE), samples[0])
    mel = torch.randn(4, 1, 64, 80)
    assert torch.equal(augment.mask_spectrogram(mel, torch.full((4,), 80), OFF, 20), mel)
    faces = torch.rand(2, 3, 3, 48, 48)
    torch.testing.assert_close(augment.augment_faces(faces, OFF), faces, rtol=0, atol=1e-4)


def test_clips_that_are_not_drawn_stay_as_they_are():
    samples, lengths = sounds(batch=60, size=2000)
    for changed in (augment.add_noise(samples, lengths, 0.5), augment.low_pass(samples, 0.5, RATE)):
        same = (changed - samples).abs().amax(1) < 1e-5
        assert 15 < same.sum() < 45


# Sound


@given(st.integers(400, 20000), st.floats(0.01, 0.3))
def test_speed_changes_the_length_by_at_most_its_extent(size, extent):
    out = augment.change_speed(torch.randn(size), extent)
    assert size / (1 + extent) - 1 <= len(out) <= size / (1 - extent)
    assert out.isfinite().all()


def test_speed_changes_tempo_and_pitch_together():
    tone = torch.sin(2 * torch.pi * 500 * torch.arange(RATE) / RATE)
    for _ in range(5):
        out = augment.change_speed(tone, 0.2)
        peak = torch.fft.rfft(out).abs().argmax() * RATE / len(out)
        assert peak == pytest.approx(500 * RATE / len(out), rel=0.01)


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_cut_is_a_piece_of_the_sound(size, wanted):
    samples = torch.arange(size)
    out = augment.cut(samples, wanted)
    assert len(out) == min(size, wanted)
    assert torch.equal(out, samples[out[0] : out[0] + len(out)])


def test_cuts_come_from_everywhere():
    starts = {int(augment.cut(torch.arange(5), 3)[0]) for _ in range(60)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("size", [16000, 16001])
def test_noise_lies_5_to_30_db_below_the_sound(size):
    lengths = [size, size, 9000, 5000] * 8
    samples, lengths = sounds(32, size, lengths)
    noisy = augment.add_noise(samples, lengths, 1.0)
    noise = noisy - samples
    assert noisy.shape == samples.shape
    assert noisy.isfinite().all()
    assert (noise[torch.arange(size)[None, :] >= lengths[:, None]] == 0).all()  # none behind the end
    ratio = 10 * torch.log10(samples.square().sum(1) / noise.square().sum(1))
    whole = ratio[lengths == size]
    assert ((whole > 4.9) & (whole < 30.1)).all()
    assert ((ratio > 0) & (ratio < 40)).all()  # slow noise is uneven: a part of it may be louder than the whole
    assert whole.max() - whole.min() > 8


def test_noise_on_silence_is_finite():
    assert augment.add_noise(torch.zeros(2, 1000), torch.tensor([1000, 500]), 1.0).isfinite().all()


@pytest.mark.parametrize("size", [16000, 16001])
def test_low_pass_removes_what_lies_above_its_corner(size):
    samples, _ = sounds(32, size)
    out = augment.low_pass(samples, 1.0, RATE)
    assert out.shape == samples.shape
    low = band_energy(out, 100, 2500) / band_energy(samples, 100, 2500)
    np.testing.assert_allclose(low, 1.0, atol=0.02)  # below the lowest corner nothing is lost
    hz = torch.linspace(0, RATE / 2, size // 2 + 1)
    gain = torch.fft.rfft(out).abs() / torch.fft.rfft(samples).abs()  # (B, F)
    corners = torch.tensor([hz[row > 0.5].max() for row in gain])
    assert ((corners > 2900) & (corners <= 8000)).all()
    assert corners.max() - corners.min() > 1500
    for row, corner in zip(gain, corners, strict=True):
        assert (row[hz > corner + 700] < 0.01).all()


# Spectrograms


@given(
    steps=st.integers(3, 90),
    short=st.integers(1, 90),
    masks=st.integers(0, 3),
    width=st.integers(1, 40),
    bands=st.integers(0, 20),
)
def test_masks_are_no_wider_than_promised_and_never_pass_the_end(steps, short, masks, width, bands):
    lengths = torch.tensor([steps, min(short, steps)])
    mel = torch.rand(2, 1, 32, steps) + 1.0 + torch.arange(32 * steps).view(32, steps)  # no value like the mean
    settings = Augment(time_masks=masks, freq_masks=masks, freq_width=bands)
    out = augment.mask_spectrogram(mel, lengths, settings, width)
    assert out.shape == mel.shape
    for clip in range(2):
        changed = (out[clip, 0] != mel[clip, 0]).float()  # (M, T)
        whole_steps, whole_bands = changed.mean(0) == 1, changed.mean(1) == 1
        assert whole_bands.sum() <= masks * bands
        assert whole_steps[lengths[clip] :].sum() == 0
        if not whole_bands.all():
            assert whole_steps.sum() <= masks * min(width, lengths[clip] // 3)
        rest = changed[~whole_bands][:, ~whole_steps]
        assert rest.sum() == 0  # nothing but whole bands and stretches


def test_masks_are_drawn_for_each_clip():
    mel = torch.randn(8, 1, 64, 90)
    settings = Augment(time_masks=1, freq_masks=1)
    out = augment.mask_spectrogram(mel, torch.full((8,), 90), settings, 25)
    patterns = {tuple((out[i] != mel[i]).flatten().tolist()) for i in range(8)}
    assert len(patterns) >= 7
    for i in range(8):
        hidden = out[i][out[i] != mel[i]]
        torch.testing.assert_close(hidden, mel[i].mean().expand_as(hidden))


# Faces


def test_faces_keep_shape_and_range():
    out = augment.augment_faces(torch.rand(5, 3, 3, 48, 48), FULL)
    assert out.shape == (5, 3, 3, 48, 48)
    assert out.isfinite().all()
    assert ((out >= 0) & (out <= 1)).all()


@pytest.mark.parametrize("kind", ["rotate", "shift", "scale", "light", "blur", "flip"])
def test_frames_of_a_clip_change_alike_and_clips_differ(kind):
    extent = {"rotate": 20, "flip": True, "blur": 1.0}.get(kind, 0.2)
    faces = smooth_faces(1, 4).repeat(12, 1, 1, 1, 1)
    out = augment.augment_faces(faces, Augment(**{kind: extent}))
    assert not torch.allclose(out, faces, atol=1e-3)
    torch.testing.assert_close(out, out[:, :1].expand_as(out), rtol=0, atol=1e-5)
    if kind != "blur":  # which picks pictures but blurs all alike
        assert not torch.allclose(out, out[:1].expand_as(out), atol=1e-3)


def test_flips_are_mirror_images_of_about_half_the_clips():
    faces = smooth_faces(40, 1)
    out = augment.augment_faces(faces, Augment(flip=True))
    same = (out - faces).abs().amax((1, 2, 3, 4)) < 1e-4
    mirrored = (out - faces.flip(-1)).abs().amax((1, 2, 3, 4)) < 1e-4
    assert (same ^ mirrored).all()
    assert 8 < mirrored.sum() < 32


def test_a_shift_moves_by_at_most_its_share():
    faces = torch.zeros(30, 1, 3, 48, 48)
    faces[..., 20:28, 20:28] = 1.0
    out = augment.augment_faces(faces, Augment(shift=0.1))
    mass = out.mean((1, 2))  # (B, H, W)
    where = torch.arange(48.0)
    for axis in (1, 2):
        centre = (mass.sum(3 - axis) * where).sum(1) / mass.sum((1, 2))
        assert (centre - 23.5).abs().max() <= 4.8 + 0.1
        assert (centre - 23.5).abs().max() > 2
    np.testing.assert_allclose(mass.sum((1, 2)), 64, rtol=1e-3)  # nothing is stretched


def test_a_rotation_keeps_angles_within_its_extent():
    faces = torch.zeros(30, 1, 3, 48, 48)
    faces[..., 23:25, 8:40] = 1.0  # a bar
    out = augment.augment_faces(faces, Augment(rotate=20)).mean((1, 2))
    where = torch.arange(48.0) - 23.5
    xy = (out * where[:, None] * where[None, :]).sum((1, 2))
    xx, yy = (out * where[None, :] ** 2).sum((1, 2)), (out * where[:, None] ** 2).sum((1, 2))
    angles = torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy))
    assert angles.abs().max() < 21
    assert angles.max() > 8
    assert angles.min() < -8


def test_erasing_takes_at_most_two_fifths_of_each_side():
    faces = torch.full((60, 1, 3, 48, 48), 0.3)
    out = augment.augment_faces(faces, Augment(erase=0.5))
    gone = ((out - faces).abs() > 1e-4).any(2)[:, 0]  # (B, H, W)
    assert gone.any(2).sum(1).max() <= 0.4 * 48
    assert gone.any(1).sum(1).max() <= 0.4 * 48
    drawn = gone.any((1, 2)).sum()
    assert 15 < drawn < 45


def test_a_plain_background_leaves_the_middle_and_one_grey_around_it():
    torch.manual_seed(0)
    faces = torch.rand(64, 1, 3, 48, 48)
    out = augment.augment_faces(faces, Augment(background=1.0))
    torch.testing.assert_close(out[..., 18:30, 18:30], faces[..., 18:30, 18:30], atol=1e-5, rtol=0)
    changed = ((out - faces).abs() > 1e-5).any(2, keepdim=True).expand_as(out)
    assert all(len(picture[where].unique()) <= 1 for picture, where in zip(out, changed, strict=True))
    assert 0.05 < changed.float().mean() < 0.5


def test_jpeg_changes_a_picture_but_little():
    faces = (255 * smooth_faces(8, 2)).round() / 255  # as pictures of bytes are
    out = augment.augment_faces(faces, Augment(jpeg=1.0))
    change = (out - faces).abs()
    assert ((out >= 0) & (out <= 1)).all()
    assert (change.amax((2, 3, 4)) > 0.01).all()  # each picture
    assert (change.mean((2, 3, 4)) < 0.03).all()
    # red and blue keep their places
    reds, blues = (out[:, :, c].mean((2, 3)) - faces[:, :, c].mean((2, 3)) for c in (0, 2))
    assert max(reds.abs().max(), blues.abs().max()) < 0.02


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (0.5, 8, 32), (1.0, 40, 40)])
def test_jpeg_takes_its_share_of_the_pictures(share, fewest, most):
    pictures = (255 * smooth_faces(40, 1)[:, 0]).round() / 255
    before = pictures.clone()
    changed = (augment._compress(pictures, share) - pictures).abs().amax((1, 2, 3)) > 1e-6
    assert fewest <= changed.sum() <= most
    assert torch.equal(pictures, before)


def test_black_and_white_pictures_stay_in_range():
    for value in (0.0, 1.0):
        out = augment.augment_faces(torch.full((4, 2, 3, 48, 48), value), FULL)
        assert ((out >= 0) & (out <= 1)).all()


# Mixup


@given(alpha=st.floats(0.05, 5), batch=st.integers(1, 6))
def test_mixed_targets_sum_to_one(alpha, batch):
    targets = torch.nn.functional.one_hot(torch.arange(batch) % 3, 3).float()
    inputs, lengths = torch.randn(batch, 1, 8, 5), torch.arange(1, batch + 1)
    mixed, longer, new = augment.mix(inputs, lengths, targets, alpha)
    assert mixed.shape == inputs.shape
    torch.testing.assert_close(new.sum(1), torch.ones(batch))
    assert torch.equal(longer, torch.maximum(lengths, lengths.flip(0)))


def test_mixup_mixes_inputs_and_targets_by_one_share():
    targets = torch.eye(2)
    inputs = torch.tensor([[1.0], [0.0]])
    mixed, _, new = augment.mix(inputs, torch.tensor([1, 1]), targets, 0.4)
    torch.testing.assert_close(mixed[:, 0], new[:, 0])
    assert 0 < new[0, 0] < 1


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_pastes_a_patch_and_shares_the_targets_by_its_area(seed):
    np.random.seed(seed)
    faces = torch.zeros(2, 3, 3, 40, 40)
    faces[1] = 1.0
    mask = torch.ones(2, 3, dtype=torch.bool)
    mixed, same, targets = augment.cut_mix(faces, mask, torch.eye(2), 1.0)
    assert torch.equal(same, mask)
    pasted = mixed.mean((2, 3, 4))  # (B, N)
    torch.testing.assert_close(pasted[0], targets[0, 1].expand(3))
    torch.testing.assert_close(1 - pasted[1], targets[1, 0].expand(3))
    torch.testing.assert_close(targets.sum(1), torch.ones(2))
    patch = mixed[0, 0, 0]
    rows, columns = patch.amax(1) > 0, patch.amax(0) > 0
    assert patch.sum() == rows.sum() * columns.sum()  # one rectangle


def test_cutmix_leaves_frames_that_only_one_clip_has():
    faces = torch.zeros(2, 3, 3, 40, 40)
    faces[1] = 1.0
    mask = torch.tensor([[True, True, False], [True, False, False]])
    for seed in range(8):
        np.random.seed(seed)
        mixed, same, targets = augment.cut_mix(faces, mask, torch.eye(2), 1.0)
        assert torch.equal(same, mask)
        assert torch.equal(mixed[:, 1:], faces[:, 1:])
        area = mixed[0, 0].mean()
        torch.testing.assert_close(targets[:, 1], torch.stack([area / 2, 1 - area]))


@pytest.mark.parametrize("asked", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_blends_are_those_asked_for(asked):
    faces, mask = torch.rand(2, 1, 3, 24, 24), torch.ones(2, 1, dtype=torch.bool)
    kinds = set()
    for seed in range(20):
        np.random.seed(seed)
        mixed, _, _ = augment.blend(faces, mask, torch.eye(2), Augment(**asked))
        own = (mixed == faces).float().mean()
        whole = ((mixed == faces) | (mixed == faces.flip(0))).all()
        kinds.add("cutmix" if whole and own < 1 else "none" if own == 1 else "mixup")
    assert kinds - {"none"} == set(asked)  # a patch may be of no size


def test_a_mixed_mask_shows_the_frames_of_both():
    mask = torch.tensor([[True, False, False], [True, True, False]])
    _, mixed, _ = augment.mix(torch.rand(2, 3, 3, 8, 8), mask, torch.eye(2), 0.4)
    assert mixed.tolist() == [[True, True, False]] * 2
