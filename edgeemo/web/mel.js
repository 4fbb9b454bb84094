// @ts-check
/**
 * Log-mel bands of a stream, for the eye: what the shipped models' front end computes first.
 * @module
 */

const FLOOR = 1e-10;
const KNEE_HZ = 1000;
const KNEE_MEL = 15;
const STEP = Math.log(6.4) / 27;

/**
 * One frame of a stream.
 * @typedef {object} Column
 * @property {number} low The smallest of its new samples.
 * @property {number} high The largest.
 * @property {Float32Array} bands dB, from the lowest band to the highest.
 */

/** Frames of a stream: frame t ends at sample (t + 1) * hop_samples, zeros come before the first. */
export class LogMel {
  _recent = new Float32Array(0);
  _nNew = 0;

  /**
   * @param {{ sample_rate: number, n_fft: number, hop_samples: number, n_mels: number, fmin_hz: number, fmax_hz: number }} features
   *   Of a model; a transform whose length is no power of two gets the next one.
   */
  constructor({ sample_rate, n_fft, hop_samples, n_mels, fmin_hz, fmax_hz }) {
    this._hop = hop_samples;
    this._size = 2 ** Math.ceil(Math.log2(Math.max(n_fft, hop_samples)));
    this._hann = Float64Array.from({ length: this._size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this._size));
    this._bands = triangles(sample_rate, this._size, n_mels, fmin_hz, fmax_hz);
    this.reset();
  }

  reset() {
    this._recent = new Float32Array(this._size);
    this._nNew = 0;
  }

  /**
   * Take new audio; give the frames that it completes.
   * @param {Float32Array} audio
   * @returns {Column[]}
   */
  push(audio) {
    const columns = [];
    for (let at = 0; at < audio.length; ) {
      const piece = audio.subarray(at, at + this._hop - this._nNew);
      this._recent.copyWithin(0, piece.length);
      this._recent.set(piece, this._size - piece.length);
      this._nNew += piece.length;
      at += piece.length;
      if (this._nNew === this._hop) {
        this._nNew = 0;
        columns.push(this._column());
      }
    }
    return columns;
  }

  /** @returns {Column} */
  _column() {
    const added = this._recent.subarray(this._size - this._hop);
    const real = Float64Array.from(this._recent, (sample, i) => sample * this._hann[i]);
    const imaginary = new Float64Array(this._size);
    transform(real, imaginary);
    const bands = Float32Array.from(this._bands, ({ first, weights }) => {
      let power = 0;
      for (let i = 0; i < weights.length; i++) power += weights[i] * (real[first + i] ** 2 + imaginary[first + i] ** 2);
      return 10 * Math.log10(Math.max(FLOOR, power));
    });
    return { low: Math.min(...added), high: Math.max(...added), bands };
  }
}

/**
 * Slaney's mel bands, each of the same area.
 * @param {number} rate
 * @param {number} size
 * @param {number} n
 * @param {number} fminHz
 * @param {number} fmaxHz
 */
function triangles(rate, size, n, fminHz, fmaxHz) {
  const [low, high] = [mel(fminHz), mel(fmaxHz)];
  const edges = Array.from({ length: n + 2 }, (_, i) => hertz(low + ((high - low) * i) / (n + 1)));
  return Array.from({ length: n }, (_, band) => {
    const [left, centre, right] = edges.slice(band, band + 3);
    const bins = Array.from({ length: size / 2 + 1 }, (_, bin) => (bin * rate) / size);
    const inside = bins.map((hz) => Math.max(0, Math.min((hz - left) / (centre - left), (right - hz) / (right - centre))));
    const first = Math.max(inside.findIndex((weight) => weight > 0), 0);
    const weights = inside.slice(first).filter((weight) => weight > 0);
    return { first, weights: weights.map((weight) => (2 * weight) / (right - left)) };
  });
}

/** @param {number} hz */
function mel(hz) {
  return hz < KNEE_HZ ? (hz * KNEE_MEL) / KNEE_HZ : KNEE_MEL + Math.log(hz / KNEE_HZ) / STEP;
}

/** @param {number} mels */
function hertz(mels) {
  return mels < KNEE_MEL ? (mels * KNEE_HZ) / KNEE_MEL : KNEE_HZ * Math.exp(STEP * (mels - KNEE_MEL));
}

/**
 * The Fourier transform, in place.
 * @param {Float64Array} real
 * @param {Float64Array} imaginary
 */
function transform(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j], imaginary[i], imaginary[j]] = [real[j], real[i], imaginary[j], imaginary[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const [cos, sin] = [Math.cos((2 * Math.PI * k) / size), -Math.sin((2 * Math.PI * k) / size)];
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const re = real[b] * cos - imaginary[b] * sin;
        const im = real[b] * sin + imaginary[b] * cos;
        [real[b], imaginary[b]] = [real[a] - re, imaginary[a] - im];
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}
