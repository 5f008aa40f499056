"""Settings of the way from a file to what a network takes. They are stored with the weights."""

from __future__ import annotations

from typing import Literal

import pydantic


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class AudioInput(_Section):
    """From sound to what a network takes. Stored with the weights: prediction uses what training used.

    Attributes:
        kind: `log_mel`, a spectrogram of the sound's length; `picture`, a spectrogram as a picture of fixed size;
            `features`, one vector of hand-crafted features a sound; `embeddings`, what YAMNet makes of each patch.
        rate: Hz. n_fft, hop: samples. window: length of the Hann window in samples, None for n_fft.
        centred: a frame is centred on its time (t hop), or begins there as in TensorFlow.
        bands: `mel` (HTK scale, triangles of height one), or `linear` for all bins of the Fourier transform.
        fmin, fmax: Hz. n_mels: bands. slopes: the triangles are straight over `hz`, or `mel` as in TensorFlow.
        power: 2 for the power, 1 for the magnitude spectrogram. offset: what is added before the logarithm.
        trim_db: silence at both ends is cut below this distance to the loudest frame, in dB; None keeps it.
        level_db: the remaining sound is scaled to this RMS level, dB of full scale; None leaves it as it is.
        min_speech: shorter sound than this after trimming counts as absent, in s.
        floor_db: sound whose loudest frame lies below this level counts as absent, dB of full scale.
        mean, std: what is subtracted from and divides the log-mel.
        max_seconds: training cuts longer clips at random to this length, in s.
        picture: side of a picture, px. colours: of a picture, `grey` or `viridis`.
        features: name of the set of hand-crafted features, or `yamnet` (functionals of embeddings), or `a+b+…`.
        weights: file with YAMNet's weights, which embeddings need.
    """

    kind: Literal["log_mel", "picture", "features", "embeddings"] = "log_mel"
    rate: int = 16_000
    n_fft: int = 512
    hop: int = 200
    window: int | None = None
    centred: bool = True
    bands: Literal["mel", "linear"] = "mel"
    slopes: Literal["hz", "mel"] = "hz"
    n_mels: int = 64
    fmin: float = 50.0
    fmax: float = 8_000.0
    power: float = 2.0
    offset: float = 1e-6
    trim_db: float | None = 35.0
    level_db: float | None = -26.0
    min_speech: float = 0.25
    floor_db: float = -60.0
    mean: float = -4.4
    std: float = 3.7
    max_seconds: float = 2.4
    picture: int = 64
    colours: Literal["grey", "viridis"] = "grey"
    features: str = ""
    weights: str | None = None


class FaceInput(_Section):
    """From a video, or from what another program measured in it, to what the face network takes.

    Attributes:
        input: `crops` of faces, or `action_units` (FACS) as OpenFace or py-feat write them.
        size: side of a crop, px. fps: frames looked at in a second of video.
        units: columns of action units, by the program that writes them (`openface`, `pyfeat`) or one by one.
        power: the units are raised to it before all else, with their signs; 0.5 tells small values apart.
        centre: `subject` subtracts from each clip the mean of all clips of its subject. No labels are used, but to
            judge one clip the person's others must be there: figures are transductive, and named so.
    """

    input: Literal["crops", "action_units"] = "crops"
    size: int = 48
    fps: float = 10.0
    units: str | list[str] = "openface"
    power: float = pydantic.Field(1.0, gt=0)
    centre: Literal["none", "subject"] = "none"

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> FaceInput:
        if self.centre != "none" and self.input == "crops":
            raise ValueError("centre: is for face.input=action_units only")
        return self
