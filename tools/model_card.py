"""The model cards of the shipped models, from their headers and reports."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from avser.config import Config, parse_config
from avser.members import members
from avser.metrics import Report

CARD = """# {name} {version}

Voice and face of one person, seven expressed emotions: {labels}. Two branches, calibrated and fused late.

| | |
|---|---|
| voice | {audio_network}, on 64 log-mels of silence-trimmed, level-normalised 16 kHz sound |
| face | {face_network} on aligned 48×48 grey crops and their mirror images; frames weighted by how expressive they are |
| fusion | weighted average of log-probabilities: voice {audio_share:.2f}, face {face_share:.2f}, sharpness {sharpness:.2f} |
| size | {size:.1f} MB |
| licence | CC BY-NC-SA 4.0 (the strictest corpus's, RAVDESS): non-commercial, share alike, name the corpora |

## Trained on

- Voice: RAVDESS speech without Actor 01 (Livingstone & Russo 2018, CC BY-NC-SA 4.0) and EmoDB (Burkhardt et al. 2005);
  calm counts as neutral, boredom is left out.
- Face: FER2013 training part (Goodfellow et al. 2013) with FER+ votes (Barsoum et al. 2016, MIT) as part of the target:
  half of it in the first round, a fifth in the second. These weights met pictures of which other parts of FER2013 hold
  identical copies (training now leaves them out): the figure on new pictures is the one to compare.
- No other weights were used to start from.

## Chosen on

Epochs, temperatures, priors and the weights of the voice's members on validation subjects (four RAVDESS actors; FER2013
public test); the classifier on random filters was then fitted again with the validation actors. No corpus at hand has
voice and face of people outside the training set, so the face's calibration and the fusion come from {pairs} pairs of
the same emotion: a validation actor's voice with a window of validation pictures of other people, 0 to 80 % of them
neutral, the others at 20 to 100 % of their strength. They know nothing of how voice and face of one person go together.
The pooling of frames was chosen on such windows, too. That such windows are needed was seen on Actor 01's clips, on
which a fusion fitted on single pictures trusted the face too much, and other calibrations were looked at on them and not
kept: his figures below are to that extent optimistic.

## Figures

95 % intervals by bootstrap over subjects (over clips where one subject or none is known). The logits of each clip are in
`weights/results/`; `avser evaluate --from-logits FILE` recomputes each line.

ECE: as the model says it, then (where there are folds) with a temperature for each fold that was fitted on the others.

| what | protocol | clips | UAR | accuracy | ECE | file |
|---|---|---|---|---|---|---|
{rows}

{details}

Actor 01 is one man with 52 clips; his face frames are grey and few, and there is no calm among them. Differences of ten
points between lines mean little there.

## Limits

- Acted, exaggerated emotion; two sentences of English, ten of German; 33 voices. Own recordings will be judged worse
  than the table says, and differently for women and men: see the recalls.
- FER2013 comes from web searches, with labels of which many are wrong, and few pictures of disgust.
- Music, noise and several people at once are not told apart from one speaker's voice; one face is followed at a time.
- Probabilities are calibrated on the validation subjects of these corpora, not on yours.

## Not to be used

Not to decide anything about a person; not at work, in education, hiring, policing, insurance or lie detection; not for
watching people who do not know of it. The EU AI Act forbids inferring emotions at work and in education outside medical
and safety reasons, and asks to inform people elsewhere. What is found is expressed emotion, never what a person feels.

## To train it again

```sh
{commands}
```
"""

COMMANDS = """avser train configs/audio_base.yaml --data-root DATA         # voice
avser train configs/audio_base.yaml labels=ravdess8 name=audio_base8 --data-root DATA  # voice of audio-ravdess8
avser train configs/face_fer2013.yaml --data-root DATA       # face
avser train configs/face_fer2013_tune.yaml --data-root DATA  # face, second round
avser train configs/audio_ravdess8.yaml --data-root DATA     # the figures of the voice over all actors
for protocol in luna5 loso random; do
    avser train configs/audio_ravdess8.yaml protocol=$protocol name=audio_$protocol --data-root DATA
done
python tools/release_weights.py --audio runs/audio_base/fold0 --face runs/face_fer2013_tune/fold0 \\
    --voice runs/audio_base8/fold0 --crossed runs/audio_ravdess8 --crossed runs/audio_luna5 \\
    --crossed runs/audio_loso --crossed runs/audio_random --data-root DATA"""

VOICE_CARD = """# {name} {version}

The voice alone, eight expressed emotions: {labels}.

