// @ts-check
// The page: gets audio, has the worker hear it, and shows what comes back.

import { card } from "./card.js";
import { View } from "./view.js";

/** @typedef {import("./edgeemo.js").Step} Step */
/** @typedef {import("./edgeemo.js").Heard} Heard */
/** @typedef {import("./edgeemo.js").Profile} Profile */

const MOST_EVENTS = 36000; // an hour and a half
const PENDING_S = 2;
const ENROL_S = 20;
const DEFAULT_RATE = 48000;
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]); // (func (result v128) (i8x16.popcnt (i8x16.splat (i32.const 0))))

/** @type {(id: string) => any} */
const element = (id) => document.getElementById(id);

/** @type {Worker} */
let worker;
/** @type {any} */
let model;
/** @type {{ stop(): void } | null} */
let microphone = null;
/** @type {View} */
let view;
/** @type {object[]} */
let events = []; // what can be saved: the last ones
let nSteps = 0;
let nUtterances = 0;
let nFiles = 0;
let heardS = -1; // seconds of speech while a voice is learnt; -1: none is
let pendingS = 0;
let lostS = 0; // in a row, until the worker has caught up

function start() {
  const wasm = globalThis.WebAssembly;
  if (!wasm) return fail("This browser has no WebAssembly, or has it switched off; the model cannot run here.");
  if (!wasm.validate(SIMD))
    return fail("This browser's WebAssembly has no SIMD, which the model needs; a browser of 2023 or newer has it.");
  if (!globalThis.Worker || !globalThis.AudioContext)
    return fail("This browser lacks workers or Web Audio, which the page needs.");
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => answered[/** @type {keyof typeof answered} */ (data.kind)](data);
  worker.onerror = (event) => fail(`The worker cannot run here (${event.message ?? "it did not load"}).`);
  worker.postMessage({ kind: "load", model: "model.onnx" });
  element("microphone").onclick = () => (microphone ? stopMicrophone() : startMicrophone());
  element("file").onchange = () => {
    const [file] = element("file").files;
    element("file").value = ""; // so that the same file may be chosen again
    if (file) hearFile(file);
  };
  element("save").onclick = save;
  element("learn").onclick = learn;
  element("forget").onclick = () => keepProfile(null);
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  };
  document.ondragleave = () => document.body.classList.remove("dropping");
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (file && model) hearFile(file);
  };
}

/** Begin a stream: what comes until the worker has begun it is of the one before. */
function begin(/** @type {number} */ sampleRate, profile = storedProfile()) {
  worker.postMessage({ kind: "begin", sampleRate, profile });
}

const answered = {
  /** @param {any} answer */
  loaded(answer) {
    model = answer;
    for (const id of ["microphone", "file"]) element(id).disabled = false;
    element("voice").hidden = !model.learns;
    say(`Ready: ${model.metadata.name}. Start the microphone, or choose or drop a file.`);
    showVoice();
    showCard();
    const { features, labels, step_samples } = model.metadata;
    view = new View({ features, labels, stepS: step_samples / features.sample_rate });
  },

  began() {
    events = [];
    nSteps = nUtterances = lostS = 0;
    element("save").disabled = true;
    view.reset();
  },

  /** @param {{ events: Heard[], columns: import("./draw.js").Column[], seconds: number }} answer */
  heard({ events: heard, columns: added, seconds }) {
    const { features, step_samples } = model.metadata;
    const stepS = step_samples / features.sample_rate;
    const found = /** @type {Step[]} */ (heard.filter((event) => event.event === "step"));
    const time = new Date().toISOString().replace("Z", "+00:00");
    events = [...events, ...heard.map((event) => ({ time, ...event }))].slice(-MOST_EVENTS);
    nSteps += found.length;
    nUtterances = found.at(-1)?.utterance ?? nUtterances;
    pendingS -= seconds;
    if (heardS >= 0) {
      heardS += stepS * found.filter((step) => !step.paused).length;
      if (heardS >= ENROL_S) worker.postMessage({ kind: "profile" });
      else element("voice-status").textContent = `Speak on: ${Math.floor(heardS)} of ${ENROL_S} seconds.`;
    }
    element("save").disabled = events.length === 0;
    view.add(heard, added);
  },

  ended() {
    say(`Heard ${nSteps} steps and ${nUtterances} ${nUtterances === 1 ? "utterance" : "utterances"}.`);
  },

  /** @param {{ profile: Profile }} answer */
  profile({ profile }) {
    if (heardS < 0) return;
    heardS = -1;
    stopMicrophone();
    keepProfile(profile);
  },

  /** @param {{ text: string, during: string }} answer */
  error({ text, during }) {
    stopMicrophone();
    fail(during === "load" ? `The model cannot be loaded: ${text}.` : `It cannot go on: ${text}.`);
  },
};

