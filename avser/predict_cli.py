"""The commands `avser predict` and `avser live`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avser.exits import FAILED, INTERRUPTED

Modality = Annotated[str | None, typer.Option(help="fused, audio or face; by default all the model has.")]
Model = Annotated[str, typer.Option(help="Name of a shipped model, or a model file.")]
Runtime = Annotated[
    str,
    typer.Option(
        help="What runs the networks: torch, onnx (ONNX Runtime), auto: the faster of those ready, "
        "or FILE.onnx: a branch that was exported."
    ),
]
Window = Annotated[float, typer.Option(help="Length of a window, s.")]
Hop = Annotated[float, typer.Option(help="From one window to the next, s.")]
MaxFaces = Annotated[int, typer.Option(help="Follow so many people at the same time.")]
MinFace = Annotated[int, typer.Option(help="Smallest face, px of a picture 720 px high.")]
ENGINES = ("local", "ray")
CLUSTER = {"rich_help_panel": "Many machines"}


def predict(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO]…",
            help="Video or audio files, folders of them, patterns in quotes ('clips/**/*.mp4'), or @LIST.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH", help="Folder for the results.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("-f", "--format", help="Formats to write, parted by commas.", show_default="json"),
    ] = None,
    modality: Modality = None,
    model: Model = "av-base",
    runtime: Runtime = "auto",
    window: Window = 3.0,
    hop: Hop = 1.0,
    smooth: Annotated[float, typer.Option(help="Smooth over so many seconds; 0: not at all.")] = 0.0,
    vad: Annotated[
        bool,
        typer.Option("--vad/--no-vad", help="The voice counts where speech is found, or wherever there is sound."),
    ] = True,
    max_faces: MaxFaces = 8,
    min_face: MinFace = 24,
    list_file: Annotated[
        str | None, typer.Option("--list", metavar="FILE", help="List with one path a line; - for standard input.")
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="CSV", help="Table with column path, and if wanted output and settings (window, …) by file."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the files; 0: one a core.", show_default="1")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out what is done already, by content and settings."),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no tables and no progress.")] = False,
    engine: Annotated[
        str,
        typer.Option(help="local, or ray: on many machines, from one manifest to Parquet tables.", **CLUSTER),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster; auto: the one that this machine belongs to.", **CLUSTER),
    ] = None,
    block: Annotated[
        int, typer.Option(help="About so many files a worker does at once, as one piece of the tables.", **CLUSTER)
    ] = 16,
    max_fetch: Annotated[
        float, typer.Option(help="Largest file that is fetched from a URL, GB.", **CLUSTER)
    ] = 10.0,
) -> None:
    """Find the emotions expressed in videos, as a table and as files."""
    if not (videos or list_file or manifest):
        raise typer.BadParameter("name a VIDEO, or give --list or --manifest")
    _check_engine(engine, address)
    from avser.options import Options

    options = Options(modality, window, hop, smooth, vad, max_faces, min_face)
    if engine == "ray":
        from avser.cluster import running

        summary = running.run(
            running.Job(
                manifest=_one_manifest(videos or [], list_file, manifest),
                output=_table_folder(output, formats),
                model=model,
                runtime=runtime,
                options=options,
                workers=workers or 0,
                resume=resume,
                block=block,
                limit=int(max_fetch * 1e9),
                address=address,
            ),
            quiet,
        )
    else:
        from avser.batch import jobs, progress

        job = jobs.Job(
            sources=videos or (),
            output=None if output is None else Path(output),
            formats=tuple(name.strip() for name in (formats or "json").split(",")),
            model=model,
            options=options,
            list_file=list_file,
            manifest=manifest,
            workers=1 if workers is None else workers,
            resume=resume,
            runtime=runtime,
        )
        summary = progress.run(job, quiet)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        raise typer.Exit(FAILED)


def _check_engine(engine: str, address: str | None) -> None:
    if engine not in ENGINES:
        raise typer.BadParameter(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    if address is not None and engine != "ray":
        raise typer.BadParameter("--address is for --engine ray")


def _one_manifest(named: list[str], list_file: str | None, manifest: str | None) -> str:
    """The manifest of a job on a cluster, named as such or in the place of a video."""
    given = [*named, *([manifest] if manifest else [])]
    if len(given) != 1 or list_file:
        raise typer.BadParameter("--engine ray takes one manifest: a CSV with a column path")
    return given[0]


def _table_folder(output: str | None, formats: str | None) -> str:
    """Where a job on a cluster writes its tables."""
    if output is None:
        raise typer.BadParameter("--engine ray needs -o: a folder that all machines share, or a URL")
    if formats not in (None, "parquet"):
        raise typer.BadParameter(f"--engine ray writes parquet, not {formats}: leave out -f")
    return output


def live(
    file: Annotated[Path | None, typer.Option(help="Play this video in real time instead of a camera.")] = None,
    camera: Annotated[str, typer.Option(help="Number or name of the camera, or FORMAT:NAME for ffmpeg.")] = "0",
    microphone: Annotated[str, typer.Option(help="Name of the microphone, likewise.")] = "default",
    modality: Modality = None,
    model: Model = "av-base",
    runtime: Runtime = "auto",
    window: Window = 3.0,
    hop: Hop = 1.0,
    max_faces: MaxFaces = 8,
    min_face: MinFace = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a window.")] = False,
) -> None:
    """Tell what is expressed in front of a camera and a microphone, window by window, until Ctrl-C."""
    from avser.live import console as live_console
    from avser.live.session import Source
    from avser.options import Options

    source = Source(file) if file else Source(camera=camera, microphone=microphone)
    options = Options(modality, window, hop, max_faces=max_faces, min_face=min_face)
    if live_console.run(model, source, options, as_json, runtime):
        raise typer.Exit(INTERRUPTED)
