// @ts-check
/**
 * Speech emotion recognition in JavaScript: what `edgeemo listen` does, in a browser or in node.
 *
 *     import { Listener } from "./edgeemo.js";
 *     const listener = await Listener.load("model.onnx", { sampleRate: 48000 });
 *     for (const event of await listener.push(float32)) console.log(event.event, event.time_s, event.label);
 *
 * It needs nothing but the files beside it: the voice detector and onnxruntime-web. docs/format.md has the rules.
 * @module
 */

/**
 * One step of the live loop; the keys of a line of `edgeemo listen --json`.
 * @typedef {object} Step
 * @property {"step"} event
 * @property {number} time_s Where in the stream the step ends.
 * @property {number} utterance Number of the utterance, 0 before the first.
 * @property {boolean} paused Whether nobody speaks.
 * @property {string | null} label The most probable emotion; null where none is named.
 * @property {string | null} reason Why there is no label: `no speech`, `quiet` or `unsure`.
 * @property {number | null} arousal From 0 (calm) to 1 (agitated).
 * @property {Record<string, number>} probabilities Calibrated; empty where nobody speaks.
 * @property {number} level_db RMS of the step's audio, in dB re full scale; -120 at least.
 * @property {number} peak Its largest absolute value.
 * @property {number} resample_ms Time spent resampling since the step before.
 * @property {number} model_ms Time spent in the model and the voice detector.
 */

/**
 * What somebody said between two pauses, told once it is over.
 * @typedef {object} Utterance
 * @property {"utterance"} event
 * @property {number} time_s Where in the stream it was told.
 * @property {number} utterance Its number, from 1.
 * @property {number} start_s Where it begins.
 * @property {number} end_s Where its last voice ends.
 * @property {string | null} label Of the whole; null where none is probable enough.
 * @property {string | null} reason `unsure`, where there is no label.
 * @property {number | null} arousal
 * @property {Record<string, number>} probabilities
 * @property {{ time_s: number, label: string | null }[]} evolution What its steps said, each time that changed.
 * @property {boolean} cut Whether it ends here for another reason than a pause.
 */

/**
 * Audio is missing: what comes next is heard afresh.
 * @typedef {object} Gap
 * @property {"gap"} event
 * @property {number} time_s Where in the stream it ends.
 * @property {number} start_s Where it begins.
 * @property {number} length_s
 * @property {string} why
 */

/** @typedef {Step | Utterance | Gap} Heard */

/**
 * What was learnt of a voice and a microphone: the file that `edgeemo enrol` writes.
 * @typedef {object} Profile
 * @property {string} model The variant that learnt it.
 * @property {string} graph SHA-256 of its graph: no other can use it.
 * @property {string} saved When, in ISO 8601.
 * @property {number} n_utterances How many were heard for it.
 * @property {Record<string, number[]>} states The numbers of each lasting state.
 * @property {number} format
 */

/**
 * @typedef {object} State
 * @property {string} name Of the graph's input; its output is called `NAME_next`.
 * @property {number[]} shape
 * @property {boolean} [lasting] Whether it is kept when an utterance begins.
 */

/** @typedef {{ temperature: number, unsure_below: number, needs_voice: boolean, arousal: Record<string, number> }} Judgement */
/** @typedef {{ label: string | null, reason: string | null, arousal: number | null, probabilities: Record<string, number> }} Answer */
/** @typedef {string | URL | Uint8Array} Source The address of a file, in node its path too; or what it holds. */
/** @typedef {any} Session Of onnxruntime. */

const KEY = "edgeemo";
const CHECKSUM_KEY = "edgeemo_graph_sha256";
const FORMAT = 1;
const PROFILE_FORMAT = 1;

const CUTOFF_HZ = 10;

const VOICED = 0.5;
const RECENT_CHUNKS = 8;
const LEAST_VOICED = 6;
const HANG_CHUNKS = 20;
const MARGIN_CHUNKS = 4;
const ONSET_S = 0.256;

const MAX_UTTERANCE_S = 30;
const LEAST_DB = -120;

const PAUSE_S = 0.64;
const MARGIN_DB = 6;
const MINIMUM_DB = -60;
const RISE_DB_PER_S = 3;

const NO_SPEECH = "no speech";
const QUIET = "quiet";
const UNSURE = "unsure";

/** What is wrong with a file or with audio, in a line for a person. */
export class EdgeEmoError extends Error {}

/** Turns a stream of audio into events. It opens nothing and has no clock: whoever has audio pushes it. */
export class Listener {
  /** @type {Profile | null} */
  _start = null;
  /** @type {Promise<unknown>} */
  _turn = Promise.resolve();
  /** @type {Spoken | null} */
  _spoken = null;
  _nBefore = 0;
  _nUtterances = 0;
  _beforeS = 0;
  _originS = 0;
  _nHeard = 0;
  _nPending = 0;
  _nSteps = 0;
  _resampleMs = 0;

