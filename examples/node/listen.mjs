// The live loop in node, on a WAV file of 16-bit samples, or on 16-bit mono PCM of 16 kHz from stdin:
//
//     edgeemo web --output site
//     node examples/node/listen.mjs site call.wav
//     arecord -q -t raw -f S16_LE -r 16000 -c 1 | node examples/node/listen.mjs site -
//
// It prints the steps and utterances that `edgeemo listen --json` prints, without the time of day. With onnxruntime-node installed it runs on that, which is
// native; else on the site's own onnxruntime-web.
import { createReadStream, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, clip] = process.argv.slice(2);
if (!clip) {
  console.error("usage: node listen.mjs SITE CLIP.wav, or - for 16-bit mono PCM of 16 kHz on stdin");
  process.exit(2);
}
const { Listener } = await import(pathToFileURL(resolve(site, "edgeemo.js")).href);
const ort = await import("onnxruntime-node").then((module) => module.default, () => undefined);
const wav = clip === "-" ? { rate: 16000, channels: 1 } : header(readFileSync(clip));
const listener = await Listener.load(join(site, "model.onnx"), { sampleRate: wav.rate, ort });

let rest = Buffer.alloc(0);
for await (const bytes of clip === "-" ? process.stdin : createReadStream(clip, wav)) {
  const given = Buffer.concat([rest, bytes]);
  const n = Math.floor(given.length / 2 / wav.channels);
  rest = given.subarray(2 * wav.channels * n);
  print(await listener.push(Float32Array.from({ length: n }, (_, i) => mean(given, i))));
}
print(await listener.flush());

function mean(bytes, i) {
  let sum = 0;
  for (let c = 0; c < wav.channels; c++) sum += bytes.readInt16LE(2 * (wav.channels * i + c)) / 32768;
  return sum / wav.channels;
}

function header(bytes) {
  let found = {};
  for (let at = 12; at + 8 <= bytes.length; at += 8 + bytes.readUInt32LE(at + 4)) {
    const name = bytes.toString("latin1", at, at + 4);
    if (name === "fmt ") found = { channels: bytes.readUInt16LE(at + 10), rate: bytes.readUInt32LE(at + 12) };
    if (name === "fmt " && bytes.readUInt16LE(at + 22) !== 16) break;
    if (name === "data") return { ...found, start: at + 8, end: at + 7 + bytes.readUInt32LE(at + 4) };
  }
  throw new Error(`${clip} is no WAV file of 16-bit samples`);
}

function print(steps) {
  for (const step of steps) console.log(JSON.stringify(step));
}
