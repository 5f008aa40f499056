"""The command line. Each command parses, calls the library, and prints; torch and the like load inside."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from avser import __version__, app_cli, datasets_cli, models_cli, predict_cli
from avser.errors import AvserError
from avser.exits import FAILED, MISUSED, Commands, UsageError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a video file to a timeline of expressed emotions: voice, face, and both fused.",
)
app.add_typer(datasets_cli.app, name="datasets")
app.add_typer(models_cli.app, name="models")


def main() -> None:
    """Entry point: runs a command, and turns errors into one line and an exit code."""
    logging.basicConfig(format="avser: %(message)s")  # warnings, as of a file that is cut short
    # a file's name may hold what the terminal cannot show, or bytes that are no text
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
    except AvserError as error:
        typer.echo(f"avser: {' '.join(str(error).split())}", err=True)
        code = MISUSED
    except UsageError as error:
        error.show()
        code = MISUSED
    sys.exit(code or 0)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"avser {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(predict_cli.predict)
app.command()(predict_cli.live)
app.command("app", epilog=app_cli.EPILOG)(app_cli.serve)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file; those of the package are found by name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="For instance training.epochs=10.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="AVSER_DATA", help="Folder that holds the corpora.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for runs.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE: train once for each value, or each combination; may be repeated."),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for as many as there are cores.")] = 0,
) -> None:
    """Train a branch, or both and their fusion, by a config, fold by fold, and measure it on what was held out."""
    from avser import console, reports, training_reports
    from avser.config import find_config
    from avser.training import fused_config

    console.set_threads(threads)
    if sweep:
        from avser.training import sweeps

        trials = sweeps.sweep(find_config(config), overrides or (), sweep, data_root, output, resume)
        reports.print_trials(trials)
        return
    settings = fused_config.load_any(find_config(config), overrides or ())
    folder = training_reports.train(settings, data_root, output, resume)
    typer.echo(f"models and logits are in {folder}")


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]…", help="Names of shipped models, or model files; several are averaged."),
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus to measure on, by the name of its reader.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the corpus.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE[,VALUE]: keep such clips, for instance subject=01 or split=test."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="fused, audio or face.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV for the logits of each clip.")] = None,
    from_logits: Annotated[
        list[Path] | None, typer.Option(help="Measure a CSV of logits instead; several are averaged.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label set to measure in, for instance basic7.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for pictures: confusion, ROC curves, and with MODEL a t-SNE map.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    runtime: predict_cli.Runtime = "auto",
) -> None:
    """Measure a model on a labelled corpus, or recompute figures from a file of logits.

    Of several models, each is measured and the average of their log-probabilities, over the labels they share.
    """
    from avser import reports

    if from_logits:
        reports.report_logits(from_logits, output, labels, plots, as_json)
    elif not models or corpus is None or root is None:
        raise typer.BadParameter("give MODEL with --corpus and --root, or --from-logits FILE")
    else:
        reports.evaluate(models, corpus, root, only or [], modality, output, labels, plots, as_json, runtime)


@app.command()
def fuse(
    audio: Annotated[Path, typer.Option(help="CSV of the voice's logits, one row a clip.")],
    face: Annotated[Path, typer.Option(help="CSV of the face's logits; may be the same file.")],
    rule: Annotated[str, typer.Option(help="Fusion rule, or auto: each fold takes the best inside.")] = "weighted",
    protocol: Annotated[
        str | None, typer.Option(help="luna5, actor6, loso, subject5, subject10, or table: the folds it names.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label set to fuse over, for instance basic7.")] = None,
    audio_features: Annotated[Path | None, typer.Option(help="CSV of the voice's features, for the head.")] = None,
    face_features: Annotated[Path | None, typer.Option(help="CSV of the face's features, for the head.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV for the fused logits.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Fuse out-of-fold logits of a voice and a face model, fitted on the other folds, and measure it."""
    from avser.fusion import reports as fusion_reports

    features = {"audio": audio_features, "face": face_features}
    fusion_reports.fuse_files(audio, face, rule, protocol, labels, features, output, as_json)


@app.command()
def audit(
    what: Annotated[
        Path,
        typer.Argument(
            help="A config of training, a CSV with columns path and split or fold, or a CSV of logits."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="For a config, as in train.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="AVSER_DATA", help="Folder that holds the corpora, or the CSV's files.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV for all groups.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is found as JSON.")] = False,
) -> None:
    """Look for people, takes and copied media that lie on both sides of a split; exit code 1 if there are."""
    from avser.audit import reports as audit_reports
    from avser.config import find_config

    if not audit_reports.audit_file(find_config(what), overrides or (), data_root, output, as_json):
        raise typer.Exit(FAILED)


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(metavar="VIDEO_OR_IMAGE", help="A video, sound or picture.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="PNG to write; by default NAME_explained.png.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or a model file.")] = "av-base",
    modality: Annotated[
        str | None, typer.Option(help="fused, audio or face; by default all the model has.")
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="What to explain; by default the emotion that is found.")
    ] = None,
) -> None:
    """Draw what speaks for an emotion: heat over the face and over the spectrogram (Grad-CAM)."""
    from avser import reports

    written = reports.explain(path, output, model, modality, emotion)
    typer.echo(f"written: {written}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a model file.")] = "av-base",
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("model.onnx"),
    what: Annotated[
        str | None, typer.Option(help="audio, face, pool, fusion or whole; by default all that the model is.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With convolutions in 8-bit integers.")] = False,
    calibrate: Annotated[str | None, typer.Option(help="Corpus for --int8, by the name of its reader.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of that corpus.")] = None,
) -> None:
    """Write a model, or a part of it, as an ONNX graph that other engines run."""
    from avser import onnx_int8

    onnx_int8.export_file(model, output, what, int8, calibrate, root)
    typer.echo(f"written: {output}")


@app.command()
def import_yamnet(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="yamnet.h5, a SavedModel folder, or an archive .npz of its layers."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("yamnet.safetensors"),
) -> None:
    """Take over YAMNet's published weights, for the network yamnet_lstm and for embeddings."""
    from avser import yamnet_import

    typer.echo(f"YAMNet's weights are in {yamnet_import.import_yamnet(source, output)}")


@app.command()
def benchmark(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|papers",
            help="YAML file of what to measure; papers: the published systems beside what they measure here.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("benchmark"),
    data_root: Annotated[
        Path | None, typer.Option(envvar="AVSER_DATA", help="Folder that holds the corpora.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for as many as there are cores.")] = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of papers as Markdown.")] = False,
) -> None:
    """Measure what voice and face contribute, and what is left with bad sound or pictures, as a report.

    From tables of logits, from labelled clips, or both. Run again, it goes on where it was interrupted.
    """
    if what == "papers":
        from avser import reports

        reports.print_published(markdown)
        return
    from avser import console
    from avser.benchmark import report
    from avser.config import find_config

    console.set_threads(threads)
    page = report.benchmark(find_config(Path(what)), output, data_root)
    typer.echo(f"the report is in {page.parent}: open {page.name}")


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a model file.")] = "av-base",
) -> None:
    """Show what a model is: labels, corpora, protocol, metrics, licence."""
    from avser import console

    console.print_model(model)


@app.command()
def sample(
    name: Annotated[str, typer.Argument(help="'sample': one person; 'conversation': two.")] = "sample",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; NAME.mp4 unless it is given.")
    ] = None,
) -> None:
    """Write a sample clip that comes with avser, to try it on."""
    from avser.sample import copy_sample

    typer.echo(f"written: {copy_sample(output or Path(f'{name}.mp4'), name)}")


if __name__ == "__main__":
    main()
