"""File name -> emotion, speaker, sentence: one function per corpus, and the registry of corpora.

A corpus is recognised by the name of a file, whatever its folder, case or suffix: people unpack, nest and
convert corpora in many ways, and rename the files in few. The functions are pure; they open nothing. Where a
name alone does not say it all (SAVEE's `DC/a01.wav`), the nearest folder that does is asked; the emotions of
KEMDy and IEMOCAP are in no name at all, see `annotations`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType


@dataclass(frozen=True)
class ClipName:
    """What the name of a clip says about it."""

    corpus: str
    """A key of `CORPORA`."""
    emotion: str
    """One of `labels.EMOTIONS`; empty where annotation tables say it, see `annotations`."""
    speaker: str
    """Unique over all corpora: the corpus, a hyphen, and the corpus' own name of the speaker. Corpora with the same
    people, as RAVDESS' speech and song, share their names."""
    sentence: str
    """The corpus' own code of what is said (TESS: the word after "Say the word")."""
    intensity: str = ""
    """"normal" or "strong" (RAVDESS), "low", "medium" or "high" (CREMA-D), empty when unknown."""
    session: str = ""
    """The recording session, unique over all corpora; empty where the corpus has none."""


@dataclass(frozen=True)
class Unwanted:
    """The name of a file that belongs to a corpus, but not to its emotional speech."""

    corpus: str
    reason: str


Parsed = ClipName | Unwanted | None


@dataclass(frozen=True)
class Corpus:
    """One corpus: how its files are named, where it comes from and under which terms."""

    name: str
    title: str
    example: str
    source: str
    licence: str
    citation: str
    parse: Callable[[PurePath], Parsed]
    """The path of a file -> what its name says; None if the name is not of this corpus."""


_RAVDESS = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])", re.ASCII)
_RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")


def parse_ravdess(path: PurePath) -> Parsed:
    """`03-01-06-01-02-01-12`: modality, channel, emotion, intensity, statement, repetition, actor."""
    return _ravdess(path, "ravdess", channel="01")


def parse_ravdess_song(path: PurePath) -> Parsed:
    """`03-02-06-01-02-01-12`: as RAVDESS, in channel 02.

    Sung emotion: other pitch and length than speech, six emotions only, and 23 of the 24 actors.
    """
    return _ravdess(path, "ravdess_song", channel="02")


def _ravdess(path: PurePath, corpus: str, *, channel: str) -> Parsed:
    match = _RAVDESS.fullmatch(path.stem)
    if match is None or match[2] != channel:
        return None
    modality, _, emotion, intensity, statement, _, actor = match.groups()
    if modality != "03":
        # The sound of a video is the sound of the audio-only file: it would be in the manifest twice.
        return Unwanted(corpus, "RAVDESS video: only its audio-only files (modality 03) are used")
    return ClipName(
        corpus,
        _RAVDESS_EMOTIONS[int(emotion) - 1],
        f"ravdess-{actor}",  # whoever speaks in one also sings in the other
        statement,
        "strong" if intensity == "02" else "normal",
    )


_TESS_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "ps": "surprise",
    "surprise": "surprise",
    "surprised": "surprise",
    "pleasant_surprise": "surprise",
    "pleasant_surprised": "surprise",
}
_TESS_EMOTION = "|".join(_TESS_EMOTIONS)
# "OA_bite_neutral" is a slip in the original: the speaker is OAF.
_TESS = re.compile(rf"(OAF?|YAF)_([a-z]+)(?:_({_TESS_EMOTION}))?", re.ASCII | re.IGNORECASE)
_TESS_FOLDER = re.compile(rf"(?:OAF|YAF)_({_TESS_EMOTION})", re.ASCII | re.IGNORECASE)


def parse_tess(path: PurePath) -> Parsed:
    """`OAF_back_angry`: speaker, word, emotion; without an emotion, that of the folder `OAF_angry`."""
    match = _TESS.fullmatch(path.stem)
    if match is None:
        return None
    speaker, word, emotion = match.groups()
    if emotion is None:
        folders = [_TESS_FOLDER.fullmatch(parent.name) for parent in path.parents]
        emotion = next((folder[1] for folder in folders if folder), None)
        if emotion is None:
            return None
    speaker = "YAF" if speaker.upper() == "YAF" else "OAF"
    return ClipName("tess", _TESS_EMOTIONS[emotion.lower()], f"tess-{speaker}", word.lower())


_SAVEE = re.compile(r"(?:(DC|JE|JK|KL)_)?((sa|su|[adfhn])\d{2})", re.ASCII | re.IGNORECASE)
_SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")
_SAVEE_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}


def parse_savee(path: PurePath) -> Parsed:
    """`DC_a01`, or `a01` inside a folder `DC`: speaker, emotion, number of the sentence in that emotion."""
    match = _SAVEE.fullmatch(path.stem)
    if match is None:
        return None
    speaker, sentence, emotion = match.groups()
    if speaker is None:
        folders = (parent.name.upper() for parent in path.parents)
        speaker = next((folder for folder in folders if folder in _SAVEE_SPEAKERS), None)
        if speaker is None:
            return None
    return ClipName("savee", _SAVEE_EMOTIONS[emotion.lower()], f"savee-{speaker.upper()}", sentence.lower())


