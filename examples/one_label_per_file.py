"""One label per file: load a model once, then classify any number of files with it.

    python examples/one_label_per_file.py call.wav meeting.flac

prints a line per file: its name, the most probable emotion and how probable that is, or
why there is no emotion to name.
A file that cannot be read is reported on stderr, the others go on, and the exit code
is 1.
"""

import sys

import edgeemo


def main(paths: list[str]) -> int:
    model = edgeemo.load("cnn_lstm")
    exit_code = 0
    for path in paths:
        try:
            score = model.classify(path)
        except edgeemo.AudioError as error:
            print(error, file=sys.stderr)
            exit_code = 1
        else:
            if score.label is None:
                print(f"{path}\t({score.reason})")
            else:
                print(f"{path}\t{score.label}\t{score.probabilities[score.label]:.2f}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
