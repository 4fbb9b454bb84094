"""The whole of `edgeemo audit`: what is compared -> what was found."""

from __future__ import annotations

from collections.abc import Iterator

import edgeemo
from edgeemo.workstation.audit import checks
from edgeemo.workstation.audit.findings import SCHEMA, Audit, Finding, Kind
from edgeemo.workstation.audit.hearing import Heard
from edgeemo.workstation.audit.sides import Material


def audit(material: Material, heard: Heard) -> Audit:
    """Make every check that the material allows.

    Args:
        material: what is audited, see `sides`.
        heard: its clips, see `hearing`.
    """
    order = list(Kind)
    return Audit(
        schema=SCHEMA,
        version=edgeemo.__version__,
        source=material.source,
        split=material.split,
        n_clips=len(material.clips),
        n_speakers=len({clip.speaker for clip in material.clips if clip.speaker}),
        n_test_clips=len(material.test),
        unchecked=_unchecked(material),
        findings=tuple(sorted(_findings(material, heard), key=lambda finding: order.index(finding.kind))),
    )


def _findings(material: Material, heard: Heard) -> Iterator[Finding]:
    yield from checks.record(material)
    if not material.clips:
        return
    yield from checks.speakers(material)
    yield from checks.audio(material, heard)
    yield from checks.labels(material, heard)
    yield from checks.cues(material, heard)
    yield from checks.sentences(material)
    yield from checks.few_speakers(material)


def _unchecked(material: Material) -> dict[str, str]:
    unchecked = checks.unrecorded(material)
    if not material.clips:
        kinds = [kind for kind in Kind if kind not in (Kind.speakers, Kind.normalisation, Kind.epochs)]
        unchecked |= dict.fromkeys(map(str, kinds), "the clips are not here; give them with --data DIR")
    elif not material.folds:
        unchecked |= {str(Kind.speakers): "nothing is split; give --recipe NAME, or --train A --test B"}
    return unchecked