_EMODB = re.compile(r"(0[3-9]|1[0-6])([ab]\d{2})([WLEAFTN])[a-z]?", re.ASCII | re.IGNORECASE)
# The letters are those of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral.
_EMODB_EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}


def parse_emodb(path: PurePath) -> Parsed:
    """`03a01Fa`: speaker, text, emotion, version."""
    match = _EMODB.fullmatch(path.stem)
    if match is None:
        return None
    speaker, text, emotion = match.groups()
    return ClipName("emodb", _EMODB_EMOTIONS[emotion.upper()], f"emodb-{speaker}", text.lower())


# One file of the release, 1040_ITH_SAD_X, has a single X.
_CREMA_D = re.compile(
    r"(10(?:0[1-9]|[1-8]\d|9[01]))_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)",
    re.ASCII | re.IGNORECASE,
)
_CREMA_D_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_CREMA_D_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high"}


def parse_crema_d(path: PurePath) -> Parsed:
    """`1001_DFA_ANG_XX`: actor, sentence, emotion, intensity (XX: not given)."""
    match = _CREMA_D.fullmatch(path.stem)
    if match is None:
        return None
    speaker, sentence, emotion, intensity = match.groups()
    return ClipName(
        "crema_d",
        _CREMA_D_EMOTIONS[emotion.upper()],
        f"crema_d-{speaker}",
        sentence.upper(),
        _CREMA_D_INTENSITIES.get(intensity.upper(), ""),
    )


_NEMO_EMOTIONS = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}
_NEMO = re.compile(rf"([A-Z]{{2}}\d)_({'|'.join(_NEMO_EMOTIONS)})_(\d{{1,2}})", re.ASCII | re.IGNORECASE)


def parse_nemo(path: PurePath) -> Parsed:
    """`WR0_surprised_64`: speaker, emotion, sentence."""
    match = _NEMO.fullmatch(path.stem)
    if match is None:
        return None
    speaker, emotion, sentence = match.groups()
    return ClipName("nemo", _NEMO_EMOTIONS[emotion.lower()], f"nemo-{speaker.upper()}", sentence)


