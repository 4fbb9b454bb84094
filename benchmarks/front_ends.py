"""Front ends of others, by their libraries and by the graph: how far apart they are on real speech.

python benchmarks/front_ends.py [CLIP ...]     writes benchmarks/results/front_ends.md

Without clips, on the bundled sample. Needs the development tools (kaldi-native-fbank).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeemo.audio import read_audio
from edgeemo.features import Features, preset_values
from edgeemo.markdown import markdown_table
from edgeemo.places import sample_path
from edgeemo.wording import counted
from edgeemo.workstation.graphs.frontend import FrontEnd

RESULTS = Path(__file__).parent / "results" / "front_ends.md"
Array = npt.NDArray[Any]


class Case(NamedTuple):
    """A front end.

    Attributes:
        about: what people write.
        features: the same as a recipe has it.
        reference: the library: audio -> `(n_frames, n_columns)`.
        tolerance: largest difference, in units of the features.
    """

    about: str
    features: Features
    reference: Callable[[Array], Array]
    tolerance: float


def of(preset: str, **values: object) -> Features:
    """A preset with other values on top."""
    return Features.from_dict(preset_values(preset, values))


def librosa_mel(audio: Array, f: Features, **others: object) -> Array:
    """`librosa.feature.melspectrogram` of the settings that both have, shape `(n_mels, n_frames)`."""
    import librosa

    given: dict[str, Any] = {
        "sr": f.sample_rate,
        "n_fft": f.n_fft,
        "hop_length": f.hop_samples,
        "win_length": f.win_length or None,
        "window": f.window_function,
        "n_mels": f.n_mels,
        "fmin": f.fmin_hz,
        "fmax": f.fmax_hz,
        "power": float(f.power),
        "center": f.framing.startswith("centre"),
        "pad_mode": "reflect" if f.framing == "centre_reflect" else "constant",
        "htk": f.mel_scale == "htk",
        "norm": None if f.mel_norm == "none" else f.mel_norm,
        "dtype": np.float64,
    }
    found: Array = librosa.feature.melspectrogram(y=audio.astype(np.float64), **given | others)
    return found


def torchaudio_mel(audio: Array, f: Features) -> Array:
    """`torchaudio.transforms.MelSpectrogram` by its documented formula, shape `(n_mels, n_frames)`.

    Mirrored here: where a clip is a whole number of hops, librosa takes another sample for the last one.
    """
    return librosa_mel(np.pad(audio, f.n_fft // 2, mode="reflect"), f, center=False)


def whisper(audio: Array) -> Array:
    """`whisper.log_mel_spectrogram` as published, in numpy."""
    import librosa

    window = np.hanning(401)[:-1]
    stft = librosa.stft(
        audio.astype(np.float64), n_fft=400, hop_length=160, window=window, center=True, pad_mode="reflect"
    )
    magnitudes = np.abs(stft[..., :-1]) ** 2
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80, dtype=np.float64)
    log_spec = np.log10(np.maximum(filters @ magnitudes, 1e-10))
    log_spec = np.maximum(log_spec, log_spec.max() - 8.0)
    log_spec = (log_spec + 4.0) / 4.0
    return np.asarray(log_spec.T)


def kaldi(
    audio: Array, n_mels: int = 23, *, mfcc: bool = False, energy: bool = False, snip_edges: bool = True
) -> Array:
    """Kaldi's filter banks, or its coefficients, of 16-bit samples."""
    import kaldi_native_fbank as knf

    options = knf.MfccOptions() if mfcc else knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = 16000
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = n_mels
    options.use_energy = energy
    computer = knf.OnlineMfcc(options) if mfcc else knf.OnlineFbank(options)
    computer.accept_waveform(16000, (audio * 32768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def torchaudio_deltas(x: Array, width: int = 9) -> Array:
    """`torchaudio.functional.compute_deltas` over frames `(n_frames, n)`, by its documented formula."""
    n = width // 2
    padded = np.pad(x, ((n, n), (0, 0)), mode="edge")
    parts = [k * (padded[n + k : n + k + len(x)] - padded[n - k : n - k + len(x)]) for k in range(1, n + 1)]
    return np.asarray(sum(parts) / (n * (n + 1) * (2 * n + 1) / 3))


def cases() -> dict[str, Case]:
    """All front ends of the table, by their names."""
    import librosa

    def db(audio: Array, f: Features, **options: Any) -> Array:
        return np.asarray(librosa.power_to_db(librosa_mel(audio, f), **{"top_db": None} | options).T)

    whole = of("librosa")
    plain = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=64, top_db=0.0)
    odd = of("librosa", n_fft=551, hop_samples=220, n_mels=40, framing="left", top_db=0.0)
    short = of(
        "librosa", sample_rate=16000, n_fft=512, win_length=400, hop_samples=160, n_mels=40, top_db=0.0,
        window_function="hamming", framing="centre_reflect",
    )  # fmt: skip
    left = of("librosa", sample_rate=8000, n_fft=256, win_length=200, hop_samples=80, n_mels=20, top_db=0.0,
        window_function="blackman", framing="left", fmin_hz=60.0, fmax_hz=3800.0,
    )  # fmt: skip
    magnitude = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=64, power=1, amin=1e-5,
        ref_max=True, top_db=80.0,
    )  # fmt: skip
    natural = of("torchaudio", compression="ln", offset=1e-6, n_mels=64)
    one_more = of("librosa", sample_rate=16000, n_fft=1024, hop_samples=256, n_mels=64, compression="ln",
        offset=1.0, top_db=0.0,
    )  # fmt: skip
    emphasised = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=40, preemphasis=0.97,
        top_db=0.0,
    )  # fmt: skip
    linear = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=257, mel_scale="linear", power=1,
        amin=1e-5, top_db=0.0,
    )  # fmt: skip
    torch = of("torchaudio")
    mfcc = of("librosa", n_mfcc=20)
    liftered = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=40, n_mfcc=13, lifter=22.0,
        deltas=2, top_db=0.0,
    )  # fmt: skip
    torch_mfcc = of("torchaudio", n_mfcc=40, top_db=80.0, deltas=2, delta_method="torchaudio", delta_width=5)
    pcen = of("librosa", scale=2.0**15.5, compression="pcen", top_db=0.0)
    standard = of("librosa", sample_rate=16000, n_fft=512, hop_samples=160, n_mels=40, standardise="bands")

    def with_deltas(audio: Array) -> Array:
        m = librosa.feature.mfcc(S=db(audio, liftered).T, n_mfcc=13, lifter=22)
        return np.concatenate([m, librosa.feature.delta(m), librosa.feature.delta(m, order=2)]).T

    def torch_with_deltas(audio: Array) -> Array:
        m = librosa.feature.mfcc(S=librosa.power_to_db(torchaudio_mel(audio, torch_mfcc)), n_mfcc=40).T
        first = torchaudio_deltas(m, 5)
        return np.concatenate([m, first, torchaudio_deltas(first, 5)], axis=1)

    def standardised(audio: Array) -> Array:
        bands = librosa.power_to_db(librosa_mel(audio, standard)).T
        return np.asarray((bands - bands.mean(axis=0)) / bands.std(axis=0))

    return {
        "librosa": Case("power_to_db(melspectrogram(y))", whole, lambda a: db(a, whole, top_db=80.0), 1e-4),
        "librosa, 16 kHz": Case("without top_db", plain, lambda a: db(a, plain), 1e-4),
        "librosa, 551 points": Case("center=False, 25 ms at 22050 Hz", odd, lambda a: db(a, odd), 1e-4),
        "librosa, short windows": Case("win_length=400, Hamming, reflect", short, lambda a: db(a, short), 1e-4),
        "librosa, telephone": Case("8 kHz, Blackman, center=False", left, lambda a: db(a, left), 1e-4),
        "librosa, magnitudes": Case(
            "amplitude_to_db(melspectrogram(power=1), ref=np.max)",
            magnitude,
            lambda a: np.asarray(librosa.amplitude_to_db(librosa_mel(a, magnitude), ref=np.max).T),
            1e-4,
        ),
        "librosa, pre-emphasis": Case(
            "effects.preemphasis",
            emphasised,
            lambda a: db(np.asarray(librosa.effects.preemphasis(a.astype(np.float64))), emphasised),
            1e-4,
        ),
        "librosa, spectrogram": Case(
            "amplitude_to_db(abs(stft(y)))",
            linear,
            lambda a: np.asarray(
                librosa.amplitude_to_db(
                    np.abs(librosa.stft(a.astype(np.float64), n_fft=512, hop_length=160)), top_db=None
                ).T
            ),
            1e-4,
        ),
        "log1p": Case("np.log1p(melspectrogram)", one_more, lambda a: np.log1p(librosa_mel(a, one_more)).T, 1e-4),
        "librosa, PCEN": Case(
            "pcen(melspectrogram * 2**31)",
            pcen,
            lambda a: np.asarray(librosa.pcen(librosa_mel(a, pcen) * 2.0**31, sr=22050, hop_length=512).T),
            1e-4,
        ),
        "librosa, MFCC": Case(
            "feature.mfcc(y)",
            mfcc,
            lambda a: np.asarray(librosa.feature.mfcc(S=librosa.power_to_db(librosa_mel(a, mfcc)), n_mfcc=20).T),
            5e-3,
        ),
        "librosa, MFCC and slopes": Case("top_db=None; lifter=22, delta, order=2", liftered, with_deltas, 5e-3),
        "standardised": Case("each band less its mean, by its deviation", standard, standardised, 1e-4),
        "whisper": Case("log_mel_spectrogram", of("whisper"), whisper, 1e-4),
        "kaldi": Case("fbank, 23 bins, no dither", of("kaldi"), kaldi, 5e-3),
        "kaldi, 80 bins": Case("num_bins=80", of("kaldi", n_mels=80), lambda a: kaldi(a, 80), 5e-3),
        "kaldi, whole edges": Case(
            "snip_edges=false", of("kaldi", framing="mirror_edges"), lambda a: kaldi(a, snip_edges=False), 5e-3
        ),
        "kaldi, energy": Case("use_energy=true", of("kaldi", energy=True), lambda a: kaldi(a, energy=True), 5e-3),
        "kaldi, MFCC": Case(
            "mfcc, cepstral_lifter=22, use_energy=true",
            of("kaldi", n_mfcc=13, lifter=22.0, energy=True),
            lambda a: kaldi(a, mfcc=True, energy=True),
            5e-3,
        ),
        "kaldi, MFCC without energy": Case(
            "use_energy=false", of("kaldi", n_mfcc=13, lifter=22.0), lambda a: kaldi(a, mfcc=True), 5e-3
        ),
        "torchaudio": Case(
            "AmplitudeToDB(MelSpectrogram) *",
            torch,
            lambda a: np.asarray(librosa.power_to_db(torchaudio_mel(a, torch), top_db=None).T),
            1e-4,
        ),
        "torchaudio, ln": Case(
            "log(MelSpectrogram + 1e-6) *", natural, lambda a: np.log(torchaudio_mel(a, natural) + 1e-6).T, 1e-4
        ),
        "torchaudio, MFCC and slopes": Case(
            "MFCC, compute_deltas twice *", torch_mfcc, torch_with_deltas, 5e-3
        ),
    }  # fmt: skip