  /**
   * Load a model.
   * @param {Source} model An .onnx file that `edgeemo export` made.
   * @param {object} [options]
   * @param {number} [options.sampleRate] Hz of what will be pushed; without, the model's.
   * @param {Profile | null} [options.profile] What was learnt before of the voice, to start with.
   * @param {Source} [options.voice] The voice detector; without, voice.onnx beside this module.
   * @param {any} [options.ort] onnxruntime-web or onnxruntime-node; without, the one beside this module.
   * @returns {Promise<Listener>}
   * @throws {EdgeEmoError} A file is missing or no model; the profile is another model's.
   */
  static async load(model, { sampleRate, profile = null, voice = new URL("voice.onnx", import.meta.url), ort } = {}) {
    ort ??= await runtime();
    const file = await readModel(model);
    const { metadata } = file;
    if (metadata.kind === "voice") throw new EdgeEmoError("this is the voice detector; expected a model of emotions");
    if (metadata.kind === "image") throw new EdgeEmoError("a model of images; expected one of audio");
    const session = await opened(ort, file.bytes);
    const stepper =
      metadata.mode === "stream"
        ? await StreamStepper.start(ort, session, metadata)
        : new WindowStepper(ort, session, metadata);
    const judgement = { ...defaultJudgement(metadata.labels), ...metadata.judgement };
    const detector = judgement.needs_voice
      ? await SpeechDetector.load(ort, voice, metadata.features.sample_rate)
      : new LevelDetector(metadata.features.sample_rate);
    const listener = new Listener(metadata, file.graph, judgement, stepper, detector);
    await listener.reset({ sampleRate, profile });
    return listener;
  }

  /**
   * Not for callers: `Listener.load` makes one.
   * @param {any} metadata
   * @param {string} graph
   * @param {Judgement} judgement
   * @param {StreamStepper | WindowStepper} stepper
   * @param {SpeechDetector | LevelDetector} detector
   */
  constructor(metadata, graph, judgement, stepper, detector) {
    /** The JSON in the model's file. */
    this.metadata = metadata;
    /** How probabilities become answers; may be set. */
    this.judgement = judgement;
    /** Hz of the model's audio. @type {number} */
    this.sampleRate = metadata.features.sample_rate;
    /** SHA-256 of the model's graph, by which profiles know it. */
    this.graph = graph;
    this._stepper = stepper;
    this._detector = detector;
    this._resampler = new Resampler(this.sampleRate, this.sampleRate);
    this._highPass = new HighPass(this.sampleRate);
    this._pending = new Float32Array(metadata.step_samples);
    this._forget();
  }

  /** Whether the model learns what a voice usually sounds like, and so has profiles. */
  get learns() {
    return (this.metadata.states ?? []).some((/** @type {State} */ s) => s.lasting);
  }

  /**
   * What was learnt so far of the voice and the microphone, with what was before.
   * @returns {Profile}
   * @throws {EdgeEmoError} The model learns nothing of a voice.
   */
  get profile() {
    if (!this.learns) throw new EdgeEmoError(`${this.metadata.name} learns nothing of a voice`);
    const { name, mode, precision } = this.metadata;
    return {
      model: [name, mode, ...(precision === "fp32" ? [] : [precision])].join("."),
      graph: this.graph,
      saved: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
      n_utterances: this._nBefore + this._nUtterances,
      states: this._stepper.learnt(),
      format: PROFILE_FORMAT,
    };
  }

  /**
   * Take new audio. Calls may overlap: they are heard in turn.
   * @param {Float32Array | Int16Array} block Mono, float32 in [-1, 1] or 16-bit integers, of any length.
   * @returns {Promise<Heard[]>} The steps that it completes, each followed by the utterance that it showed to be over.
   *   They do not depend on how the stream is cut.
   * @throws {EdgeEmoError} It is of another type, or holds a NaN or an infinity; the stream is as before.
   */
  push(block) {
    return this._inTurn(async () => {
      const given = asFloat32(block);
      const start = performance.now();
      const audio = this._resampler.push(given);
      this._resampleMs += performance.now() - start;
      this._nHeard += given.length;
      return this._advance(audio);
    });
  }

  /**
   * Audio is missing before what will be pushed next. What was learnt of microphone and voice is kept.
   * @param {number} seconds
   * @param {string} why
   * @returns {Promise<Heard[]>} The utterance that this cuts, if there is one, and the gap.
   */
  gap(seconds, why) {
    return this._inTurn(async () => {
      const events = await this._drain();
      const start_s = this._beforeS + this._nHeard / this._resampler.from;
      this._beforeS = start_s + seconds;
      this._begin(this._stepper.learnt());
      /** @type {Gap} */
      const gap = { event: "gap", time_s: this._beforeS, start_s, length_s: seconds, why };
      return [...events, gap];
    });
  }

  /**
   * End the stream and give its last complete steps and utterance. The next `push` starts a new one.
   * @returns {Promise<Heard[]>}
   */
  flush() {
    return this._inTurn(async () => {
      const events = await this._drain();
      this._forget();
      return events;
    });
  }

