// The microphone's audio, mono, in blocks: all that runs in the audio thread.

const BLOCK_SAMPLES = 1024;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this._block = new Float32Array(BLOCK_SAMPLES);
    this._n = 0;
  }

  process([channels]) {
    for (let i = 0; i < (channels[0]?.length ?? 0); i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this._block[this._n++] = sum / channels.length;
      if (this._n === BLOCK_SAMPLES) {
        this.port.postMessage(this._block, [this._block.buffer]);
        this._block = new Float32Array(BLOCK_SAMPLES);
        this._n = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