_UUID = re.compile(r"[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(rf"\d{{1,3}}|{_UUID.pattern}", re.ASCII | re.IGNORECASE)
_SHORT = 8  # digits of a UUID tell a few thousand clips apart; models carry thousands of such names
_WAKE_WORDS = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")


def parse_wake_words(path: PurePath) -> Parsed:
    """`audio/alexa/12`: the word, and a number.

    Ordinary speech, which is neutral. Nothing says who speaks: each clip counts as a speaker of its own.
    """
    word = path.parent.name.lower()
    stem = path.stem.lower()
    if word not in _WAKE_WORDS or path.parent.parent.name.lower() != "audio" or not _NUMBER.fullmatch(stem):
        return None
    return ClipName("wake_words", "neutral", f"wake_words-{word}-{stem[:_SHORT]}", word)


def parse_coffee_commands(path: PurePath) -> Parsed:
    """`speech/clean/79256bc0-1729-4b22-acbc-7c8da2a63b83`: a number; ordinary speech, as in wake words."""
    if _UUID.fullmatch(path.stem) is None or path.parent.parent.name.lower() != "speech":
        return None
    stem = path.stem.lower()
    return ClipName("coffee_commands", "neutral", f"coffee_commands-{stem[:_SHORT]}", stem)


_KEMDY = re.compile(
    r"Sess(\d{2})_((?:impro|script)\d{2})_(?:([FM])|(User\d{3})[FM]_)\d{3}", re.ASCII | re.IGNORECASE
)


def parse_kemdy(path: PurePath) -> Parsed:
    """`Sess01_impro04_F013` (KEMDy19), `Sess01_script01_User001F_001` (KEMDy20): session, part, speaker, number.

    A session of KEMDy19 has one woman and one man; KEMDy20 numbers its speakers through all sessions. Both count
    their sessions from 01.
    """
    match = _KEMDY.fullmatch(path.stem)
    if match is None:
        return None
    number, part, sex, user = match.groups()
    return ClipName(
        "kemdy",
        "",
        f"kemdy-{number}{sex.upper()}" if sex else f"kemdy-{user.capitalize()}",
        part.lower(),
        session=f"kemdy19-{number}" if sex else f"kemdy20-{number}",
    )


_IEMOCAP_DIALOGUE = r"Ses0([1-5])[FM]_((?:impro|script)\d{2}(?:_\d)?[a-z]?)"
_IEMOCAP = re.compile(rf"{_IEMOCAP_DIALOGUE}(?:_([FM])\d{{3}})?", re.ASCII | re.IGNORECASE)


def parse_iemocap(path: PurePath) -> Parsed:
    """`Ses01F_impro01_M003`: session, who wears the markers, dialogue, speaker, number of the sentence.

    A session has one woman and one man.
    """
    match = _IEMOCAP.fullmatch(path.stem)
    if match is None:
        return None
    session, dialogue, sex = match.groups()
    if sex is None:
        return Unwanted("iemocap", "IEMOCAP dialogue: only its sentences are used")
    return ClipName(
        "iemocap", "", f"iemocap-{session}{sex.upper()}", dialogue.lower(), session=f"iemocap-{session}"
    )


_CORPORA = (
    Corpus(
        name="ravdess",
        title="RAVDESS",
        example="03-01-06-01-02-01-12.wav",
        source="https://zenodo.org/record/1188976",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5), e0196391",
        parse=parse_ravdess,
    ),
    Corpus(
        name="ravdess_song",
        title="RAVDESS song",
        example="03-02-06-01-02-01-12.wav",
        source="https://zenodo.org/record/1188976",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5), e0196391",
        parse=parse_ravdess_song,
    ),
    Corpus(
        name="tess",
        title="TESS",
        example="OAF_back_angry.wav",
        source="https://doi.org/10.5683/SP2/E8H2MF",
        licence="CC BY-NC-ND 4.0",
        citation="Pichora-Fuller & Dupuis 2020, Toronto emotional speech set (TESS)",
        parse=parse_tess,
    ),
    Corpus(
        name="savee",
        title="SAVEE",
        example="DC_a01.wav or DC/a01.wav",
        source="http://kahlan.eps.surrey.ac.uk/savee",
        licence="see its site",
        citation="Haq & Jackson, Surrey Audio-Visual Expressed Emotion (SAVEE) database",
        parse=parse_savee,
    ),
    Corpus(
        name="emodb",
        title="EmoDB",
        example="03a01Fa.wav",
        source="http://emodb.bilderbar.info",
        licence="see its site",
        citation="Burkhardt et al. 2005, A database of German emotional speech, Interspeech",
        parse=parse_emodb,
    ),
    Corpus(
        name="crema_d",
        title="CREMA-D",
        example="1001_DFA_ANG_XX.wav",
        source="https://github.com/CheyneyComputerScience/CREMA-D",
        licence="ODbL 1.0",
        citation="Cao et al. 2014, IEEE Transactions on Affective Computing 5(4), 377-390",
        parse=parse_crema_d,
    ),
    Corpus(
        name="nemo",
        title="nEMO",
        example="WR0_surprised_64.wav",
        source="https://github.com/amu-cai/nEMO",
        licence="CC BY-NC-SA 4.0",
        citation="Christop 2024, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING",
        parse=parse_nemo,
    ),
    Corpus(
        name="wake_words",
        title="Picovoice wake words",
        example="audio/alexa/12.flac",
        source="https://github.com/Picovoice/wake-word-benchmark",
        licence="Apache-2.0",
        citation="Picovoice, Wake word benchmark",
        parse=parse_wake_words,
    ),
    Corpus(
        name="coffee_commands",
        title="Picovoice commands to a coffee machine",
        example="speech/clean/79256bc0-1729-4b22-acbc-7c8da2a63b83.wav",
        source="https://github.com/Picovoice/speech-to-intent-benchmark",
        licence="Apache-2.0",
        citation="Picovoice, Speech-to-intent benchmark",
        parse=parse_coffee_commands,
    ),
    Corpus(
        name="kemdy",
        title="KEMDy19 and KEMDy20",
        example="Sess01_impro04_F013.wav or Sess01_script01_User001F_001.wav",
        source="https://nanum.etri.re.kr/share/kjnoh2/KEMDy19 and https://nanum.etri.re.kr/share/kjnoh2/KEMDy20",
        licence="licence agreement with ETRI",
        citation="Noh & Jeong, KEMDy19 and KEMDy20; Noh et al. 2021, Sensors 21(5), 1579",
        parse=parse_kemdy,
    ),
    Corpus(
        name="iemocap",
        title="IEMOCAP",
        example="Ses01F_impro01_F000.wav",
        source="https://sail.usc.edu/iemocap",
        licence="licence agreement with USC",
        citation="Busso et al. 2008, IEMOCAP: Interactive emotional dyadic motion capture database, LREV 42, 335-359",
        parse=parse_iemocap,
    ),
)

CORPORA: Mapping[str, Corpus] = MappingProxyType({corpus.name: corpus for corpus in _CORPORA})
"""The known corpora by name."""


def is_of(speaker: str, corpus: str) -> bool:
    """Whether a speaker's name is one of those of a corpus."""
    return speaker.startswith("ravdess-" if corpus == "ravdess_song" else f"{corpus}-")


def recognise(path: PurePath) -> Parsed:
    """What the name of a file says, in the first corpus that knows it; None if no corpus does.

    No name fits two corpora; a test makes sure of it.
    """
    for corpus in CORPORA.values():
        parsed = corpus.parse(path)
        if parsed is not None:
            return parsed
    return None