  /**
   * Forget the stream: the next sample is the first.
   * @param {object} [options] What streams are from now on; without, as before.
   * @param {number} [options.sampleRate] Hz of what will be pushed.
   * @param {Profile | null} [options.profile] What each stream starts with; null: with nothing learnt.
   * @throws {EdgeEmoError} The profile is another model's; the stream is as before.
   */
  reset({ sampleRate = this._resampler.from, profile = this._start } = {}) {
    return this._inTurn(async () => {
      if (profile) checkProfile(profile, this.metadata, this.graph);
      this._resampler = new Resampler(sampleRate, this.sampleRate);
      this._start = profile;
      this._forget();
    });
  }

  _forget() {
    this._nBefore = this._start?.n_utterances ?? 0;
    this._nUtterances = 0;
    this._beforeS = 0;
    this._begin(this._start?.states ?? {});
  }

  /**
   * What comes next has nothing before it.
   * @param {Record<string, number[]>} learnt
   */
  _begin(learnt) {
    this._originS = this._beforeS;
    this._nHeard = 0;
    this._resampler.reset();
    this._highPass.reset();
    this._detector.reset();
    this._stepper.reset(learnt);
    this._spoken = null;
    this._nPending = 0;
    this._nSteps = 0;
    this._resampleMs = 0;
  }

  async _drain() {
    const events = await this._advance(this._resampler.flush());
    return [...events, ...this._endUtterance(!this._detector.paused)];
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  _inTurn(work) {
    const done = this._turn.then(work);
    this._turn = done.catch(() => {});
    return done;
  }

  /**
   * @param {Float32Array} audio
   * @returns {Promise<Heard[]>}
   */
  async _advance(audio) {
    const events = [];
    for (let at = 0; at < audio.length; ) {
      const piece = audio.subarray(at, at + this._pending.length - this._nPending);
      this._pending.set(piece, this._nPending);
      this._nPending += piece.length;
      at += piece.length;
      if (this._nPending === this._pending.length) {
        this._nPending = 0;
        events.push(...(await this._step(this._highPass.push(this._pending))));
      }
    }
    return events;
  }

  /** Where the latest step ends. */
  get _stepS() {
    return this._originS + (this._nSteps * this._pending.length) / this.sampleRate;
  }

  /**
   * @param {Float32Array} audio
   * @returns {Promise<Heard[]>}
   */
  async _step(audio) {
    const start = performance.now();
    const stepS = audio.length / this.sampleRate;
    /** @type {Heard[]} */
    const events = [];
    this._nSteps++;
    if (await this._detector.push(audio)) {
      // The pause before may have ended within this step.
      events.push(...this._endUtterance(false, this._originS + this._detector.voiceBeforeS));
      await this._beginUtterance(this._originS + this._detector.onsetS);
    } else if (this._continues()) {
      events.push(...this._endUtterance(true, this._stepS - stepS));
      await this._beginUtterance(this._stepS - stepS);
    }
    // An utterance that was told is over, also where what followed turns out to have been no pause.
    const paused = this._detector.paused || !this._spoken;
    /** @type {Answer} */
    let answer = { label: null, reason: NO_SPEECH, arousal: null, probabilities: {} };
    let found = null;
    if (paused && this.judgement.needs_voice) {
      this._stepper.skip(audio);
    } else {
      found = await this._stepper.step(audio);
      answer = judge(this.judgement, this.metadata.labels, found, paused ? QUIET : null);
    }
    const resampleMs = this._resampleMs;
    this._resampleMs = 0;
    /** @type {Step} */
    const step = {
      event: "step",
      time_s: this._stepS,
      utterance: this._nUtterances,
      paused,
      ...answer,
      level_db: Math.max(decibels(audio), LEAST_DB),
      peak: audio.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0),
      resample_ms: resampleMs,
      model_ms: performance.now() - start,
    };
    if (this._spoken && !paused && found) {
      const heardS = step.time_s - (this.metadata.delay_ms ?? 0) / 1000;
      this._spoken.add(step, found, heardS, this._originS + this._detector.lastVoiceS, stepS);
    }
    return [...events, step, ...(paused ? this._endUtterance(false) : [])];
  }

  /** Whether an utterance begins with this step, though no pause ended: the one before is too long, or is told. */
  _continues() {
    if (this._spoken) return this._stepS - this._spoken.startS >= MAX_UTTERANCE_S;
    return this._originS + this._detector.lastVoiceS >= this._stepS && !this._detector.paused;
  }

  /** @param {number} startS */
  async _beginUtterance(startS) {
    this._nUtterances++;
    await this._stepper.beginUtterance();
    this._spoken = new Spoken(this._nUtterances, startS, this.metadata.window_samples / this.sampleRate);
  }