async function startMicrophone(profile = storedProfile()) {
  element("problem").hidden = true;
  if (!navigator.mediaDevices)
    return fail("Browsers give a microphone only to pages of this machine or over HTTPS; open it at http://127.0.0.1.");
  const exact = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: exact });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : String(error);
    return fail(
      name === "NotAllowedError"
        ? "The microphone is not allowed: allow it for this page in the browser's settings, or choose a file."
        : name === "NotFoundError"
          ? "There is no microphone: plug one in, or choose a file."
          : `The microphone cannot be opened (${name}); choose another, or a file.`,
    );
  }
  const context = new AudioContext();
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
  let source, capture;
  try {
    await context.audioWorklet.addModule("worklet.js");
    source = context.createMediaStreamSource(stream);
    capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  } catch (error) {
    stop();
    return fail(`This browser cannot hand over the microphone's audio (${error}); choose a file.`);
  }
  begin(context.sampleRate, profile);
  capture.port.onmessage = ({ data }) => {
    if (microphone?.stop !== stop) return; // what was still on its way when the stream was ended
    if (pendingS > PENDING_S) {
      lostS += data.length / context.sampleRate;
      return;
    }
    if (lostS > 0) worker.postMessage({ kind: "gap", seconds: lostS });
    lostS = 0;
    hear(data, context.sampleRate);
  };
  source.connect(capture);
  stream.getAudioTracks()[0].onended = () => {
    stopMicrophone();
    fail("The microphone went away; plug it in and start again.");
  };
  microphone = { stop };
  element("microphone").textContent = "Stop microphone";
  say(`Listening at ${context.sampleRate} Hz.`);
}

function stopMicrophone() {
  if (!microphone) return;
  microphone.stop();
  microphone = null;
  heardS = -1;
  worker.postMessage({ kind: "end" });
  element("microphone").textContent = "Start microphone";
}

/** @param {File} file */
async function hearFile(file) {
  const number = ++nFiles;
  stopMicrophone();
  worker.postMessage({ kind: "drop" });
  element("problem").hidden = true;
  say(`Reading ${file.name}.`);
  let audio, sampleRate;
  try {
    ({ audio, sampleRate } = await decoded(await file.arrayBuffer()));
  } catch {
    return fail(`${file.name} cannot be read as audio; expected WAV, FLAC, MP3 or Ogg.`);
  }
  if (number !== nFiles) return; // another was chosen meanwhile
  begin(sampleRate);
  hear(audio, sampleRate);
  worker.postMessage({ kind: "end" });
}

/** Send audio to the worker. */
function hear(/** @type {Float32Array} */ audio, /** @type {number} */ sampleRate) {
  pendingS += audio.length / sampleRate;
  worker.postMessage({ kind: "audio", audio, sampleRate }, [audio.buffer]);
}

/**
 * A file's audio at its own rate, mono. WAV files of 16-bit samples are read here: browsers scale them differently.
 * @param {ArrayBuffer} bytes
 */
async function decoded(bytes) {
  const view = new DataView(bytes);
  const { sampleRate = DEFAULT_RATE, samples, nChannels = 0 } = header(view);
  if (samples) {
    const found = Float32Array.from({ length: samples.byteLength >> 1 }, (_, i) => samples.getInt16(2 * i, true) / 32768);
    const channels = Array.from({ length: nChannels }, (_, c) => found.filter((_, i) => i % nChannels === c));
    return { audio: mean(channels), sampleRate };
  }
  const buffer = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c));
  return { audio: mean(channels), sampleRate };
}

/**
 * The rate that a WAV or FLAC file says, so that the browser does not resample it; 16-bit samples of a WAV file.
 * @param {DataView} view
 * @returns {{ sampleRate?: number, nChannels?: number, samples?: DataView }}
 */
