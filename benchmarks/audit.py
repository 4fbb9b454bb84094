"""Audits the corpora as the field splits them, at random, and by speaker: what leaks, and what else there is to know.

    python benchmarks/audit.py --data CORPORA

`--data` is a folder with a folder for each of `ravdess`, `tess`, `crema_d`, `savee` and `nemo`, as unpacked; those
that are not there are left out. Writes `results/audit.md` beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from edgeemo.bench import machine
from edgeemo.corpora.names import CORPORA
from edgeemo.errors import CorpusError
from edgeemo.files import write_text
from edgeemo.markdown import markdown_table
from edgeemo.places import recipe_path
from edgeemo.workstation.audit import page
from edgeemo.workstation.audit.audit import audit
from edgeemo.workstation.audit.findings import Audit
from edgeemo.workstation.audit.hearing import hear
from edgeemo.workstation.audit.sides import Material, of_data
from edgeemo.workstation.training.recipe import load_recipe

NAMES = ("ravdess", "tess", "crema_d", "savee", "nemo")
RECIPE = "conv1d_lstm"
RESULT = Path(__file__).parent / "results" / "audit.md"


def main() -> None:
    """Audit, print, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows, sections = [], []
    for name in (name for name in NAMES if (data / name).is_dir()):
        start = time.process_time()
        title = CORPORA[name].title
        # One split, of one fold, has all clips that the others have.
        random = material(data / name, name, "random")
        heard = hear(random.clips, lambda what, done, total: None)
        found = audit(random, heard)
        took_s = time.process_time() - start
        try:
            by_speaker = leaks(audit(material(data / name, name, "speaker"), heard))
        except CorpusError:
            by_speaker = "no such split: too few speakers"
        rows.append(
            {
                "corpus": title,
                "clips": str(found.n_clips),
                "speakers": str(found.n_speakers),
                "what leaks, random split": leaks(found),
                "what leaks, split by speaker": by_speaker,
                "cue: UAR of the tree": next(
                    (
                        f"{f.scores['uar']:.2f}, chance {f.scores['chance']:.2f}"
                        for f in found.findings
                        if f.scores
                    ),
                    "-",
                ),
                "minutes": f"{took_s / 60:.1f}",
            }
        )
        sections += ["", f"## {title}", "", *page.markdown(found)]
        print(rows[-1], flush=True)
        write_text(RESULT, "\n".join([*introduction(), *markdown_table(rows, left=LEFT), *sections]) + "\n")


LEFT = ("what leaks, random split", "what leaks, split by speaker")


def material(data: Path, name: str, protocol: str) -> Material:
    """A corpus under a protocol, with five folds, or as many as it has speakers."""
    overrides = [f'data.corpora=["{name}"]', f"protocol.kind={protocol}"]
    if name == "savee":
        overrides.append("protocol.folds=4")
    found = of_data(data, load_recipe(recipe_path(RECIPE), overrides))
    return dataclasses.replace(found, source=CORPORA[name].title)


def leaks(found: Audit) -> str:
    """The kinds that leak, and how many test clips each concerns."""
    return ", ".join(f"{f.kind} ({f.n_clips} clips)" for f in found.findings if f.leaks) or "nothing"


def introduction() -> list[str]:
    """What the page is, and how it was made."""
    here = machine.describe()
    return [
        "# What five corpora leak",
        "",
        "Made by `python benchmarks/audit.py --data CORPORA`; a single corpus is `edgeemo audit DIR --recipe "
        f"{RECIPE} --corpora NAME --protocol random`. Seven classes (of {RECIPE}; calm counts as neutral). The "
        "random split tests on a tenth of the clips, the one by speaker on all of them in five folds (SAVEE: four). "
        f"Minutes are of one core ({here.cpu}). Each section is of the random split.",
        "",
    ]


if __name__ == "__main__":
    main()
