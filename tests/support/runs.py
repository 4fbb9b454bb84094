"""Made-up results of trainings, for tests that need no training."""

from __future__ import annotations

from edgeemo.workstation.training.metrics import CellMetrics, PartMetrics
from edgeemo.workstation.training.scores import Scores


def make_scores(uar: float = 0.5, *, war: float = 0.4, macro_f1: float = 0.3, loss: float = 1.2) -> Scores:
    """Scores of ten clips of three classes, one of which does not occur."""
    return Scores(
        uar=uar,
        war=war,
        macro_f1=macro_f1,
        loss=loss,
        recall={"neutral": 0.5, "happy": 0.25, "sad": None},
        n_clips=10,
        confusion=((3, 3, 0), (1, 1, 2), (0, 0, 0)),
    )


def make_cell(
    fold: str = "fold-1",
    seed: int = 0,
    *,
    test: Scores | None = None,
    validation: Scores | None = None,
    corpus: str = "ravdess",
    split: str | None = None,
    has_speakers: bool = True,
) -> CellMetrics:
    """A finished training on one corpus."""

    def speakers(*names: str) -> tuple[str, ...]:
        return tuple(f"{corpus}-{name}" for name in names) if has_speakers else ()

    def part(scores: Scores | None, *names: str) -> PartMetrics:
        scores = scores or make_scores()
        return PartMetrics(scores=scores, by_corpus={corpus: scores}, speakers=speakers(*names))

    return CellMetrics(
        fold=fold,
        seed=seed,
        best_epoch=2,
        epochs=3,
        n_parameters=1234,
        split=split,
        n_train=7,
        train_speakers=speakers("01", "02"),
        validation=part(validation, "03"),
        test=part(test, f"{fold}-a", f"{fold}-b"),
    )
