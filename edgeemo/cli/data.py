"""`edgeemo data`: what corpora are in a folder, and the manifest of their clips."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.own import SpeakerPattern
from edgeemo.cli.tables import stderr_console
from edgeemo.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from edgeemo.corpora.manifest import Clip, Manifest

_N_NAMED = 10
_MAX_LISTED_SPEAKERS = 30


class OnError(StrEnum):
    """What to do at a broken file."""

    skip = "skip"
    stop = "stop"


def data_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder with RAVDESS, TESS, SAVEE, EmoDB, CREMA-D, nEMO, KEMDy or IEMOCAP, as unpacked; or with "
            "your own clips, in folders named by their labels; or a table with the columns path and label.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")] = Path("manifest.csv"),
    on_error: Annotated[
        OnError, typer.Option(help="At a corrupt, empty or unreadable clip: skip it, or stop.")
    ] = OnError.skip,
    speaker_pattern: SpeakerPattern = None,
) -> None:
    """Show which clips a folder or table holds, and write them to a manifest (CSV)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edgeemo.corpora.find import find_clips, understood

    with Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr_console(),
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)
        manifest = find_clips(
            folder,
            speaker_pattern=speaker_pattern,
            on_error=on_error.value,
            progress=lambda n_done, n_files: bar.update(task, completed=n_done, total=n_files),
        )

    # Before the report, so that `edgeemo data DIR | head` still writes it.
    manifest.write_csv(output)
    root = (folder if folder.is_dir() else folder.parent).resolve()
    for line in understood(manifest):
        typer.echo(line)
    console = Console(highlight=False, markup=False)
    _show_corpora(console, manifest)
    _show_emotions(console, manifest)
    _show_speakers(console, manifest)
    _show_sessions(manifest)
    _show_label_maps(manifest)
    _show_duplicates(manifest, root)
    _show_skipped(manifest, root)
    typer.echo(f"wrote {len(manifest.clips)} clips to {printable(str(output))}")


def _by_corpus(manifest: Manifest) -> dict[str, list[Clip]]:
    """The clips of each corpus, corpora in alphabetical order."""
    names = sorted({clip.corpus for clip in manifest.clips})
    return {name: [clip for clip in manifest.clips if clip.corpus == name] for name in names}


def _show_corpora(console: Console, manifest: Manifest) -> None:
    from rich.table import Table

    from edgeemo.corpora.names import CORPORA

    table = Table("corpus")
    for title in ("clips", "speakers", "hours"):
        table.add_column(title, justify="right")
    for title in ("kHz", "channels", "licence"):
        table.add_column(title)
    for name, clips in _by_corpus(manifest).items():
        table.add_row(
            name,
            str(len(clips)),
            str(len({clip.speaker for clip in clips if clip.speaker}) or "unknown"),
            f"{sum(clip.duration_s for clip in clips) / 3600:.2f}",
            ", ".join(f"{rate / 1000:g}" for rate in sorted({clip.sample_rate for clip in clips})),
            ", ".join("mono" if n == 1 else "stereo" for n in sorted({clip.n_channels for clip in clips})),
            CORPORA[name].licence if name in CORPORA else "your own",
        )
    console.print(table)


def _show_emotions(console: Console, manifest: Manifest) -> None:
    from rich.table import Table

    from edgeemo.corpora.labels import EMOTIONS

    corpora = _by_corpus(manifest)
    counts = {name: Counter(clip.emotion for clip in clips) for name, clips in corpora.items()}
    table = Table("class")
    for name in [*corpora, "all"]:
        table.add_column(name, justify="right")
    present = {clip.emotion for clip in manifest.clips}
    for emotion in [*EMOTIONS, *sorted(present.difference(EMOTIONS))]:
        row = [counts[name][emotion] for name in corpora]
        if any(row):
            table.add_row(printable(emotion), *(str(n) if n else "-" for n in row), str(sum(row)))
    console.print(table)


def _show_speakers(console: Console, manifest: Manifest) -> None:
    from rich.table import Table

    table = Table("corpus", "clips of each speaker")
    for name, clips in _by_corpus(manifest).items():
        counts = Counter(clip.speaker.removeprefix(f"{name}-") or "unknown" for clip in clips)
        if len(counts) > _MAX_LISTED_SPEAKERS:
            sizes = counts.values()
            text = f"{len(counts)} speakers, {min(sizes)} to {max(sizes)} clips each"
        else:
            text = ", ".join(f"{speaker}: {n}" for speaker, n in sorted(counts.items()))
        table.add_row(name, text)
    console.print(table)


def _show_sessions(manifest: Manifest) -> None:
    """One line for each corpus that has sessions: its smallest one says whether they can be split."""
    for name, clips in _by_corpus(manifest).items():
        if sizes := Counter(clip.session for clip in clips if clip.session).values():
            typer.echo(f"sessions of {name}: {len(sizes)}, {min(sizes)} to {max(sizes)} clips each")


def _show_label_maps(manifest: Manifest) -> None:
    from edgeemo.corpora.labels import SPEECH_LABEL_MAPS

    for label_map in SPEECH_LABEL_MAPS.values():
        if all(label_map.index(clip.emotion) is None for clip in manifest.clips):
            continue
        out = Counter(clip.emotion for clip in manifest.clips if label_map.index(clip.emotion) is None)
        left_out = "".join(f", without {n} of {emotion}" for emotion, n in out.items())
        typer.echo(f"label map {label_map.name}: {len(manifest.clips) - out.total()} clips{left_out}")


def _show_duplicates(manifest: Manifest, root: Path) -> None:
    groups = manifest.duplicates()
    if not groups:
        typer.echo("duplicate audio: none")
        return
    typer.echo(f"duplicate audio: {len(groups)} x the same sound under several names")
    lines = []
    for group in groups:
        differ = [what for what in ("emotion", "speaker") if len({getattr(clip, what) for clip in group}) > 1]
        warning = f"  (different {' and '.join(differ)})" if differ else ""
        lines.append(" = ".join(_below(clip.path, root) for clip in group) + warning)
    _echo_first(lines)


def _show_skipped(manifest: Manifest, root: Path) -> None:
    skipped = manifest.skipped
    if not skipped:
        typer.echo("skipped: none")
        return
    broken = sum(item.broken for item in skipped)
    typer.echo(f"skipped: {len(skipped)}, of which {broken} broken")
    # One list per reason, the broken ones first: three corrupt clips must not hide behind a thousand MP3s.
    reasons = Counter((not item.broken, item.reason) for item in skipped)
    for (not_broken, reason), n in sorted(reasons.items()):
        typer.echo(f"{n} x {printable(reason)}")
        _echo_first(
            [
                _below(item.path, root)
                for item in skipped
                if item.reason == reason and item.broken is not not_broken
            ]
        )


def _echo_first(lines: Sequence[str]) -> None:
    for line in lines[:_N_NAMED]:
        typer.echo(f"  {line}")
    if len(lines) > _N_NAMED:
        typer.echo(f"  ... and {len(lines) - _N_NAMED} more")


def _below(path: Path, root: Path) -> str:
    return printable(str(path.relative_to(root) if path.is_relative_to(root) else path))
