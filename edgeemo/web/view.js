// @ts-check
/**
 * What both pages show of a loop: it keeps the last seconds, and draws them into the elements of their ids.
 * @module
 */

import { drawHistory, drawLatency, drawSpectrogram, drawWaveform, showProbabilities } from "./draw.js";

/** @typedef {import("./edgeemo.js").Step} Step */
/** @typedef {import("./edgeemo.js").Heard} Heard */
/** @typedef {import("./edgeemo.js").Utterance} Utterance */
/** @typedef {import("./draw.js").Column} Column */

const SHOWN_S = 8;
const HISTORY_S = 30;
const MOST_UTTERANCES = 8;
const SILENT_DB = -100;

/** @type {(id: string) => any} */
const element = (id) => document.getElementById(id);

/** The last seconds of a stream. */
export class View {
  _gapS = 0;

  /**
   * @param {object} model
   * @param {{ sample_rate: number, hop_samples: number, n_mels: number }} model.features
   * @param {string[]} model.labels
   * @param {number} model.stepS Seconds between steps.
   */
  constructor({ features, labels, stepS }) {
    this._labels = labels;
    this._stepS = stepS;
    this._columnS = features.hop_samples / features.sample_rate;
    this._nColumns = Math.round(SHOWN_S / this._columnS);
    this._nSteps = Math.round(HISTORY_S / stepS);
    this._nothing = { low: 0, high: 0, bands: new Float32Array(features.n_mels).fill(SILENT_DB) };
    this._waits = false;
    this.reset();
  }

  /** Forget the stream. */
  reset() {
    /** @type {Column[]} */
    this._columns = [];
    /** @type {Step[]} */
    this._steps = [];
    /** @type {Utterance[]} */
    this._utterances = [];
    this._gapS = 0;
    this._interrupted = "";
    this.show();
  }

  /**
   * Take what was heard, and show it. Where steps are missing, a hole is drawn.
   * @param {Heard[]} events
   * @param {Column[]} [columns]
   */
  add(events, columns = []) {
    for (const event of events) {
      if (event.event === "step") this._addStep(event);
      if (event.event === "utterance") this._utterances = [...this._utterances, event].slice(-MOST_UTTERANCES);
      if (event.event === "gap") {
        this._gapS += event.length_s;
        this._addColumns(Array(Math.min(Math.round(event.length_s / this._columnS), this._nColumns)).fill(this._nothing));
      }
    }
    this._addColumns(columns);
    this.show();
  }

  /**
   * Name no emotion until the next step.
   * @param {string} reason Why.
   */
  interrupt(reason) {
    this._interrupted = reason;
    this.show();
  }

  /** Draw what has changed, once before the next frame of the screen. */
  show() {
    if (this._waits) return;
    this._waits = true;
    requestAnimationFrame(() => {
      this._waits = false;
      this._draw();
    });
  }

  /** @param {Column[]} columns */
  _addColumns(columns) {
    this._columns = [...this._columns, ...columns].slice(-this._nColumns);
  }

  /** @param {Step} step */
  _addStep(step) {
    const last = this._steps.at(-1);
    const nMissing = last ? Math.round((step.time_s - last.time_s) / this._stepS) - 1 : 0;
    const hole = { ...step, paused: true, label: null, arousal: null, probabilities: {} };
    const holes = Array(Math.min(Math.max(nMissing, 0), this._nSteps)).fill(hole);
    this._steps = [...this._steps, ...holes, step].slice(-this._nSteps);
    this._interrupted = "";
  }

  _draw() {
    const last = this._steps.at(-1);
    const now = this._interrupted ? undefined : last;
    drawWaveform(element("waveform"), this._columns, this._nColumns);
    drawSpectrogram(element("spectrogram"), this._columns, this._nColumns);
    drawHistory(element("history"), this._steps, this._labels, this._nSteps);
    showProbabilities(element("probabilities"), this._labels, now?.probabilities ?? {}, now?.label ?? null);
    this._showUtterances();
    const latencies = this._steps.filter((step) => !step.paused).map((step) => step.resample_ms + step.model_ms);
    drawLatency(element("latency"), latencies, this._nSteps, 1000 * this._stepS);
    element("latency-text").textContent = latencies.length
      ? `A step of ${(1000 * this._stepS).toFixed(0)} ms of audio takes ${percentile(latencies, 0.5)} ms, 99 % at most ` +
        `${percentile(latencies, 0.99)} ms; ${this._gapS.toFixed(1)} s of audio lost.`
      : "";
    if (!now && !this._interrupted) return;
    const text = now ? (now.label ?? `(${now.reason})`) : `(${this._interrupted})`;
    if (element("label").textContent !== text) element("label").textContent = text; // read aloud only where it changes
    element("label").className = now?.label ? "" : "none";
    const arousal = now?.arousal == null ? "" : `, arousal ${now.arousal.toFixed(2)}`;
    element("detail").textContent = last ? `${last.time_s.toFixed(1)} s, utterance ${last.utterance}${arousal}` : "";
  }

  /** The last utterances, the latest first. */
  _showUtterances() {
    const items = this._utterances.map(({ utterance, start_s, end_s, label, reason, arousal }) => {
      const calm = arousal === null ? "" : `, arousal ${arousal.toFixed(2)}`;
      return `${utterance}. ${start_s.toFixed(1)} to ${end_s.toFixed(1)} s: ${label ?? `(${reason})`}${calm}`;
    });
    const list = element("utterances");
    if (list.children.length === items.length && list.firstChild?.textContent === items.at(-1)) return;
    list.replaceChildren(
      ...items.reverse().map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
  }
}

/** @type {(values: number[], share: number) => string} */
function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)].toFixed(2);
}
