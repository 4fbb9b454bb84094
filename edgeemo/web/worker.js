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
let latest = 0; // stream: what was sent for one before is passed over

const todo = {
  /** @param {{ model: string }} message */
  async load({ model }) {
    listener = await Listener.load(model);
    mel = new LogMel(listener.metadata.features);
    answer({ kind: "loaded", metadata: listener.metadata, learns: listener.learns, graph: listener.graph });
  },

  async drop() {},

  /** @param {{ sampleRate: number, profile: import("./edgeemo.js").Profile | null }} message */
  async begin({ sampleRate, profile }) {
    await listener.reset({ sampleRate, profile });
    resampler = new Resampler(sampleRate, listener.sampleRate);
    mel.reset();
    answer({ kind: "began" });
  },

  /** @param {{ audio: Float32Array, sampleRate: number, stream: number }} message */
  async audio({ audio, sampleRate, stream }) {
    const size = Math.round(PIECE_S * sampleRate);
    for (let at = 0; at < audio.length; at += size) {
      if (stream !== latest) return heard([], [], (audio.length - at) / sampleRate);
      const piece = audio.subarray(at, at + size);
      const columns = mel.push(resampler.push(piece));
      heard(await listener.push(piece), columns, piece.length / sampleRate);
    }
  },

  /** @param {{ seconds: number }} message */
  async gap({ seconds }) {
    mel.reset();
    heard(await listener.gap(seconds, "slow loop"));
  },

  /** @param {{ stream: number }} message */
  async end({ stream }) {
    if (stream !== latest) return;
    heard(await listener.flush());
    answer({ kind: "ended" });
  },

  async profile() {
    answer({ kind: "profile", profile: listener.profile });
  },
};

/**
 * @param {import("./edgeemo.js").Heard[]} events
 * @param {import("./mel.js").Column[]} columns
 * @param {number} seconds Of audio that were sent.
 */
function heard(events, columns = [], seconds = 0) {
  answer({ kind: "heard", events, columns, seconds });
}

/** @param {object} message */
function answer(message) {
  self.postMessage(message);
}

let turn = Promise.resolve();
self.onmessage = ({ data }) => {
  if (data.kind === "begin" || data.kind === "drop") latest++;
  const message = { ...data, stream: latest };
  turn = turn
    .then(() => todo[/** @type {keyof typeof todo} */ (data.kind)](message))
    .catch((error) => {
      const text = error instanceof EdgeEmoError ? error.message : `the model cannot run here (${error?.message ?? error})`;
      answer({ kind: "error", text, during: data.kind });
    });
};
