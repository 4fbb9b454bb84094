// @ts-check
// The model, away from what the page draws. Messages are done in turn; each is { kind, ... }, and so are the answers.

import { EdgeEmoError, Listener, Resampler } from "./edgeemo.js";
import { LogMel } from "./mel.js";

const PIECE_S = 0.5;

/** @type {Listener} */
let listener;
/** @type {LogMel} */
let mel;
/** @type {Resampler} */
let resampler;

const todo = {
  /** @param {{ model: string }} message */
  async load({ model }) {
    listener = await Listener.load(model);
    mel = new LogMel(listener.metadata.features);
    answer({ kind: "loaded", metadata: listener.metadata, learns: listener.learns, graph: listener.graph });
  },

  /** @param {{ sampleRate: number, profile: import("./edgeemo.js").Profile | null }} message */
  async begin({ sampleRate, profile }) {
    await listener.reset({ sampleRate, profile });
    resampler = new Resampler(sampleRate, listener.sampleRate);
    mel.reset();
  },

  /** @param {{ audio: Float32Array, sampleRate: number }} message */
  async audio({ audio, sampleRate }) {
    const size = Math.round(PIECE_S * sampleRate);
    for (let at = 0; at < audio.length; at += size) await hear(audio.subarray(at, at + size));
  },

  /** @param {{ seconds: number }} message */
  async gap({ seconds }) {
    mel.reset();
    answer({ kind: "heard", events: await listener.gap(seconds, "slow loop"), columns: [], last: false });
  },

  async end() {
    answer({ kind: "heard", events: await listener.flush(), columns: [], last: true });
  },

  async profile() {
    answer({ kind: "profile", profile: listener.profile });
  },
};

/** @param {Float32Array} audio */
async function hear(audio) {
  answer({ kind: "heard", columns: mel.push(resampler.push(audio)), events: await listener.push(audio), last: false });
}

/** @param {object} message */
function answer(message) {
  self.postMessage(message);
}

let turn = Promise.resolve();
self.onmessage = ({ data }) => {
  turn = turn
    .then(() => todo[/** @type {keyof typeof todo} */ (data.kind)](data))
    .catch((error) => {
      const text = error instanceof EdgeEmoError ? error.message : `the model cannot run here (${error?.message ?? error})`;
      answer({ kind: "error", text, during: data.kind });
    });
};
