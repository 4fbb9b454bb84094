"""Fresh processes. Nothing here depends on how fast the machine is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeemo.bench import cold_start
from edgeemo.bench.cold_start import FirstLabel, cold_starts
from edgeemo.errors import EdgeEmoError


def test_cold_start_contains_its_parts(either_model_path: Path) -> None:
    (cold,) = cold_starts([either_model_path], n_starts=2).models
    parts = cold.import_ms.values_ms + cold.load_ms.values_ms + cold.first_inference_ms.values_ms
    assert (cold.first_label_ms.values_ms > parts).all()
    assert cold.first_label_ms.n == 2


def test_the_libraries_alone_are_a_part_of_a_start(tiny_model_path: Path) -> None:
    starts = cold_starts([tiny_model_path], n_starts=3)
    assert starts.libraries_ms.n == 3
    assert 0 < starts.libraries_ms.values_ms.min() < starts.models[0].first_label_ms.values_ms.max()


def test_a_model_of_images_starts_as_one_of_audio() -> None:
    (cold,) = cold_starts([Path(__file__).parent / "tiny.image.onnx"], n_starts=1).models
    assert cold.first_label_ms.n == 1


def test_what_the_fresh_process_imports_is_timed() -> None:
    """Everything that takes long to import is imported after the first mark, in `main`."""
    code = "import sys; import edgeemo.bench.first_label; print(*sys.modules)"
    bare = "import sys; print(*sys.modules)"
    own, before = (
        set(
            subprocess.run(
                [sys.executable, "-c", c], capture_output=True, text=True, check=True
            ).stdout.split()
        )
        for c in (code, bare)
    )
    assert own - before == {"__future__", "edgeemo", "edgeemo.bench", "edgeemo.bench.first_label"}


def test_models_take_turns_and_keep_their_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def fake(path: Path, n_threads: int) -> FirstLabel:
        turns.append(path.name)
        n = len(turns)
        return FirstLabel(
            import_ms=n + 0.1,
            load_ms=n + 0.2,
            first_inference_ms=n + 0.3,
            first_label_ms=n + 0.4,
            peak_bytes=n * 2**20 if path.name == "a" else None,
        )

    monkeypatch.setattr(cold_start, "_run", fake)
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(cold_start, "_libraries_ms", lambda: 100.0 + len(turns))
    starts = cold_starts([Path("a"), Path("b")], n_starts=3, on_progress=lambda *given: told.append(given))
    a, b = starts.models
    assert turns == ["a", "b"] * 3
    assert starts.libraries_ms.values_ms.tolist() == [100, 102, 104], "they take their turns too"
    for cold, n in ((a, [1, 3, 5]), (b, [2, 4, 6])):
        parts = (cold.import_ms, cold.load_ms, cold.first_inference_ms, cold.first_label_ms)
        for i, part in enumerate(parts, start=1):
            assert part.values_ms.tolist() == pytest.approx([k + i / 10 for k in n])
    assert (a.peak_memory_mib, b.peak_memory_mib) == (3, None)
    assert told == [("cold starts", i, 6) for i in range(6)]


def test_a_process_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EdgeEmoError, match=r"gone\.onnx: a fresh process could not .*ModelError") as caught:
        cold_starts([tmp_path / "gone.onnx"], n_starts=1)
    assert "\n" not in str(caught.value)


def test_files_of_the_working_folder_are_not_imported(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('not the real one')")
    monkeypatch.chdir(tmp_path)
    (cold,) = cold_starts([tiny_model_path.resolve()], n_starts=1).models
    assert cold.first_label_ms.n == 1


def test_peak_memory_is_the_fresh_processs_own(tiny_model_path: Path) -> None:
    """ru_maxrss of a child starts from its parent's peak on Linux; this must not show."""
    ballast = np.ones(30_000_000)  # 240 MB, touched
    (cold,) = cold_starts([tiny_model_path], n_starts=1).models
    if not cold.peak_memory_bytes:
        pytest.skip("this system does not tell a process's peak memory")
    assert 10e6 < cold.peak_memory_bytes[0] < ballast.nbytes


UNUSED = {"asyncio", "logging", "numpy.ma", "pydantic", "rich", "secrets", "edgeemo.cluster"}
"""What takes long to load, and what a loop whose lines go into a pipe has no use for."""


def loaded_by(code: str, *arguments: str) -> set[str]:
    """The modules that a fresh process has loaded when its code has ended."""
    at_exit = "import atexit, sys; atexit.register(lambda: sys.stderr.write('\\n'.join(sys.modules)))\n"
    command = [sys.executable, "-c", at_exit + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines())


def test_the_live_loop_loads_only_what_it_uses(tiny_model_path: Path) -> None:
    command = "from edgeemo.cli import main; main()"
    loaded = loaded_by(
        command, "listen", "--sample", "--fast", "--seconds", "1", "--model", str(tiny_model_path)
    )
    assert "edgeemo.live" in loaded
    numpy_alone = loaded_by("import numpy")  # before 2.0, it loads numpy.ma and secrets itself
    assert (loaded - numpy_alone) & UNUSED == set()
    shown = loaded_by(command, "listen", "--help") - numpy_alone
    assert shown & UNUSED == {"rich", "logging"}, "the check above can fail"
