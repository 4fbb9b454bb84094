"""What `edgeemo export` does, from Python: which weights, which clips, and what may be asked.

network = request.trained(Path("runs/mine"))
plan = plan_export(network, Path("models"), data=Path("corpora"))
exported = carry_out(plan)
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgeemo.audio import clip_audio, find_audio, read_audio
from edgeemo.corpora.find import find_clips, is_table
from edgeemo.corpora.manifest import Clip
from edgeemo.errors import AudioError, CorpusError, ExportError
from edgeemo.evidence import Training, Verdict
from edgeemo.files import replace_set, sweep, write_text
from edgeemo.metadata import ImageMetadata, Mode, Precision
from edgeemo.places import sample_path
from edgeemo.windows import clip_windows
from edgeemo.workstation.export.build import Progress
from edgeemo.workstation.export.card import image_card
from edgeemo.workstation.export.comparison import compare
from edgeemo.workstation.export.file import write
from edgeemo.workstation.export.gate import HeldOut
from edgeemo.workstation.export.given import Given
from edgeemo.workstation.export.request import Network, Options, checked
from edgeemo.workstation.export.source import Source, prepare
from edgeemo.workstation.export.variants import Evaluation, Exported, export_variants
from edgeemo.workstation.graphs.editing import as_model, open_session
from edgeemo.workstation.graphs.frontend import FrontEnd
from edgeemo.workstation.image_corpora import read_images
from edgeemo.workstation.networks import load_network
from edgeemo.workstation.training.images import ImageDataset
from edgeemo.workstation.training.protocols import Split
from edgeemo.workstation.training.recipe import Recipe
from edgeemo.workstation.training.speech import SpeechDataset

N_CLIPS = 32
N_IMAGES = 256
N_CALIBRATION_CLIPS = 64
N_HELD_OUT_CLIPS = 1000
"""At most, for the gate: six variants hear each of them. The scores in cards are of all test clips, by the run."""

_SAME_PREDICTIONS = 0.01

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An export that can be carried out.

    Attributes:
        source: the converted network, and what its files are compared with.
        folder: where the files go.
        options: what to make of it.
        evaluation: what int8 is calibrated and UAR is measured on; None where there is nothing fit for that.
        unfit: why the data are not fit for that; None where they are fit, and where there are none.
        understood: how data of one's own were understood, in lines for a person.
    """

    source: Source
    folder: Path
    options: Options
    evaluation: Evaluation | None = None
    unfit: str | None = None
    understood: tuple[str, ...] = ()


def check_features(recipe: Recipe, given: Given) -> str:
    """Compare a front end with features that somebody's own pipeline computed.

    Returns:
        one line: they are the same.

    Raises:
        ExportError: the features differ, and how.
    """
    found = compare(recipe.features, given.audio, given.features)
    if not found.same:
        raise ExportError(f"{given.clip}: {found.text}")
    return f"{given.clip}: {found.text}"


def check_predictions(source: Source, given: Given) -> str:
    """Compare what a converted network says of a clip's first window with what somebody's own pipeline said.

    Returns:
        one line: it is the same.

    Raises:
        ExportError: it is not, or there is another number of labels.
    """
    recipe, theirs = source.recipe, given.predictions
    assert theirs is not None
    if len(theirs) != len(source.metadata.labels):
        raise ExportError(
            f"{len(theirs)} numbers in the predictions, expected {len(source.metadata.labels)}, one a label"
        )
    window = FrontEnd(recipe.features)(given.audio[np.newaxis, : recipe.window_samples])
    session = open_session(as_model(source.network.clone()))
    ours = session.run(None, {session.get_inputs()[0].name: window})[0][0]
    largest = float(np.abs(ours - theirs).max())
    if largest > _SAME_PREDICTIONS:
        raise ExportError(
            f"{given.clip}: the predictions are not yours, they differ by {largest:.2g} at most; are the labels in "
            "the network's order, and the features those of --check?"
        )
    return f"{given.clip}: the predictions are yours, they differ by {largest:.2g} at most"


def plan_export(
    network: Network,
    folder: Path,
    *,
    data: Path | None = None,
    calibrate: Path | None = None,
    options: Options | None = None,
    replace: bool = False,
    speaker_pattern: str | None = None,
) -> Plan:
    """Convert a network, and choose what its files are compared, calibrated and tested on.

    Args:
        network: what to export.
        folder: where the files go.
        data: a folder, manifest or table with the recipe's corpora. Any other audio serves to compare on, and without
            any the bundled sample does; int8 then cannot be calibrated, and UAR is not measured. Of a network over
            images, the folder of its corpus, which it needs.
        calibrate: a folder or file of any audio to calibrate int8 on, where the data are not fit for that.
        options: what to make of it.
        replace: put it in the place of a shipped model of the same name.
        speaker_pattern: finds speakers in the paths of the data.

    Raises:
        ExportError, ModelError, RecipeError: as `request.checked`; weights that cannot be converted.
        EdgeEmoError: data that cannot be read.
    """
    options = options or Options()
    recipe = checked(network, folder, data=data, calibrate=calibrate, options=options, replace=replace)
    source = prepare(
        network.weights if network.weights.suffix == ".onnx" else load_network(network.weights),
        recipe,
        clips=_images(data, recipe)
        if recipe.image is not None and data is not None
        else _clips(data, recipe),
        labels=network.labels,
        training=network.training,
        scores=network.scores,
        judgement=network.judgement,
        softmax=network.softmax,
    )
    if recipe.image is not None:
        return Plan(source=source, folder=folder, options=options)
    unlabelled = None
    if calibrate is not None:
        clips = _clips(calibrate, recipe, N_CALIBRATION_CLIPS)
        windows = np.stack([clip_windows(clip, recipe.window_samples)[0] for clip in clips])
        unlabelled = Evaluation(windows, held_out=())
    if data is None:
        return Plan(source=source, folder=folder, options=options, evaluation=unlabelled)
    try:
        dataset = SpeechDataset(recipe, find_clips(data, speaker_pattern=speaker_pattern))
        chosen = evaluation(source, dataset)
    except CorpusError as error:
        return Plan(source=source, folder=folder, options=options, evaluation=unlabelled, unfit=str(error))
    return Plan(
        source=source,
        folder=folder,
        options=options,
        evaluation=chosen,
        understood=tuple(dataset.understood),
    )