  /**
   * @param {boolean} cut
   * @param {number} [atMostS]
   * @returns {Utterance[]}
   */
  _endUtterance(cut, atMostS = Infinity) {
    const spoken = this._spoken;
    this._spoken = null;
    const probabilities = spoken?.probabilities();
    if (!spoken || !probabilities) return [];
    return [
      {
        event: "utterance",
        time_s: this._stepS,
        utterance: spoken.number,
        start_s: spoken.startS,
        end_s: Math.min(this._originS + this._detector.lastVoiceS, this._stepS, atMostS),
        ...judge(this.judgement, this.metadata.labels, probabilities),
        evolution: spoken.turns,
        cut,
      },
    ];
  }
}

/** The utterance that is going on: what is kept of it until it is over. */
class Spoken {
  /**
   * @param {number} number
   * @param {number} startS
   * @param {number} windowS
   */
  constructor(number, startS, windowS) {
    this.number = number;
    this.startS = startS;
    /** @type {{ time_s: number, label: string | null }[]} */
    this.turns = [];
    this._windowS = windowS;
    /** @type {number[]} */
    this._total = [];
    this._nWhole = 0;
    /** @type {number[] | null} */
    this._last = null;
  }

  /**
   * Take the next step.
   * @param {Step} step
   * @param {Float32Array} probabilities As the graph gives them.
   * @param {number} heardS Up to where it says something of the audio.
   * @param {number} voiceS Where the last voice so far ends: what is said of the pause after it does not count.
   * @param {number} stepS
   */
  add({ time_s, label }, probabilities, heardS, voiceS, stepS) {
    if (this.turns.at(-1)?.label !== label) this.turns.push({ time_s, label });
    if (this._last && heardS > voiceS + stepS) return;
    this._last = Array.from(probabilities);
    if (heardS - this.startS < this._windowS) return;
    this._total = this._last.map((p, i) => p + (this._total[i] ?? 0));
    this._nWhole++;
  }

  /** The mean over the steps that have heard a whole window of it; of a shorter one, what its last step says. */
  probabilities() {
    return this._nWhole ? this._total.map((p) => Math.fround(p / this._nWhole)) : this._last;
  }
}

/** Steps of a stream graph: it carries states, and starts with those after one window of silence. */
class StreamStepper {
  /**
   * @param {any} ort
   * @param {Session} session
   * @param {any} metadata
   */
  static async start(ort, session, metadata) {
    const stepper = new StreamStepper(ort, session, metadata);
    const silence = new Float32Array(metadata.step_samples);
    for (let n = 0; n < metadata.window_samples; n += metadata.step_samples) await stepper._run(silence);
    stepper._silent = stepper._states;
    return stepper;
  }

  /**
   * @param {any} ort
   * @param {Session} session
   * @param {any} metadata
   */
  constructor(ort, session, metadata) {
    this._ort = ort;
    this._session = session;
    /** @type {State[]} */
    this._described = metadata.states;
    this._states = zeros(ort, this._described);
    this._silent = this._states;
    this._keptSteps = Math.ceil((ONSET_S * metadata.features.sample_rate) / metadata.step_samples);
    /** @type {Float32Array[]} */
    this._skipped = [];
  }

  /** @param {Float32Array} audio */
  async step(audio) {
    this._skipped = [];
    return this._run(audio);
  }

  /** @param {Float32Array} audio */
  skip(audio) {
    this._skipped = [...this._skipped, audio].slice(-this._keptSteps);
  }

  async beginUtterance() {
    for (const { name, lasting } of this._described) if (!lasting) this._states[name] = this._silent[name];
    for (const audio of this._skipped) await this._run(audio);
    this._skipped = [];
  }

  /** @param {Record<string, number[]>} learnt Lasting states; of those that it has not, nothing is learnt. */
  reset(learnt) {
    this._states = { ...this._silent };
    this._skipped = [];
    for (const { name, shape } of this._described)
      if (learnt[name]) this._states[name] = new this._ort.Tensor("float32", Float32Array.from(learnt[name]), shape);
  }

  /**
   * The lasting states.
   * @returns {Record<string, number[]>}
   */
  learnt() {
    const lasting = this._described.filter((s) => s.lasting);
    return Object.fromEntries(lasting.map((s) => [s.name, Array.from(this._states[s.name].data)]));
  }

  /**
   * @param {Float32Array} audio
   * @returns {Promise<Float32Array>}
   */
  async _run(audio) {
    const found = await this._session.run({ audio: row(this._ort, audio), ...this._states });
    this._states = following(found, this._described);
    return found.probabilities.data;
  }
}

/** Steps of a window graph: each classifies the last window of the stream. */
class WindowStepper {
  /**
   * @param {any} ort
   * @param {Session} session
   * @param {any} metadata
   */
  constructor(ort, session, metadata) {
    this._ort = ort;
    this._session = session;
    this._window = new Float32Array(metadata.window_samples);
  }

  /**
   * @param {Float32Array} audio
   * @returns {Promise<Float32Array>}
   */
  async step(audio) {
    this.skip(audio);
    return (await this._session.run({ audio: row(this._ort, this._window) })).probabilities.data;
  }

