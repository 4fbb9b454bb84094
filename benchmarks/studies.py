"""The published comparisons that are one `edgeemo study` each: run it, and put its table and plots into `results/`.

    python benchmarks/studies.py fer_activations --data ../shared/data

runs the command of that name in `STUDIES` (a second call goes on where the first stopped) and writes
`results/NAME.md`, `.csv`, `.png` and `NAME_curves.png` beside this file. Images of the corpora stay in `runs/`.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edgeemo.files import write_text

RESULTS = Path(__file__).parent / "results"

STUDIES = {
    # The published three: an LSTM over rows of pixels, a CNN, and two LSTM layers with 3.2 million weights.
    "fashion": "fashion_cnn fashion_lstm fashion_lstm2 --fold 1",
    # The sizes of the LSTM that were tried, and two such layers, which the published training time fits.
    "fashion_sizes": "fashion_lstm --vary units=[56],[186],[280],[186,186] --fold 1",
    # Identical networks but for the activation, with one, two and three hidden layers.
    "fer_activations": "fer_mlp --vary activation=sigmoid,softmax,relu,leaky_relu,tanh "
    "--vary units=[128],[128,128],[128,128,128] --fold 1 --seeds 3",
    # The smallest speech model on the corpora of the others.
    "conv1d_lstm": "conv1d_lstm --set 'data.corpora=[\"ravdess\"]' --set data.labels=ravdess8",
    # For two cores: 32 bands and 1.6 s instead of 64 and 3.2 s, 8 epochs instead of 60. Without the --set values it
    # is the full setting.
    "resnet50_lstm": "resnet50_lstm --set features.n_mels=32 --set window.window_s=1.6 --set training.epochs=8",
}
FILES = {"results.csv": "{}.csv", "results.png": "{}.png", "curves.png": "{}_curves.png"}


def main() -> None:
    """Run a study and publish what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    arguments, more = parser.parse_known_args()

    study = f"edgeemo study {STUDIES[arguments.name]}"
    folder = arguments.runs / arguments.name
    command = [sys.executable, "-c", "from edgeemo.cli import main; main()", *shlex.split(study)[1:]]
    done = subprocess.run([*command, "--data", arguments.data, "--output", folder, *more], check=False)
    if not (folder / "results.md").is_file():
        sys.exit(done.returncode)
    for source, target in FILES.items():
        shutil.copyfile(folder / source, RESULTS / target.format(arguments.name))
    table = (folder / "results.md").read_text(encoding="utf-8")
    write_text(
        RESULTS / f"{arguments.name}.md",
        f"# {arguments.name}\n\nMade by `python benchmarks/studies.py {arguments.name} --data ../shared/data`, which "
        f"is `{study} --data ../shared/data`.\n\n{table}\n![scores]({arguments.name}.png)\n\n"
        f"![curves]({arguments.name}_curves.png)\n",
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