| | |
|---|---|
| voice | {audio_network}, on 64 log-mels of silence-trimmed, level-normalised 16 kHz sound |
| size | {size:.1f} MB |
| licence | CC BY-NC-SA 4.0 (the strictest corpus's, RAVDESS): non-commercial, share alike, name the corpora |

Trained on RAVDESS speech without Actor 01 (Livingstone & Russo 2018, CC BY-NC-SA 4.0) and EmoDB (Burkhardt et al. 2005;
boredom is left out), from scratch. Epochs, temperature and the members' weights come from four validation actors; the
classifier on random filters was then fitted again with them.

## Figures

95 % intervals by bootstrap over subjects (over clips where there is one subject). The logits of each clip are in
`weights/results/`; `avser evaluate --from-logits FILE` recomputes each line. ECE: as the model says it, then (where there
are folds) with a temperature for each fold that was fitted on the others.

| what | protocol | clips | UAR | accuracy | ECE | file |
|---|---|---|---|---|---|---|
{rows}

{details}

## Limits, and what it is not to be used for

Acted, exaggerated emotion, two sentences of English and ten of German, 33 voices: on others it will be worse, and women's
voices are recognised better than men's. Not to decide anything about a person; not at work, in education, hiring,
policing, insurance or lie detection. What is found is expressed emotion, never what a person feels.

## To train it again

```sh
{commands}
```
"""


def write_voice_card(meta: Mapping, size: float, measured: Mapping[str, tuple[str, str, Report]]) -> str:
    """Fill the card of a model of the voice alone; see `write_card`."""
    return VOICE_CARD.format(
        name=meta["name"],
        version=meta["version"],
        labels=", ".join(meta["labels"]),
        audio_network=_voice(parse_config(meta["config"], "the header")),
        size=size,
        rows="\n".join(_row(what, *facts) for what, facts in measured.items()),
        details="\n\n".join(_detail(what, r) for what, (_, _, r) in measured.items() if "member" not in what),
        commands=COMMANDS,
    )


def write_card(meta: Mapping, size: float, pairs: int, measured: Mapping[str, tuple[str, str, Report]]) -> str:
    """Fill the card.

    Args:
        meta: the model's header.
        size: of its file, MB.
        pairs: that the fusion was fitted on.
        measured: by what was measured: protocol, file of logits, report.
    """
    shares = meta["fusion"]["shares"]
    total = sum(shares.values())
    return CARD.format(
        name=meta["name"],
        version=meta["version"],
        labels=", ".join(meta["labels"]),
        audio_network=_voice(parse_config(meta["branches"]["audio"]["config"], "the header")),
        face_network=meta["branches"]["face"]["config"]["network"]["name"],
        audio_share=shares["audio"] / total,
        face_share=shares["face"] / total,
        sharpness=meta["fusion"]["sharpness"],
        size=size,
        pairs=pairs,
        rows="\n".join(_row(what, *facts) for what, facts in measured.items()),
        details="\n\n".join(_detail(what, r) for what, (_, _, r) in measured.items() if "member" not in what),
        commands=COMMANDS,
    )


def _voice(config: Config) -> str:
    names = [member.network.name for member in members(config)]
    return names[0] if len(names) == 1 else f"weighted log-probabilities of {', '.join(names)}"


def _row(what: str, protocol: str, file: str, report: Report) -> str:
    cells = [
        what,
        protocol,
        str(report.n),
        f"{report.uar:.3f} ({report.uar_interval[0]:.3f}–{report.uar_interval[1]:.3f})",
        f"{report.accuracy:.3f} ({report.accuracy_interval[0]:.3f}–{report.accuracy_interval[1]:.3f})",
        f"{report.ece:.3f}" + ("" if isnan(report.ece_calibrated) else f", {report.ece_calibrated:.3f}"),
        f"`{file}`",
    ]
    return f"| {' | '.join(cells)} |"


def _detail(what: str, report: Report) -> str:
    """Recall per class (and gender), and the confusion table."""
    head = ["", *report.labels, "recall"]
    lines = [
        f"**{what}** (rows: true, columns: predicted)",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for label, counts, recall in zip(report.labels, report.confusion, report.recalls, strict=True):
        lines.append(f"| {label} | {' | '.join(str(int(n)) for n in counts)} | {recall:.2f} |")
    for gender, figures in report.genders.items():
        recalls = zip(report.labels, figures["recalls"], strict=True)
        each = ", ".join(f"{label} {recall:.2f}" for label, recall in recalls)
        lines.append(f"\n{gender}: UAR {figures['uar']:.3f} on {figures['n']} clips; recall {each}")
    return "\n".join(lines)
