// @ts-check
/**
 * What is seen of a live loop: waveform, log-mel spectrogram, probabilities, history, latency.
 *
 * Every function takes plain data and a place to draw it, and knows nothing of where the data comes from. Colours are
 * the style sheet's: --ink, --quiet, --accent, --warn and --label-0 to --label-7.
 * @module
 */

const N_COLOURS = 8;
const CLIPPED = 0.999;

/** @typedef {{ low: number, high: number, bands: ArrayLike<number> }} Column One frame: its samples' range, and dB. */
/** @typedef {{ utterance: number, paused: boolean, label: string | null, arousal: number | null, probabilities: Record<string, number> }} Step */

/**
 * The waveform: a line from the smallest to the largest sample of each frame; clipped ones in the colour of warnings.
 * @param {HTMLCanvasElement} canvas
 * @param {Column[]} columns The last ones, at most `nColumns`.
 * @param {number} nColumns How many fill the width.
 */
export function drawWaveform(canvas, columns, nColumns) {
  const { context, width, height } = cleared(canvas);
  const dx = width / nColumns;
  const [whole, clipped] = colours(canvas, ["--accent", "--warn"]);
  columns.forEach(({ low, high }, i) => {
    const top = (height / 2) * (1 - Math.min(high, 1));
    const bottom = (height / 2) * (1 - Math.max(low, -1));
    context.fillStyle = high >= CLIPPED || low <= -CLIPPED ? clipped : whole;
    context.fillRect(width - (columns.length - i) * dx, top, Math.max(dx, 1), Math.max(bottom - top, 1));
  });
}

/**
 * The spectrogram, low bands at the bottom; relative to the loudest value of the last columns.
 * @param {HTMLCanvasElement} canvas
 * @param {Column[]} columns The last ones, at most `nColumns`.
 * @param {number} nColumns How many fill the width.
 * @param {number} [rangeDb] How far below the loudest value the darkest colour is.
 */
export function drawSpectrogram(canvas, columns, nColumns, rangeDb = 70) {
  const { context, width, height } = cleared(canvas);
  const nBands = columns[0]?.bands.length ?? 0;
  if (!nBands) return;
  let peakDb = -50;
  for (const { bands } of columns) for (let b = 0; b < nBands; b++) peakDb = Math.max(peakDb, bands[b]);
  const picture = new ImageData(columns.length, nBands);
  columns.forEach(({ bands }, x) => {
    for (let b = 0; b < nBands; b++) {
      const strength = Math.min(Math.max(1 + (bands[b] - peakDb) / rangeDb, 0), 1);
      picture.data.set(heat(strength), 4 * ((nBands - 1 - b) * columns.length + x));
    }
  });
  const small = new OffscreenCanvas(columns.length, nBands);
  /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d")).putImageData(picture, 0, 0);
  const shown = (width * columns.length) / nColumns;
  context.drawImage(small, width - shown, 0, shown, height);
}

/**
 * A bar for each label, as a list that screen readers read; no bars where nothing is judged.
 * @param {HTMLElement} list
 * @param {string[]} labels In the model's order.
 * @param {Record<string, number>} probabilities
 * @param {string | null} label The one that is named.
 */
export function showProbabilities(list, labels, probabilities, label) {
  if (list.children.length !== labels.length) {
    list.replaceChildren(
      ...labels.map((name, i) => {
        const item = document.createElement("li");
        const [text, meter, number] = ["span", "meter", "span"].map((tag) => document.createElement(tag));
        text.textContent = name;
        meter.setAttribute("aria-label", name);
        item.style.setProperty("--label", `var(--label-${i % N_COLOURS})`);
        item.append(text, meter, number);
        return item;
      }),
    );
  }
  labels.forEach((name, i) => {
    const [text, meter, number] = list.children[i].children;
    const probability = probabilities[name];
    /** @type {HTMLMeterElement} */ (meter).value = probability ?? 0;
    number.textContent = probability === undefined ? "" : probability.toFixed(2);
    text.className = name === label ? "named" : "";
  });
}

/**
 * Probabilities over time: a row for each label, brighter where it is more probable; arousal as a line across.
 * @param {HTMLCanvasElement} canvas
 * @param {Step[]} steps The last ones, at most `nSteps`.
 * @param {string[]} labels
 * @param {number} nSteps How many fill the width.
 */
export function drawHistory(canvas, steps, labels, nSteps) {
  const { context, width, height } = cleared(canvas);
  const [dx, dy] = [width / nSteps, height / labels.length];
  const at = (/** @type {number} */ i) => width - (steps.length - i) * dx;
  const ofLabels = colours(canvas, labels.map((_, i) => `--label-${i % N_COLOURS}`));
  const [ink, quiet] = colours(canvas, ["--ink", "--quiet"]);
  steps.forEach((step, i) => {
    labels.forEach((label, row) => {
      context.globalAlpha = step.paused ? 0 : (step.probabilities[label] ?? 0);
      context.fillStyle = ofLabels[row];
      context.fillRect(at(i), row * dy, dx + 0.5, dy - 1);
    });
  });
  context.globalAlpha = 1;
  context.fillStyle = quiet;
  context.font = `${Math.min(dy - 4, 12)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  labels.forEach((label, row) => context.fillText(label, 4, (row + 0.5) * dy));
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.beginPath();
  steps.forEach((step, i) => {
    if (step.arousal === null) return;
    const y = 1 + (height - 2) * (1 - step.arousal);
    if (steps[i - 1]?.arousal == null || steps[i - 1].utterance !== step.utterance) context.moveTo(at(i), y);
    context.lineTo(at(i) + dx, y);
  });
  context.stroke();
}

/**
 * The latency of each step, as bars; those above the budget in the colour of warnings.
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} latenciesMs The last ones, at most `nSteps`.
 * @param {number} nSteps How many fill the width.
 * @param {number} budgetMs How long a step may take: as long as its audio.
 */
export function drawLatency(canvas, latenciesMs, nSteps, budgetMs) {
  const { context, width, height } = cleared(canvas);
  const most = Math.max(...latenciesMs, 1);
  const [late, quick] = colours(canvas, ["--warn", "--quiet"]);
  latenciesMs.forEach((ms, i) => {
    context.fillStyle = ms > budgetMs ? late : quick;
    const bar = (height * ms) / most;
    context.fillRect(width - (latenciesMs.length - i) * (width / nSteps), height - bar, width / nSteps, bar);
  });
}

/**
 * An empty canvas, as sharp as the screen.
 * @param {HTMLCanvasElement} canvas
 */
function cleared(canvas) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(scale, scale);
  return { context, width, height };
}

/**
 * @param {Element} element
 * @param {string[]} names
 */
function colours(element, names) {
  const style = getComputedStyle(element);
  return names.map((name) => style.getPropertyValue(name));
}

/**
 * From black through violet and orange to pale yellow; red, green, blue and opacity, to 255.
 * @param {number} strength From 0 to 1.
 */
function heat(strength) {
  const stops = [
    [6, 5, 30],
    [84, 15, 109],
    [187, 55, 84],
    [249, 142, 9],
    [252, 255, 190],
  ];
  const place = strength * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  return [...stops[i].map((from, c) => from + (place - i) * (stops[i + 1][c] - from)), 255];
}
