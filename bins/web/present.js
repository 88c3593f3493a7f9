// When and how decoded pictures and sounds reach people.

/** Decoded pictures that wait to be shown at most; decoders have few to give. */
const MAX_PICTURES = 12;
/** A frame that is this much off, in milliseconds, starts the clock anew: the publisher did. */
const JUMP = 2000;
/** So many frames in a row that come after they are due mean that the delay is too short here. */
const LATE_IN_A_ROW = 25;
/** Milliseconds that are added to the delay beyond what those frames lacked. */
const MARGIN = 20;

/** Maps timestamps of media to the time of this page: what comes first is due after `delay` milliseconds, the rest follows. */
export class Clock {
  #delay;
  #offset;
  #late = [];

  constructor(delay) {
    this.#delay = delay;
  }

  /** When a frame with this timestamp, in microseconds, is due, as `performance.now` counts. */
  due(timestamp) {
    const media = timestamp / 1000;
    const now = performance.now();
    const due = media + (this.#offset ?? 0);
    if (this.#offset === undefined || Math.abs(due - now) > JUMP + this.#delay) this.#offset = now + this.#delay - media;
    this.#wait(now - media - this.#offset);
    return media + this.#offset;
  }

  /** Makes the delay longer if everything comes too late, by what the least late frame lacked. */
  #wait(late) {
    if (late <= 0) this.#late = [];
    else if (this.#late.push(late) >= LATE_IN_A_ROW) {
      this.#offset += Math.min(...this.#late) + MARGIN;
      this.#late = [];
    }
  }
}

/** Shows pictures on a canvas. */
export class VideoOut {
  #canvas;
  #clock;
  #queue = [];
  #request;
  shown = 0;
  skipped = 0;

  constructor(canvas, clock) {
    this.#canvas = canvas;
    this.#clock = clock;
  }

  push(frame) {
    this.#queue.push({ frame, due: this.#clock.due(frame.timestamp) });
    while (this.#queue.length > MAX_PICTURES) this.#skip();
    this.#request ??= requestAnimationFrame(() => this.#draw());
  }

  close() {
    cancelAnimationFrame(this.#request);
    for (const { frame } of this.#queue.splice(0)) frame.close();
  }

  #draw() {
    const now = performance.now();
    while (this.#queue.length > 1 && this.#queue[1].due <= now) this.#skip();
    if (this.#queue.length > 0 && this.#queue[0].due <= now) {
      const { frame } = this.#queue.shift();
      this.#canvas.width = frame.displayWidth;
      this.#canvas.height = frame.displayHeight;
      this.#canvas.getContext("2d").drawImage(frame, 0, 0);
      frame.close();
      this.shown += 1;
    }
    this.#request = this.#queue.length > 0 ? requestAnimationFrame(() => this.#draw()) : undefined;
  }

  #skip() {
    this.#queue.shift().frame.close();
    this.skipped += 1;
  }
}

/** Plays sounds. */
export class AudioOut {
  #context = new AudioContext({ latencyHint: "interactive" });
  #clock;
  /** When the last sound ends, as the audio context counts. */
  #end = 0;
  played = 0;
  late = 0;

  constructor(clock) {
    this.#clock = clock;
    this.#context.resume().catch(() => {});
  }

  push(data) {
    const wait = (this.#clock.due(data.timestamp) - performance.now()) / 1000;
    const wanted = this.#context.currentTime + wait;
    // Sounds follow each other without a gap as long as that is about right.
    const at = Math.abs(wanted - this.#end) < 0.05 ? this.#end : wanted;
    if (at < this.#context.currentTime) {
      this.late += 1;
    } else {
      const buffer = this.#copy(data);
      const source = this.#context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.#context.destination);
      source.start(at);
      this.#end = at + buffer.duration;
      this.played += 1;
    }
    data.close();
  }

  close() {
    this.#context.close().catch(() => {});
  }

  #copy(data) {
    const buffer = new AudioBuffer({ length: data.numberOfFrames, numberOfChannels: data.numberOfChannels, sampleRate: data.sampleRate });
    for (let channel = 0; channel < data.numberOfChannels; channel += 1) {
      data.copyTo(buffer.getChannelData(channel), { planeIndex: channel, format: "f32-planar" });
    }
    return buffer;
  }
}