  /** @param {Float32Array} audio */
  skip(audio) {
    this._window.copyWithin(0, audio.length);
    this._window.set(audio, this._window.length - audio.length);
  }

  async beginUtterance() {}

  reset() {
    this._window.fill(0);
  }

  /** @returns {Record<string, number[]>} */
  learnt() {
    return {};
  }
}

/** Finds the utterances of a stream by the voice in it. */
export class SpeechDetector {
  _waiting = new Float32Array(0);
  /** @type {Record<string, any>} */
  _states = {};
  /** @type {boolean[]} */
  _recent = [];
  _hang = 0;
  _nChunks = 0;
  _onset = 0;
  _lastVoiced = 0;
  _ended = 0;

  /**
   * @param {any} ort onnxruntime-web or onnxruntime-node.
   * @param {Source} voice The voice detector's file.
   * @param {number} sampleRate Hz of what will be pushed.
   */
  static async load(ort, voice, sampleRate) {
    const { bytes, metadata } = await readModel(voice);
    if (metadata.kind !== "voice") throw new EdgeEmoError("the voice detector's file holds another model");
    return new SpeechDetector(ort, await opened(ort, bytes), metadata, sampleRate);
  }

  /**
   * @param {any} ort
   * @param {Session} session
   * @param {any} metadata
   * @param {number} sampleRate
   */
  constructor(ort, session, metadata, sampleRate) {
    this._ort = ort;
    this._session = session;
    this._metadata = metadata;
    this._chunkS = metadata.chunk_samples / metadata.sample_rate;
    this._resampler = new Resampler(sampleRate, metadata.sample_rate);
    this.reset();
  }

  /** Whether nobody speaks, as far as has been heard. */
  get paused() {
    return this._hang === 0;
  }

  /** Where the latest utterance begins, in seconds, with what comes before a voice is certain. */
  get onsetS() {
    return this._onset * this._chunkS;
  }

  /** Where its last voice so far ends, with what fades after it: that may not have been heard yet. */
  get lastVoiceS() {
    return (this._lastVoiced + MARGIN_CHUNKS) * this._chunkS;
  }

  /** Where the last voice of the utterance before it ended, likewise. */
  get voiceBeforeS() {
    return (this._ended + MARGIN_CHUNKS) * this._chunkS;
  }

  /**
   * Take new audio; whether an utterance begins in it.
   * @param {Float32Array} audio
   */
  async push(audio) {
    let begins = false;
    for (const probability of await this.probabilities(audio)) {
      const before = this._hang > 0;
      this._recent = [...this._recent, probability >= VOICED].slice(-RECENT_CHUNKS);
      this._nChunks++;
      if (this._recent.filter(Boolean).length >= LEAST_VOICED) {
        if (!before) {
          const ended = this._lastVoiced ? this._lastVoiced + MARGIN_CHUNKS : 0;
          this._onset = Math.max(this._nChunks - RECENT_CHUNKS - MARGIN_CHUNKS, ended);
          this._ended = this._lastVoiced;
        }
        this._hang = HANG_CHUNKS;
        this._lastVoiced = this._nChunks;
      } else {
        this._hang = Math.max(this._hang - 1, 0);
      }
      begins ||= this._hang > 0 && !before;
    }
    return begins;
  }

  /**
   * Take new audio; of each chunk that it completes the probability that it holds a voice.
   * @param {Float32Array} audio
   * @returns {Promise<number[]>}
   */
  async probabilities(audio) {
    const waiting = joined(this._waiting, this._resampler.push(audio));
    const nWhole = waiting.length - (waiting.length % this._metadata.chunk_samples);
    this._waiting = waiting.slice(nWhole);
    if (nWhole === 0) return [];
    const found = await this._session.run({ audio: row(this._ort, waiting.slice(0, nWhole)), ...this._states });
    this._states = following(found, this._metadata.states);
    return Array.from(found.voice.data);
  }

  reset() {
    this._resampler.reset();
    this._waiting = new Float32Array(0);
    this._states = zeros(this._ort, this._metadata.states);
    this._recent = [];
    this._hang = this._nChunks = this._onset = this._lastVoiced = this._ended = 0;
  }
}

/** Finds the utterances of a stream by its level alone: for models that judge any sound. */
class LevelDetector {
  /** @type {number | null} */
  _floorDb = null;
  _spoken = false;
  _nSamples = 0;
  _onset = 0;
  _lastSpeech = 0;
  _ended = 0;
  _quietSamples = 0;
  _quietPeakDb = -Infinity;

  /** @param {number} sampleRate */
  constructor(sampleRate) {
    this._sampleRate = sampleRate;
    this._pauseSamples = Math.round(PAUSE_S * sampleRate);
  }

  get paused() {
    return !this._spoken || this._quietSamples >= this._pauseSamples;
  }

  /** Where the latest utterance begins, in seconds. */
  get onsetS() {
    return this._onset / this._sampleRate;
  }

  /** Where its last step of speech so far ends. */
  get lastVoiceS() {
    return this._lastSpeech / this._sampleRate;
  }