function header(view) {
  const text = (/** @type {number} */ at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
  if (view.byteLength < 44) return {};
  if (text(0) === "fLaC") return { sampleRate: view.getUint32(18) >>> 12 };
  if (text(0) !== "RIFF") return {};
  let found = {};
  for (let at = 12; at + 16 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (text(at) === "fmt ") {
      const [kind, bits] = [view.getUint16(at + 8, true), view.getUint16(at + 22, true)];
      const [nChannels, sampleRate] = [view.getUint16(at + 10, true), view.getUint32(at + 12, true)];
      if (kind !== 1 || bits !== 16 || !nChannels) return { sampleRate };
      found = { nChannels, sampleRate };
    }
    const start = at + 8;
    if (text(at) === "data") return { ...found, samples: new DataView(view.buffer, start, Math.min(size, view.byteLength - start)) };
    at = start + size + (size % 2);
  }
  return found;
}

/** @param {Float32Array[]} channels */
function mean(channels) {
  return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + (channel[i] ?? 0), 0) / channels.length);
}

async function learn() {
  await startMicrophone(null);
  if (!microphone) return;
  heardS = 0;
  element("voice-status").textContent = "Speak as you do every day.";
}

/** @returns {Profile | null} */
function storedProfile() {
  try {
    return JSON.parse(localStorage.getItem(profileKey()) ?? "null");
  } catch {
    return null;
  }
}

function keepProfile(/** @type {Profile | null} */ profile) {
  try {
    if (profile) localStorage.setItem(profileKey(), JSON.stringify(profile));
    else localStorage.removeItem(profileKey());
  } catch {
    return fail("This browser keeps nothing for this page; the voice is forgotten when it is closed.");
  }
  showVoice();
}

function profileKey() {
  return `edgeemo-profile-${model.graph}`;
}

function showVoice() {
  const profile = storedProfile();
  element("forget").hidden = !profile;
  element("voice-status").textContent = profile
    ? `Your voice is known from ${profile.n_utterances} utterances (${profile.saved.slice(0, 10)}).`
    : "Your voice is not known.";
}

function save() {
  const text = events.map((event) => JSON.stringify(event) + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  link.download = "events.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}

/** What the model's file says of itself. */
function showCard() {
  const { name, summary, labels, licence, training, scores, n_parameters, mode, precision } = model.metadata;
  const facts = table([
    ["What it is", `${name}, ${summary}; ${n_parameters.toLocaleString("en")} parameters, ${mode}, ${precision}`],
    ["What it hears", labels.join(", ")],
    ["Terms of the weights", licence],
    ["Trained on", training?.corpora ? training.corpora.join(", ") : "unknown"],
    ["Voice detector", "Silero (MIT)"],
    ["Runtime", "onnxruntime-web (MIT)"],
  ]);
  const rows = (scores ?? []).map((/** @type {any} */ row) => [
    row.part,
    row.corpus,
    row.protocol,
    row.uar.toFixed(3),
    String(row.n_speakers || ""),
  ]);
  element("card-text").replaceChildren(facts);
  const scored = table(rows, ["part", "corpus", "protocol", "UAR", "speakers"]);
  if (rows.length) element("card-text").append(scored);
  element("card").ontoggle = () => showWholeCard(scored);
}

/**
 * The card that came with the model, where there is one.
 * @param {HTMLElement} scored What it has, too.
 */
async function showWholeCard(scored) {
  element("card").ontoggle = null;
  const response = await fetch("card.md");
  if (!response.ok) return;
  scored.remove();
  element("card-text").append(...card(await response.text()));
}

/** @type {(rows: string[][], header?: string[]) => HTMLTableElement} */
function table(rows, header = []) {
  const made = document.createElement("table");
  if (header.length) {
    const row = made.createTHead().insertRow();
    row.append(...header.map((text) => Object.assign(document.createElement("th"), { textContent: text, scope: "col" })));
  }
  const body = made.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const text of cells) row.insertCell().textContent = text;
  }
  return made;
}

function say(/** @type {string} */ text) {
  element("status").textContent = text;
}

function fail(/** @type {string} */ text) {
  element("problem").textContent = text;
  element("problem").hidden = false;
  if (!model) say("");
}

start();
