"""Build a chimeric corpus of videos: real faces and real voices of different people, paired by emotion.

    python tools/make_chimeric.py OUT --voices ravdess=DIR --voices emodb=DIR --faces ckplus=DIR \\
        --faces fer2013=DIR

A chimeric subject is one speaker with the faces of some people of CK+ and some pictures of FER2013, none of which
recurs in another subject; nobody knows who is on a picture of FER2013, so identical pictures count as one. A clip
shows the frames of a CK+ sequence, else one picture of FER2013, slightly moving, while the voice speaks with the
same emotion. No clip was ever performed by one person: figures on it say that a fusion can be trained, not how
good it would be on people. It is named chimeric in all file names and in `chimeric.csv`.

It is laid out as the folder corpus is, `OUT/EMOTION/chimeric_S07_012.mp4`, and trained on with

    avser train configs/fused_head.yaml name=chimeric_head labels=basic7 protocol=subject5 validation=2 \\
        'corpora=[{name: folder, root: OUT, options: {subject: "chimeric_(S[0-9]+)_"}}]'

Terms: those of the corpora it is made from; CK+ may not be passed on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from avser import datasets, media
from avser.datasets import fer2013
from avser.errors import AvserError
from avser.labels import LABEL_SETS
from avser.types import Clip

EMOTIONS = LABEL_SETS["basic7"]
FPS, SIDE, FACE = 10, 216, 144  # pictures a second; side of the video and of the picture in it, px
SUBJECT = "chimeric_(S[0-9]+)_"
"""The `subject` option of the folder corpus."""
COLUMNS = (
    "path",
    "subject",
    "label",
    "voice_corpus",
    "voice_subject",
    "voice",
    "face_corpus",
    "face_subject",
    "face",
)


@dataclass
class Person:
    """A chimeric subject: one speaker's clips, and the faces that are shown only with them, by emotion."""

    name: str
    voices: dict[str, list[Clip]]
    faces: dict[str, list[list[Clip]]] = field(default_factory=lambda: defaultdict(list))


def scan(sources: Iterable[str], known: Sequence[str]) -> list[Clip]:
    """The clips of corpora given as NAME=DIR that show one of `EMOTIONS`."""
    clips = []
    for source in sources:
        name, equals, root = source.partition("=")
        if not equals or name not in known:
            sys.exit(f"{source}: give NAME=DIR, NAME one of {', '.join(known)}")
        clips += datasets.scan(name, root)
    return [clip for clip in clips if clip.label in EMOTIONS]


def by_speaker(clips: Iterable[Clip]) -> dict[tuple[str, str], dict[str, list[Clip]]]:
    """Clips of each speaker by emotion; of RAVDESS the spoken ones without a picture, and each recording once."""
    speakers: dict = defaultdict(lambda: defaultdict(list))
    seen: set[bytes] = set()
    for clip in clips:
        if clip.corpus == "ravdess" and (clip.info["channel"], clip.info["modality"]) != ("speech", "audio"):
            continue
        digest = hashlib.blake2b(clip.path.read_bytes()).digest()
        if digest not in seen:
            seen.add(digest)
            speakers[clip.corpus, clip.subject][clip.label].append(clip)
    return speakers


def choose_speakers(speakers: dict, count: int, rng: np.random.Generator) -> list[Person]:
    """Chimeric subjects S01, S02… of speakers taken by chance."""
    names = sorted(speakers)
    if len(names) < count:
        sys.exit(f"{count} subjects need as many speakers, and there are {len(names)}: lower --subjects")
    order = [names[i] for i in rng.permutation(len(names))]
    return [Person(f"S{number:02d}", speakers[who]) for number, who in enumerate(order[:count], 1)]


def deal_faces(people: Sequence[Person], clips: Iterable[Clip], clips_each: int, rng: np.random.Generator) -> None:
    """Give each person of CK+, and each picture of FER2013, to one chimeric subject only.

    People of CK+ go in turn to whoever has the fewest of their emotions; pictures of FER2013 fill up what is
    still lacking, clean ones that most annotators of FER+ agree on where there are votes.
    """
    sequences: dict = defaultdict(lambda: defaultdict(list))
    pictures: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.corpus == "ckplus":
            sequences[clip.subject][clip.label, clip.info["sequence"]].append(clip)
        elif _is_clear(clip):
            pictures[clip.label].append(clip)
    for who in [sorted(sequences)[i] for i in rng.permutation(len(sequences))]:
        shown = {label for label, _ in sequences[who]}
        person = min(people, key=lambda p: (sum(len(p.faces[label]) for label in shown), p.name))
        for (label, _), frames in sorted(sequences[who].items()):
            person.faces[label].append(sorted(frames, key=lambda clip: int(clip.info["frame"])))
    used: set[bytes] = set()
    for label in EMOTIONS:
        order = [pictures[label][i] for i in rng.permutation(len(pictures[label]))]
        for person in people:
            while len(person.faces[label]) < clips_each and order:
                picture = order.pop()
                digest = hashlib.blake2b(datasets.load_image(picture).tobytes()).digest()
                if digest not in used:
                    used.add(digest)
                    person.faces[label].append([picture])