  /** Where the last step of speech of the utterance before it ended. */
  get voiceBeforeS() {
    return this._ended / this._sampleRate;
  }

  /** @param {Float32Array} audio */
  async push(audio) {
    const levelDb = Math.max(decibels(audio), MINIMUM_DB - MARGIN_DB);
    const first = this._floorDb === null;
    const risenDb = (this._floorDb ?? levelDb) + (RISE_DB_PER_S * audio.length) / this._sampleRate;
    this._floorDb = Math.min(levelDb, risenDb);
    this._nSamples += audio.length;
    if (first ? levelDb > MINIMUM_DB : this._isSpeech(levelDb)) {
      const begins = this.paused;
      this._spoken = true;
      if (begins) {
        this._onset = this._nSamples - audio.length;
        this._ended = this._lastSpeech;
      }
      this._lastSpeech = this._nSamples;
      this._quietSamples = 0;
      this._quietPeakDb = -Infinity;
      return begins;
    }
    if (this._isSpeech(this._quietPeakDb)) {
      this._quietSamples = 0;
      this._quietPeakDb = -Infinity;
    }
    this._quietSamples += audio.length;
    this._quietPeakDb = Math.max(this._quietPeakDb, levelDb);
    return false;
  }

  reset() {
    this._floorDb = null;
    this._spoken = false;
    this._nSamples = this._onset = this._lastSpeech = this._ended = 0;
    this._quietSamples = 0;
    this._quietPeakDb = -Infinity;
  }

  /** @param {number} levelDb */
  _isSpeech(levelDb) {
    return levelDb > Math.max(/** @type {number} */ (this._floorDb) + MARGIN_DB, MINIMUM_DB);
  }
}

/**
 * Resamples a stream: a polyphase filter (a sinc in a Kaiser window) that keeps its state from block to block.
 *
 * Up to 0.913 of the lower rate's half, audio passes as it is; from that half on, 100 dB of it is taken away.
 */
export class Resampler {
  _history = new Float32Array(0);
  _start = 0; // the stream's sample that `_history` begins with
  _nIn = 0;
  _nOut = 0;

  /**
   * @param {number} from Hz of what is pushed.
   * @param {number} to Hz of what is returned; equal rates pass the audio through untouched.
   */
  constructor(from, to) {
    if (!(Number.isInteger(from) && from > 0 && Number.isInteger(to) && to > 0))
      throw new EdgeEmoError(`cannot resample from ${from} Hz to ${to} Hz; rates are positive whole numbers`);
    this.from = from;
    let divisor = from;
    for (let rest = to; rest; [divisor, rest] = [rest, divisor % rest]);
    this._up = to / divisor;
    this._down = from / divisor;
    const half = Math.min(1, this._up / this._down) / 2;
    this._cutoff = 0.9565 * half;
    this._reach = Math.ceil((100 - 7.95) / (2.285 * 2 * Math.PI * 0.087 * half) / 2);
    /** @type {Map<number, Float64Array>} */
    this._kernels = new Map();
    this.reset();
  }

  reset() {
    this._history = new Float32Array(this._reach);
    this._start = -this._reach;
    this._nIn = 0;
    this._nOut = 0;
  }

  /**
   * Take new audio; give what is ready.
   * @param {Float32Array} block
   * @returns {Float32Array}
   */
  push(block) {
    if (this._up === this._down) return block;
    this._nIn += block.length;
    return this._ready(block, Infinity);
  }

  /** End the stream: give the rest of it; the next `push` starts another. */
  flush() {
    if (this._up === this._down) return new Float32Array(0);
    const rest = this._ready(new Float32Array(this._reach), Math.round((this._nIn * this._up) / this._down));
    this.reset();
    return rest;
  }

  /**
   * @param {Float32Array} block
   * @param {number} limit
   */
  _ready(block, limit) {
    const samples = joined(this._history, block);
    const end = this._start + samples.length;
    const found = [];
    for (; this._nOut < limit; this._nOut++) {
      const position = this._nOut * this._down;
      const phase = position % this._up;
      const base = (position - phase) / this._up;
      if (base + this._reach >= end) break;
      const kernel = this._kernel(phase);
      const first = base - this._reach + 1 - this._start;
      let sum = 0;
      for (let i = 0; i < kernel.length; i++) sum += kernel[i] * samples[first + i];
      found.push(sum);
    }
    const next = Math.floor((this._nOut * this._down) / this._up) - this._reach + 1;
    this._history = samples.slice(Math.max(next - this._start, 0));
    this._start = Math.max(next, this._start);
    return Float32Array.from(found);
  }

