// @ts-check
// The live page of `edgeemo listen --serve`: shows what the loop tells on its WebSocket.

import { LogMel } from "./mel.js";
import { View } from "./view.js";

const SCHEMA = 1;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
const FULL_SCALE = 32768;

/** @type {(id: string) => any} */
const element = (id) => document.getElementById(id);

/** @type {any} */
let stream = null; // its start event
/** @type {any} */
let features = null; // of its model
/** @type {View | null} */
let view = null;
/** @type {LogMel | null} */
let mel = null;
/** @type {Map<string, string>} */
let wrong = new Map(); // state and subject -> what to tell of it
let lastGap = "";
let toldS = -1; // how far events have come, in the stream
let knownS = -1; // how far they had come before the connection was made
let ended = false;
let waitMs = FIRST_WAIT_MS;

async function connect() {
  try {
    const response = await fetch("features.json");
    if (!response.ok) throw new Error(`${response.status}`);
    features = await response.json();
  } catch {
    return lost();
  }
  const url = new URL("events?audio=1&history=1", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (typeof data === "string" ? told(JSON.parse(data)) : heard(new Int16Array(data)));
  socket.onclose = lost;
}

/** There is no connection: make another one, later and later. */
function lost() {
  say(ended ? "The stream has ended. Waiting for the next one." : "No connection to edgeemo. Trying again.");
  view?.interrupt(ended ? "ended" : "no connection");
  setTimeout(connect, waitMs);
  waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
}

/** @param {any} event One line of schema 1. */
function told(event) {
  if (event.event === "start") return begin(event);
  if (!stream) return;
  if (event.event === "status") {
    const key = JSON.stringify([event.state, event.subject]);
    wrong.delete(key);
    if (event.active) wrong.set(key, event.text);
    return showWrong();
  }
  if (event.time_s <= knownS) return; // told again, after a connection was lost
  if (event.event === "gap") {
    lastGap = `${event.length_s.toFixed(1)} s of audio are missing at ${event.start_s.toFixed(1)} s (${event.why}).`;
    mel?.reset();
    showWrong();
  }
  if (event.event === "end") ended = true;
  toldS = event.time_s;
  view?.add([event]);
}

/** @param {any} start */
function begin(start) {
  waitMs = FIRST_WAIT_MS;
  wrong.clear();
  const same = stream && stream.time === start.time && stream.graph_sha256 === start.graph_sha256;
  if (start.schema !== SCHEMA) return say(`This page reads schema ${SCHEMA}; the server speaks ${start.schema}.`);
  const from = start.channel === null ? "" : `, channel ${start.channel}`;
  const late = start.delay_s ? ` What it says is of ${start.delay_s} s before.` : "";
  say(`Listening to ${start.source}${from}; ${start.model}.${late}`);
  if (!same) {
    stream = start;
    lastGap = "";
    toldS = -1;
    ended = false;
    mel = new LogMel(features);
    view = new View({ features, labels: start.labels, stepS: start.step_s });
  }
  knownS = toldS;
  showWrong();
}

/** @param {Int16Array} samples */
function heard(samples) {
  if (mel) view?.add([], mel.push(Float32Array.from(samples, (sample) => sample / FULL_SCALE)));
}

/** What is wrong now, and what was missing last. */
function showWrong() {
  const texts = [...wrong.values(), ...(lastGap ? [lastGap] : [])];
  element("wrong").replaceChildren(
    ...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
  element("wrong").hidden = texts.length === 0;
}

function say(/** @type {string} */ text) {
  if (element("status").textContent !== text) element("status").textContent = text; // read aloud only where it changes
}

connect();