def differences(case: Case, clips: list[Path]) -> Array:
    """Absolute differences over all clips, in units of the features."""
    frontend, found = FrontEnd(case.features), []
    for clip in clips:
        audio = read_audio(clip, case.features.sample_rate)
        ours, theirs = frontend(audio[np.newaxis])[0], case.reference(audio)
        assert ours.shape == theirs.shape, (case.about, ours.shape, theirs.shape)
        found.append(np.abs(ours - theirs).ravel())
    return np.concatenate(found)


def main() -> None:
    """Measure all, and write the table."""
    clips = [Path(name) for name in sys.argv[1:]] or [sample_path()]
    rows = []
    for name, case in cases().items():
        d = differences(case, clips)
        f = case.features
        late = "no stream" if f.window_only else f"{1000 * f.delay_samples / f.sample_rate:.0f}"
        rows.append({
            "front end": name, "as people write it": case.about, "largest difference": f"{d.max():.1e}",
            "mean difference": f"{d.mean():.1e}", "allowed": f"{case.tolerance:g}", "later in a stream (ms)": late,
        })  # fmt: skip
    RESULTS.write_text(
        "# Front ends of others\n\n"
        "What the graph gives, against the library, in units of the features (dB where they are dB). Made by\n"
        f"`python benchmarks/front_ends.py` on {counted(len(clips), 'clip')} of speech. In a stream, frames\n"
        "come as they become complete: in the interior they are those of a window, so much later.\n\n"
        + "\n".join(markdown_table(rows, left=["as people write it"]))
        + "\n\n\\* by the documented formula, computed with librosa: torchaudio needs PyTorch, whose package for\n"
        "Linux on PyPI brings CUDA (its own file has 539 MB). The others by the library itself, Whisper's as\n"
        "published.\n",
        encoding="utf-8",
    )
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