  /** @param {number} phase */
  _kernel(phase) {
    let kernel = this._kernels.get(phase);
    if (!kernel) {
      const beta = 0.1102 * (100 - 8.7);
      kernel = Float64Array.from({ length: 2 * this._reach }, (_, i) => {
        const t = phase / this._up + this._reach - 1 - i;
        const x = 2 * this._cutoff * t;
        const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
        return sinc * bessel(beta * Math.sqrt(Math.max(1 - (t / this._reach) ** 2, 0)));
      });
      const total = kernel.reduce((sum, value) => sum + value, 0);
      for (let i = 0; i < kernel.length; i++) kernel[i] /= total;
      this._kernels.set(phase, kernel);
    }
    return kernel;
  }
}

/** Takes a constant in the signal away. What precedes the first sample is taken to be as it is. */
class HighPass {
  /** @type {number | null} */
  _input = null;
  _output = 0;

  /** @param {number} sampleRate */
  constructor(sampleRate) {
    this._pole = Math.exp((-2 * Math.PI * CUTOFF_HZ) / sampleRate);
  }

  /**
   * The next samples, filtered.
   * @param {Float32Array} audio
   */
  push(audio) {
    return audio.map((sample) => {
      this._output = this._pole * (this._output + sample - (this._input ?? sample));
      this._input = sample;
      return this._output;
    });
  }

  reset() {
    this._input = null;
    this._output = 0;
  }
}

/**
 * From probabilities to what is said.
 * @param {Judgement} judgement
 * @param {string[]} labels
 * @param {ArrayLike<number>} probabilities As the graph gives them, or the mean of such.
 * @param {string | null} [reason] Why there is nothing to judge.
 * @returns {Answer}
 */
export function judge(judgement, labels, probabilities, reason = null) {
  const top = Math.max(...Array.from(probabilities));
  let calibrated = Array.from(probabilities);
  if (judgement.temperature !== 1 && top > 0) {
    const powers = calibrated.map((p) => (Math.max(p, 0) / top) ** (1 / judgement.temperature));
    const total = sum(powers);
    calibrated = powers.map((power) => power / total);
  }
  const found = Object.fromEntries(labels.map((label, i) => [label, calibrated[i]]));
  if (reason) return { label: null, reason, arousal: null, probabilities: found };
  const best = labels[calibrated.indexOf(Math.max(...calibrated))];
  const unsure = found[best] < judgement.unsure_below;
  return {
    label: unsure ? null : best,
    reason: unsure ? UNSURE : null,
    arousal: arousal(judgement, found),
    probabilities: found,
  };
}

/**
 * The agitated labels' share of what the calm and the agitated ones have together.
 * @param {Judgement} judgement
 * @param {Record<string, number>} probabilities
 */
function arousal(judgement, probabilities) {
  const sides = Object.entries(judgement.arousal).filter(([label]) => label in probabilities);
  const values = sides.map(([, value]) => value);
  const total = sum(sides.map(([label]) => probabilities[label]));
  if (!(Math.min(...values) < 0.5 && Math.max(...values) > 0.5 && total > 0)) return null;
  return Math.min(1, sum(sides.map(([label, value]) => probabilities[label] * value)) / total);
}

/**
 * What holds where a file does not say how it is judged.
 * @param {string[]} labels
 * @returns {Judgement}
 */
function defaultJudgement(labels) {
  /** @type {Record<string, number>} */
  const known = { angry: 1, fear: 1, happy: 1, surprise: 1, neutral: 0, calm: 0, sad: 0 };
  const sides = labels.filter((label) => label in known).map((label) => [label, known[label]]);
  return { temperature: 1, unsure_below: 0, needs_voice: true, arousal: Object.fromEntries(sides) };
}

/**
 * Read a model's file: what it says of itself, which onnxruntime-web does not give.
 * @param {Source} source
 * @returns {Promise<{ bytes: Uint8Array, metadata: any, graph: string }>}
 * @throws {EdgeEmoError} It is missing, no model of this project, damaged, or of another format.
 */
export async function readModel(source) {
  const name = source instanceof Uint8Array ? "the model" : String(source).split("/").pop();
  const bytes = await bytesOf(source);
  const file = parts(bytes);
  if (!file.graph) throw new EdgeEmoError(`${name} is not an ONNX model`);
  if (!(KEY in file.metadata))
    throw new EdgeEmoError(`${name} is an ONNX file without edgeemo metadata; make one with \`edgeemo export\``);
  let graph = file.metadata[CHECKSUM_KEY] ?? "";
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {any} */ (file.graph)));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (graph && graph !== found) throw new EdgeEmoError(`${name} is damaged: its graph is not what its checksum says`);
    graph = found;
  }
  const metadata = JSON.parse(file.metadata[KEY]);
  if (metadata.format !== FORMAT)
    throw new EdgeEmoError(`${name} has the model format ${metadata.format}; this program reads format ${FORMAT}`);
  return { bytes, metadata, graph };
}

/**
 * The graph and the metadata of an ONNX file: fields 7 and 14 of a protobuf message.
 * @param {Uint8Array} bytes
 * @returns {{ graph: Uint8Array | null, metadata: Record<string, string> }}
 */
