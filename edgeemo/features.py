"""What a front end computes of audio: the keys of a recipe's `[features]`, and named sets of them.

The device reads them in the metadata of a file; the graph that computes them is made by the workstation.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from edgeemo.records import Record

MIN_RATE, MAX_RATE = 1000, 384_000
"""Hz, of audio."""
MAX_FFT = 2**20

WINDOW_FUNCTIONS = ("hann", "hamming", "blackman", "povey", "rectangular")
FRAMINGS = ("causal", "centre_zero", "centre_reflect", "left", "snip_edges", "mirror_edges")
PREEMPHASES = ("signal", "frame")
MEL_SCALES = ("slaney", "htk", "kaldi", "linear")
MEL_NORMS = ("slaney", "none")
COMPRESSIONS = ("decibel", "log10", "ln", "pcen", "none")
LEVELS = ("none", "running_peak", "running_mean")
DELTA_METHODS = ("librosa", "torchaudio")
STANDARDISATIONS = ("none", "all", "bands")
LAYOUTS = ("auto", "time_first", "bands_first")

_LOGARITHMS = ("decibel", "log10", "ln")
_ALWAYS_WRITTEN = (
    "sample_rate",
    "n_fft",
    "hop_samples",
    "n_mels",
    "fmin_hz",
    "fmax_hz",
    "level",
    "level_frames",
    "level_floor_db",
    "range_db",
    "voiced_db",
    "mean_s",
    "mean_start_s",
    "mean_start_db",
)


@dataclass(frozen=True, kw_only=True)
class Features(Record):
    """Settings of the front end. They are the recipe's `[features]` table, word for word.

    By default log-mel bands of causal frames: `hop_samples` new samples give exactly one new frame.

    Attributes:
        sample_rate: Hz.
        scale: what samples in [-1, 1] are multiplied by: 32768 for those who used 16-bit integers.
        preemphasis: how much of the sample before is subtracted from each, such as 0.97; 0: nothing.
        preemphasis_of: `"signal"`, as `librosa.effects.preemphasis`; or of each `"frame"`, as Kaldi.
        n_fft: points of the Fourier transform.
        hop_samples: samples from one frame to the next.
        win_length: samples in a frame, zeros fill it up to n_fft; 0: n_fft.
        window_function: what a frame is multiplied by: `"hann"`, `"hamming"`, `"blackman"`, `"rectangular"`, or
            `"povey"` (Kaldi's).
        window_symmetric: the function ends as it begins, as in numpy and Kaldi; false: it is one period, as in
            librosa, PyTorch and TensorFlow. `"povey"` is always symmetric.
        framing: where the frames of a window are. `"causal"`: frame `t` ends at sample `(t + 1) * hop_samples`, zeros
            come before the first sample. `"centre_zero"` and `"centre_reflect"`: frame `t` is centred at sample
            `t * hop_samples`, and the audio goes on as zeros or mirrored (librosa's and torchaudio's `center=True`).
            `"left"`: frame `t` starts at sample `t * hop_samples`, without padding (`center=False`). `"snip_edges"`:
            likewise, without the zeros that fill frames up (Kaldi). `"mirror_edges"`: frame `t` is centred half a hop
            later than that, and the audio goes on mirrored with its edge twice (Kaldi's `snip_edges=false`). A stream
            always takes frames as they become complete.
        drop_last: the last centred frame is left out, as in Whisper.
        remove_mean: each frame loses its mean, as in Kaldi.
        power: of the spectrum: 2, or 1 for magnitudes.
        n_mels: mel bands.
        mel_scale: `"slaney"`, as in librosa; `"htk"`, as in torchaudio; `"kaldi"`: as HTK's, with triangles that are
            straight in mel instead of Hz; `"linear"`: no mel bands but the spectrum itself, `n_mels = n_fft / 2 + 1`.
        mel_norm: `"slaney"`: triangles have the same area, as in librosa; `"none"`: the same height.
        fmin_hz: lower edge of the lowest band.
        fmax_hz: upper edge of the highest band.
        compression: `"decibel"`: 10 log10, of magnitudes 20 log10; `"log10"`; `"ln"`; `"pcen"`, as `librosa.pcen`;
            `"none"`.
        amin: bands below this count as this, before a logarithm.
        offset: what is added to the bands before a logarithm: `log1p` is `"ln"` with an offset of 1.
        ref_max: the largest value of a window becomes 0 (`ref=np.max` of `librosa.power_to_db`). Window graphs only.
        top_db: values more than this many dB below the largest of a window are clipped to it; 0: none are. Window
            graphs only.
        pcen_gain, pcen_bias, pcen_power: of `"pcen"`: `gain`, `bias` and `power` of `librosa.pcen`.
        pcen_time_s: time constant of its smoothing.
        pcen_eps: its `eps`.
        level: `"none"` keeps absolute levels. `"running_peak"` makes the features independent of the
            microphone's gain: from each frame it subtracts the level (mean power over the mel bands, in dB) of
            the loudest frame of the last `level_frames` frames. `"running_mean"` does that, and then subtracts from
            each band its mean over the voiced frames so far, so that neither the microphone nor the line nor the
            corpus can be told from the bands' levels; a last column says which frames are voiced, as 1 or 0.
        level_frames: how many frames `running_peak` looks back on, the current one included.
        level_floor_db: a peak below this counts as this, so that silence is not amplified into noise.
        range_db: with `running_peak` and `running_mean`, values more than this below the peak are clipped to it.
        voiced_db: with a level, a frame is voiced if its level is less than this below the peak.
        mean_s: with `running_mean`, seconds of voiced frames that the mean looks back on, fading exponentially.
        mean_start_s: what the mean starts from counts as so many seconds of voiced frames.
        mean_start_db: that start: dB relative to the peak, one for all bands, or one for each.
        n_mfcc: cepstral coefficients in place of the bands (DCT-II, orthonormal); 0: the bands.
        lifter: of the coefficients, as librosa and Kaldi have it; 0: none.
        lifter_first: the number that the first coefficient has there: 1 in librosa, 0 in Kaldi.
        energy: the logarithm of each frame's energy in place of the first coefficient, or as a column before the
            bands (Kaldi's `use_energy`).
        deltas: 1 adds the slopes of all columns, 2 the slopes' slopes too; 0: neither.
        delta_width: frames that a slope is taken over; odd.
        delta_method: `"librosa"` (Savitzky-Golay) or `"torchaudio"` (the regression formula, twice for the second).
        mean: subtracted from the columns: one for all, or one for each; none: nothing.
        std: what they are then divided by, likewise.
        standardise: `"all"`: less the mean of a window, divided by its standard deviation; `"bands"`: likewise of
            each column; `"none"`. Window graphs only.
        layout: where a network's input has as many frames as columns, or open dimensions: `"time_first"` or
            `"bands_first"`; `"auto"`: whatever fits, time first if both do.
    """

    sample_rate: int = 16000
    scale: float = 1.0
    preemphasis: float = 0.0
    preemphasis_of: str = "signal"
    n_fft: int = 512
    hop_samples: int = 160
    win_length: int = 0
    window_function: str = "hann"
    window_symmetric: bool = False
    framing: str = "causal"
    drop_last: bool = False
    remove_mean: bool = False
    power: int = 2
    n_mels: int = 64
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0
    compression: str = "decibel"
    amin: float = 1e-10
    offset: float = 0.0
    ref_max: bool = False
    top_db: float = 0.0
    pcen_gain: float = 0.98
    pcen_bias: float = 2.0
    pcen_power: float = 0.5
    pcen_time_s: float = 0.4
    pcen_eps: float = 1e-6
    level: str = "running_peak"
    level_frames: int = 320
    level_floor_db: float = -60.0
    range_db: float = 80.0
    voiced_db: float = 25.0
    mean_s: float = 5.0
    mean_start_s: float = 0.5
    mean_start_db: tuple[float, ...] = (-25.0,)
    n_mfcc: int = 0
    lifter: float = 0.0
    lifter_first: int = 1
    energy: bool = False
    deltas: int = 0
    delta_width: int = 9
    delta_method: str = "librosa"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    standardise: str = "none"
    layout: str = "auto"

    # --- what follows from them ----------------------------------------------------------------------------

    @property
    def frame_samples(self) -> int:
        """Samples of audio in a frame."""
        return self.win_length or self.n_fft

    @property
    def n_columns(self) -> int:
        """How many values the front end gives for each frame."""
        return self.n_spectral + (self.level == "running_mean")

    @property
    def n_spectral(self) -> int:
        """How many of these are bands or coefficients and their slopes: all but the last of voiced frames."""
        return self.n_static * (1 + self.deltas)

    @property
    def n_static(self) -> int:
        """How many there are before slopes are taken."""
        return self.n_mfcc or self.n_mels + self.energy

    @property
    def first_sample(self) -> int:
        """Where the first frame begins, in samples from the start of the audio; negative: in the padding."""
        filled_up = (self.n_fft - self.frame_samples) // 2
        return {
            "causal": self.hop_samples - self.frame_samples,
            "left": filled_up,
            "snip_edges": 0,
            "mirror_edges": self.hop_samples // 2 - self.frame_samples // 2,
        }.get(self.framing, filled_up - self.n_fft // 2)

    @property
    def spare_samples(self) -> int:
        """There are as many frames as hops in the audio and so many samples more, or fewer if it is negative."""
        without_padding = {
            "causal": 0,
            "left": self.hop_samples - self.n_fft,
            "snip_edges": self.hop_samples - self.frame_samples,
            "mirror_edges": self.hop_samples // 2,
        }
        centred = (not self.drop_last) * self.hop_samples - self.n_fft % 2
        return without_padding.get(self.framing, centred)

    def n_frames(self, n_samples: int) -> int:
        """Frames in so many samples of audio."""
        return max(n_samples + self.spare_samples, 0) // self.hop_samples

    @property
    def least_samples(self) -> int:
        """The shortest audio that has a frame."""
        mirrored = {
            "centre_reflect": self.n_fft // 2 + 1,
            "mirror_edges": self.frame_samples - self.frame_samples // 2,
        }.get(self.framing, 1)
        fitted = self.deltas > 0 and self.delta_method == "librosa" and self.framing != "causal"
        n_frames = self.delta_width if fitted else 1
        return max(n_frames * self.hop_samples - self.spare_samples, mirrored)

    @property
    def delta_frames(self) -> int:
        """Frames that slopes look ahead."""
        times = self.deltas if self.delta_method == "torchaudio" else min(self.deltas, 1)
        return times * (self.delta_width // 2)

    @property
    def causal(self) -> Self:
        """The same front end over a stream: frames as they become complete, slopes as soon as they can be known."""
        return dataclasses.replace(self, framing="causal", drop_last=False)

    @property
    def delay_samples(self) -> int:
        """How much later a stream gives the frames of a window.

        Frame `t` of a stream is frame `t` of a window of the same audio that begins so many samples earlier: for
        centred frames about half a frame less a hop, and the hops that slopes look ahead.
        """
        if self.framing == "causal":
            return 0
        last_of_first = self.first_sample + self.frame_samples
        return last_of_first - self.hop_samples + self.delta_frames * self.hop_samples

    @property
    def window_only(self) -> tuple[str, ...]:
        """The keys in use that need a whole window at once, as `key = value`: no stream can have them."""
        uses = {
            "ref_max = true": self.ref_max,
            f"top_db = {self.top_db:g}": self.top_db > 0,
            f'standardise = "{self.standardise}"': self.standardise != "none",
        }
        return tuple(key for key, used in uses.items() if used)

    @property
    def besides_levelling(self) -> tuple[str, ...]:
        """The keys that make more of audio than log-mel bands in dB of causal frames, levelled."""
        return tuple(name for name in self.to_dict() if name not in (*_ALWAYS_WRITTEN, "layout"))

    # --- reading and writing -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """As `Record.to_dict`, without what most front ends leave at its default."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return {
            name: value
            for name, value in super().to_dict().items()
            if name in _ALWAYS_WRITTEN or getattr(self, name) != defaults[name]
        }

    def __post_init__(self) -> None:
        """Refuse settings that no front end can compute.

        Raises:
            ValueError: one line: the setting, its value, what it must be.
        """
        for ok, name, expected in (
            *self._checks_of_frames(),
            *self._checks_of_bands(),
            *self._checks_of_columns(),
        ):
            if not ok:
                names = name.split(", ")
                got = getattr(self, name) if len(names) == 1 else tuple(getattr(self, n) for n in names)
                raise ValueError(f"{name} is {_shortened(got)}; it must be {expected}")

    def _checks_of_frames(self) -> list[tuple[bool, str, str]]:
        """What must hold, the key, and what it must be."""
        frame = self.frame_samples
        return [
            (
                isinstance(self.sample_rate, int) and MIN_RATE <= self.sample_rate <= MAX_RATE,
                "sample_rate",
                f"a whole number of Hz from {MIN_RATE} to {MAX_RATE}",
            ),
            (self.scale > 0, "scale", "positive"),
            (0 <= self.preemphasis < 1, "preemphasis", "in [0, 1)"),
            (self.preemphasis_of in PREEMPHASES, "preemphasis_of", _one_of(PREEMPHASES)),
            (
                4 <= self.n_fft <= MAX_FFT and _splits(self.n_fft),
                "n_fft",
                f"from 4 to {MAX_FFT}, and a product of small numbers",
            ),
            (0 <= self.win_length <= self.n_fft, "win_length", f"from 0 to n_fft ({self.n_fft})"),
            (
                0 < self.hop_samples <= frame,
                "hop_samples",
                f"from 1 to {'win_length' if self.win_length else 'n_fft'} ({frame})",
            ),
            (
                self.window_function in WINDOW_FUNCTIONS,
                "window_function",
                _one_of(WINDOW_FUNCTIONS),
            ),
            (self.framing in FRAMINGS, "framing", _one_of(FRAMINGS)),
            (
                not self.drop_last or self.framing.startswith("centre"),
                "drop_last",
                "false, but with centred frames",
            ),
        ]

    def _checks_of_bands(self) -> list[tuple[bool, str, str]]:
        is_log = self.compression in _LOGARITHMS
        return [
            (self.power in (1, 2), "power", "1 or 2"),
            (self.n_mels > 0, "n_mels", "at least 1"),
            (
                self.mel_scale != "linear" or self.n_mels == self.n_fft // 2 + 1,
                "n_mels",
                f'n_fft / 2 + 1 ({self.n_fft // 2 + 1}) with mel_scale = "linear"',
            ),
            (self.mel_scale in MEL_SCALES, "mel_scale", _one_of(MEL_SCALES)),
            (self.mel_norm in MEL_NORMS, "mel_norm", _one_of(MEL_NORMS)),
            (
                0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate / 2,
                "fmin_hz, fmax_hz",
                f"rising, between 0 and half the sample rate ({self.sample_rate / 2:g} Hz)",
            ),
            (
                self.compression in COMPRESSIONS,
                "compression",
                _one_of(COMPRESSIONS) + " (log1p is ln with offset = 1)",
            ),
            (self.amin >= 0 and (self.amin + self.offset > 0 or not is_log), "amin", "positive"),
            (self.offset >= 0 and (is_log or not self.offset), "offset", "0 or more, with a logarithm"),
            (not self.ref_max or is_log, "ref_max", "false without a logarithm"),
            (self.top_db >= 0 and (is_log or not self.top_db), "top_db", "0 or more, with a logarithm"),
            (self.pcen_gain > 0, "pcen_gain", "positive"),
            (self.pcen_bias > 0, "pcen_bias", "positive"),
            (self.pcen_power > 0, "pcen_power", "positive"),
            (self.pcen_time_s >= 0.1, "pcen_time_s", "at least 0.1"),
            (self.pcen_eps > 0, "pcen_eps", "positive"),
        ]

    def _checks_of_columns(self) -> list[tuple[bool, str, str]]:
        plain = self.compression == "decibel" and self.power == 2 and not (self.ref_max or self.top_db)
        last = not (self.n_mfcc or self.deltas or self.mean or self.std or self.standardise != "none")
        return [
            (self.level in LEVELS, "level", _one_of(LEVELS)),
            (
                self.level == "none" or plain,
                "level",
                "'none', but with power = 2 and compression = \"decibel\" without ref_max and top_db",
            ),
            (
                self.level != "running_mean" or last,
                "level",
                "'none' or 'running_peak' with n_mfcc, deltas, mean, std or standardise",
            ),
            (self.level_frames > 0, "level_frames", "at least 1"),
            (self.range_db > 0, "range_db", "positive"),
            (self.voiced_db > 0, "voiced_db", "positive"),
            (
                self.mean_s > 0
                and (self.level != "running_mean" or self.mean_s * self.sample_rate >= 2 * self.hop_samples),
                "mean_s",
                "positive, and with running_mean at least two hops",
            ),
            (self.mean_start_s > 0, "mean_start_s", "positive"),
            (
                len(self.mean_start_db) in (1, self.n_mels),
                "mean_start_db",
                f"one, or one for each of {self.n_mels} bands",
            ),
            (0 <= self.n_mfcc <= self.n_mels, "n_mfcc", f"from 0 to n_mels ({self.n_mels})"),
            (self.lifter >= 0, "lifter", "0 or more"),
            (self.lifter_first in (0, 1), "lifter_first", "0 or 1"),
            (not self.energy or self.compression == "ln", "energy", 'false, but with compression = "ln"'),
            (self.deltas in (0, 1, 2), "deltas", "0, 1 or 2"),
            (
                self.delta_width >= 3 and self.delta_width % 2 == 1,
                "delta_width",
                "an odd number of frames, 3 or more",
            ),
            (self.delta_method in DELTA_METHODS, "delta_method", _one_of(DELTA_METHODS)),
            (
                len(self.mean) in (0, 1, self.n_columns),
                "mean",
                f"one, or one for each of {self.n_columns} columns",
            ),
            (
                len(self.std) in (0, 1, self.n_columns) and all(value > 0 for value in self.std),
                "std",
                f"positive, one or one for each of {self.n_columns} columns",
            ),
            (self.standardise in STANDARDISATIONS, "standardise", _one_of(STANDARDISATIONS)),
            (self.layout in LAYOUTS, "layout", _one_of(LAYOUTS)),
        ]


PRESETS: dict[str, dict[str, Any]] = {
    "edgeemo": {},
    # librosa.power_to_db(librosa.feature.melspectrogram(y=audio, sr=22050))
    "librosa": {
        "sample_rate": 22050,
        "n_fft": 2048,
        "hop_samples": 512,
        "framing": "centre_zero",
        "n_mels": 128,
        "top_db": 80.0,
        "level": "none",
    },
    # torchaudio.transforms.AmplitudeToDB()(torchaudio.transforms.MelSpectrogram()(audio))
    "torchaudio": {
        "n_fft": 400,
        "hop_samples": 200,
        "framing": "centre_reflect",
        "n_mels": 128,
        "mel_scale": "htk",
        "mel_norm": "none",
        "level": "none",
    },
    # compute-fbank-feats, torchaudio.compliance.kaldi.fbank of 16-bit samples, without dither
    "kaldi": {
        "scale": 32768.0,
        "preemphasis": 0.97,
        "preemphasis_of": "frame",
        "n_fft": 512,
        "hop_samples": 160,
        "win_length": 400,
        "window_function": "povey",
        "framing": "snip_edges",
        "remove_mean": True,
        "n_mels": 23,
        "mel_scale": "kaldi",
        "mel_norm": "none",
        "fmin_hz": 20.0,
        "compression": "ln",
        "amin": 2.0**-23,
        "level": "none",
        "lifter_first": 0,
    },
    # whisper.log_mel_spectrogram
    "whisper": {
        "n_fft": 400,
        "hop_samples": 160,
        "framing": "centre_reflect",
        "drop_last": True,
        "n_mels": 80,
        "compression": "log10",
        "top_db": 80.0,
        "mean": [-4.0],
        "std": [4.0],
        "level": "none",
    },
}
"""What the libraries compute by default, as values of `Features`."""


def preset_values(preset: str, given: dict[str, Any]) -> dict[str, Any]:
    """Values of a preset, and others on top of them; the bands reach up to half the sample rate unless they say it.

    Args:
        preset: one of `PRESETS`.
        given: values of `Features` by their names.

    Raises:
        ValueError: one line: there is no such preset.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; it must be {_one_of(tuple(PRESETS))}")
    values = {**PRESETS[preset], **given}
    rate = values.get("sample_rate", Features.sample_rate)
    return {"fmax_hz": rate / 2 if isinstance(rate, int) else rate, **values}


_LARGEST_FACTOR = 1024


def _splits(n_fft: int) -> bool:
    """Whether a transform of so many points can be split into two small ones."""
    return n_fft // split_size(n_fft) <= _LARGEST_FACTOR


def split_size(n_fft: int) -> int:
    """The larger factor that is at most about the root of `n_fft`, even where that is a multiple of 4."""
    step = 2 if n_fft % 4 == 0 else 1
    return max(n for n in range(step, math.isqrt(2 * n_fft) + 1, step) if n_fft % n == 0)


def _one_of(values: tuple[str, ...]) -> str:
    return " or ".join(map(repr, values))


def _shortened(value: object) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) and len(value) > 2 else repr(value)