def _is_clear(clip: Clip) -> bool:
    """Whether no identical picture has another emotion, as far as that is known, and annotators agree."""
    return clip.info.get("row_flag", "0") == "0" and (clip.votes is None or fer2013.majority(clip) == clip.label)


def frames_of(face: Sequence[Clip], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The pictures of a clip (N, SIDE, SIDE, 3): a face that sways a little, a sequence's frames one by one.

    The face is enlarged, and its border goes on around it, as detectors need some surroundings.
    """
    pictures = []
    for clip in face:
        image = cv2.resize(datasets.load_image(clip), (FACE, FACE), interpolation=cv2.INTER_CUBIC)
        edge = (SIDE - FACE) // 2
        pictures.append(cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REPLICATE))
    count = max(2, round(FPS * seconds))
    drift = rng.uniform(0, 2 * np.pi, 3)
    shown = []
    for number in range(count):
        # a sequence reaches its peak in the first third, and stays there
        picture = pictures[min(len(pictures) - 1, number * 3 * len(pictures) // count)]
        phase = 2 * np.pi * number / FPS / 2.5 + drift
        zoom = 1 + 0.03 * np.sin(phase[0])
        dx, dy = 3 * np.sin(phase[1:]) + rng.normal(0, 0.3, 2)
        matrix = np.float32([[zoom, 0, dx + SIDE / 2 * (1 - zoom)], [0, zoom, dy + SIDE / 2 * (1 - zoom)]])
        shown.append(cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
    return np.stack(shown)


def write_clip(path: Path, pictures: np.ndarray, voice: Path) -> None:
    """Pictures (N, SIDE, SIDE, 3) with the sound of a file, as H.264 and AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        media.ffmpeg_binary(),
        "-nostdin",
        "-y",
        "-loglevel",
        "error",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
    ]
    command += ["-s", f"{SIDE}x{SIDE}", "-r", f"{FPS}", "-i", "pipe:0", "-i", f"file:{voice}"]
    command += ["-map", "0:v", "-map", "1:a", "-map_metadata", "-1", "-metadata", "title=chimeric: not one person"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1"]
    command += ["-c:a", "aac", "-b:a", "96k", f"file:{path}"]
    done = subprocess.run(command, input=pictures.tobytes(), capture_output=True)
    if done.returncode:
        sys.exit(f"{path}: ffmpeg could not write it ({done.stderr.decode(errors='replace').strip()})")


def build(out: Path, people: Sequence[Person], clips_each: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Write the clips; the rows of the manifest."""
    rows = []
    for person in people:
        number = 0
        for label in EMOTIONS:
            voices = person.voices.get(label, [])
            voices = [voices[i] for i in rng.permutation(len(voices))]
            faces = [person.faces[label][i] for i in rng.permutation(len(person.faces[label]))]
            for voice, face in list(zip(voices, faces, strict=False))[:clips_each]:
                number += 1
                path = out / label / f"chimeric_{person.name}_{number:03d}.mp4"
                track = media.read_audio(voice.path)
                write_clip(path, frames_of(face, len(track.samples) / track.rate, rng), voice.path)
                shown = face[0]
                values = (
                    *(path.relative_to(out).as_posix(), person.name, label),
                    *(voice.corpus, voice.subject, voice.name),
                    *(shown.corpus, shown.subject or "", " ".join(clip.name for clip in face)),
                )
                rows.append(dict(zip(COLUMNS, values, strict=True)))
        print(f"{person.name}: {number} clips", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write, which must be new or empty")
    parser.add_argument("--voices", action="append", required=True, metavar="NAME=DIR", help="ravdess, emodb")
    parser.add_argument("--faces", action="append", required=True, metavar="NAME=DIR", help="ckplus, fer2013")
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--clips", type=int, default=4, help="clips of each emotion and subject")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        sys.exit(f"{args.out}: is not empty; name a new folder")
    rng = np.random.default_rng(args.seed)
    try:
        voices = scan(args.voices, ("ravdess", "emodb"))
        faces = scan(args.faces, ("ckplus", "fer2013"))
        people = choose_speakers(by_speaker(voices), args.subjects, rng)
        deal_faces(people, faces, args.clips, rng)
        rows = build(args.out, people, args.clips, rng)
    except AvserError as error:
        sys.exit(f"make_chimeric: {error}")
    with (args.out / "chimeric.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{args.out}: a chimeric corpus of {len(rows)} clips of {len(people)} chimeric subjects")
    print(f"its subjects are found by {{subject: {SUBJECT!r}}}")


if __name__ == "__main__":
    main()