def carry_out(plan: Plan, *, on_progress: Progress = lambda what, done, total: None) -> Exported:
    """Write the files and the card.

    Returns:
        what became of it; of a network over images, one verdict with the parity alone, which its file has too.

    Raises:
        ExportError, ModelError, OutputError: as `export_variants`; of a network over images, as `write`.
    """
    source, options = plan.source, plan.options
    if isinstance(source.metadata, ImageMetadata):
        sweep(plan.folder)
        variant = source.metadata.variant
        with tempfile.TemporaryDirectory(prefix="edgeemo-export-") as staging:
            path, card = (Path(staging) / f"{variant}.{suffix}" for suffix in ("onnx", "md"))
            metadata = dataclasses.replace(source.metadata, parity=write(source, path).parity)
            write_text(card, image_card(metadata))
            n_bytes = {variant: path.stat().st_size}
            replace_set(plan.folder, variant, {made.name: made for made in (path, card)})
        verdict = Verdict(variant=variant, parity=metadata.parity)
        return Exported(verdicts=(verdict,), n_bytes=n_bytes, listen=variant)
    return export_variants(
        source,
        plan.folder,
        modes=options.modes or tuple(Mode),
        precisions=options.precisions or tuple(Precision),
        data=plan.evaluation,
        ort_format=options.ort_format,
        force=options.force,
        delay=options.delay,
        on_progress=on_progress,
    )


def evaluation(source: Source, dataset: SpeechDataset) -> Evaluation:
    """Choose clips by the recipe's protocol: of the weights' own fold, where it is known, else of the first.

    Of the test clips some, evenly chosen, where there are more than `N_HELD_OUT_CLIPS`.

    Args:
        source: the network, its recipe, labels, and how its weights were made.
        dataset: the clips to choose from.

    Raises:
        CorpusError: too few clips for the protocol, none with a label of the network, or other clips than those that
            the weights were trained on, so that test clips may be among them.
    """
    recipe, training = dataset.recipe, source.metadata.training
    chosen = _split(dataset.splits(), training)
    # By name: the network's labels may be some of the recipe's, in another order.
    labels, label_of, audio = source.metadata.labels, recipe.label_map.of, dataset.audio
    held_out = tuple(
        HeldOut(audio[clip], labels.index(label_of[clip.emotion]), clip.speaker)
        for clip in _some(
            [clip for clip in chosen.test if label_of[clip.emotion] in labels], N_HELD_OUT_CLIPS
        )
    )
    if not held_out:
        raise CorpusError(f"no test clip has one of the labels {', '.join(labels)}")
    calibrating = _some(chosen.train, N_CALIBRATION_CLIPS)
    calibration = np.stack([clip_windows(audio[clip], recipe.window_samples)[0] for clip in calibrating])
    return Evaluation(calibration, held_out)


def _split(splits: Sequence[Split[Clip]], training: Training | None) -> Split[Clip]:
    """The split that the weights were trained in; of weights of unknown origin, the first.

    Raises:
        CorpusError: it is not among these.
    """
    if training is None:
        return splits[0]
    for split in splits:
        if split.name == training.fold and _is_of(split, training):
            return split
    raise CorpusError(f"the data are not those that {training.fold} was trained on")


def _is_of(split: Split[Clip], training: Training) -> bool:
    """Whether a split is that of the weights: of older ones only their speakers are known."""
    if training.split:
        return split.digest == training.split
    parts = (
        (split.train, training.train_speakers),
        (split.validation, training.validation_speakers),
        (split.test, training.test_speakers),
    )
    return all({clip.speaker for clip in clips} == set(speakers) for clips, speakers in parts)


def _clips(data: Path | None, recipe: Recipe, n: int = N_CLIPS) -> list[np.ndarray]:
    """At most `n` clips of a folder or manifest, evenly chosen, broken ones left out; without one, the sample."""
    rate = recipe.features.sample_rate
    if data is None:
        return [read_audio(sample_path(), rate)]
    found: Sequence[Clip | Path] = find_clips(data).clips if is_table(data) else find_audio([data])
    clips: list[np.ndarray] = []
    problem = None
    for one in _some(found, n):
        try:
            clips.append(clip_audio(one, rate) if isinstance(one, Clip) else read_audio(one, rate))
        except AudioError as error:
            problem = error
    if problem and not clips:
        raise problem
    return clips


def _images(data: Path, recipe: Recipe) -> list[np.ndarray]:
    """Images to compare on: some of the corpus' test part, evenly chosen."""
    dataset = ImageDataset(recipe, read_images(data, recipe.data.corpora))
    images = [image.pixels for image in dataset.items if image.part == "test"]
    return list(_some(images, N_IMAGES))


def _some(items: Sequence[_T], n: int) -> Sequence[_T]:
    """At most `n` of them, evenly chosen."""
    return items[:: max(1, -(-len(items) // n))]