function parts(bytes) {
  const text = new TextDecoder();
  /** @type {{ graph: Uint8Array | null, metadata: Record<string, string> }} */
  const found = { graph: null, metadata: {} };
  for (const [number, value] of fields(bytes)) {
    if (number === 7) found.graph = value;
    if (number === 14) {
      const entry = new Map(fields(value));
      found.metadata[text.decode(entry.get(1))] = text.decode(entry.get(2));
    }
  }
  return found;
}

/**
 * Number and bytes of the fields of a protobuf message; of numbers, nothing. Of what is no such message, nothing at all.
 * @param {Uint8Array} message
 * @returns {[number, Uint8Array][]}
 */
function fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 128) {
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return NaN;
  };
  /** @type {[number, Uint8Array][]} */
  const found = [];
  while (at < message.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) {
      varint();
      continue;
    }
    const length = kind === 2 ? varint() : kind === 5 ? 4 : kind === 1 ? 8 : NaN;
    if (!(at + length <= message.length)) return [];
    if (kind === 2) found.push([Math.floor(tag / 8), message.subarray(at, at + length)]);
    at += length;
  }
  return found;
}

/**
 * @param {Profile} profile
 * @param {any} metadata
 * @param {string} graph
 */
function checkProfile(profile, metadata, graph) {
  /** @type {State[]} */
  const lasting = (metadata.states ?? []).filter((/** @type {State} */ s) => s.lasting);
  const fits =
    profile.format === PROFILE_FORMAT &&
    profile.graph === graph &&
    Object.keys(profile.states).length === lasting.length &&
    lasting.every(({ name, shape }) => {
      const numbers = profile.states[name] ?? [];
      return numbers.length === shape.reduce((n, size) => n * size, 1) && numbers.every(Number.isFinite);
    });
  if (!lasting.length || !fits)
    throw new EdgeEmoError(`the profile is another model's (${profile.model}); expected one of ${metadata.name}`);
}

/** onnxruntime-web, from the files beside this module. */
async function runtime() {
  const ort = await import(/* @vite-ignore */ new URL("ort.wasm.bundle.min.mjs", import.meta.url).href);
  const wasm = new URL("ort-wasm-simd-threaded.wasm", import.meta.url);
  ort.env.wasm.numThreads = 1;
  if (inNode()) ort.env.wasm.wasmBinary = await bytesOf(wasm);
  else ort.env.wasm.wasmPaths = { wasm: wasm.href };
  return ort;
}

/**
 * @param {any} ort
 * @param {Uint8Array} bytes
 * @returns {Promise<Session>}
 */
async function opened(ort, bytes) {
  try {
    return await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  } catch (error) {
    throw new EdgeEmoError(`onnxruntime cannot load the model: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @param {Source} source
 * @returns {Promise<Uint8Array>}
 */
async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  try {
    if (inNode()) {
      const { readFile } = await import("node:fs/promises");
      return await readFile(source);
    }
    const response = await fetch(source);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new EdgeEmoError(`${source} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

/** Whether this is node, where paths are read and not fetched. */
function inNode() {
  return Boolean(/** @type {any} */ (globalThis).process?.versions?.node);
}

/**
 * @param {any} ort
 * @param {State[]} states
 * @returns {Record<string, any>}
 */
function zeros(ort, states) {
  const size = (/** @type {number[]} */ shape) => shape.reduce((n, length) => n * length, 1);
  return Object.fromEntries(
    states.map((s) => [s.name, new ort.Tensor("float32", new Float32Array(size(s.shape)), s.shape)]),
  );
}

/**
 * The states of the next run.
 * @param {Record<string, any>} found What a run gave.
 * @param {State[]} states
 * @returns {Record<string, any>}
 */
function following(found, states) {
  return Object.fromEntries(states.map(({ name }) => [name, found[`${name}_next`]]));
}

/**
 * @param {any} ort
 * @param {Float32Array} audio
 */
function row(ort, audio) {
  return new ort.Tensor("float32", audio, [1, audio.length]);
}

/**
 * @param {Float32Array | Int16Array} block
 * @returns {Float32Array}
 */
function asFloat32(block) {
  if (block instanceof Int16Array) return Float32Array.from(block, (sample) => sample / 32768);
  if (!(block instanceof Float32Array)) throw new EdgeEmoError("audio must be a Float32Array or an Int16Array");
  if (!block.every(Number.isFinite)) throw new EdgeEmoError("audio holds NaN or infinite values; expected [-1, 1]");
  return block;
}

/**
 * @param {Float32Array} first
 * @param {Float32Array} second
 */
function joined(first, second) {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * Root mean square, in dB re 1.
 * @param {Float32Array} audio
 */
function decibels(audio) {
  return 10 * Math.log10(audio.reduce((total, sample) => total + sample * sample, 0) / audio.length);
}

/**
 * The modified Bessel function of the first kind, of order 0.
 * @param {number} x
 */
function bessel(x) {
  let [total, term] = [1, 1];
  for (let k = 1; term > 1e-12 * total; k++) total += term *= (x / 2 / k) ** 2;
  return total;
}
