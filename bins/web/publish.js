// Publishes camera and microphone as LOC objects: H.264 and Opus.

import { pack } from "./loc.js";
import { connect, fieldsOf, prepare, say, show } from "./page.js";

const [VIDEO_PRIORITY, AUDIO_PRIORITY] = [200, 100];
/** H.264 constrained baseline, level 3.1: what every browser encodes and decodes. */
const VIDEO_CODEC = "avc1.42E01F";
const AUDIO_BITRATE = 96_000;
/** Pictures that may wait for the encoder; more mean that this machine is too slow. */
const MAX_ENCODING = 4;

/** Microseconds since the Unix epoch, for timestamps that count from the start of a capture. */
class WallClock {
  #offset;

  at(timestamp) {
    this.#offset ??= (performance.timeOrigin + performance.now()) * 1000 - timestamp;
    return timestamp + this.#offset;
  }
}

/** Encodes pictures: a group for each key frame. */
class VideoTrack {
  #track;
  #group;
  #clock = new WallClock();
  #wantsKey = true;
  #lastKey = -Infinity;
  #interval;
  #encoder;
  #description;
  encoded = 0;
  skipped = 0;

  constructor(track, { interval, bitrate }, { width, height, frameRate }, firstGroup, fail) {
    this.#track = track;
    this.#group = firstGroup;
    this.#interval = Number(interval) * 1e6;
    track.onSubscriber = () => (this.#wantsKey = true);
    this.#encoder = new VideoEncoder({
      output: (chunk, { decoderConfig }) => this.#send(chunk, decoderConfig),
      error: (error) => fail(new Error(`the camera's pictures cannot be encoded: ${error.message}`)),
    });
    this.#encoder.configure({
      codec: VIDEO_CODEC,
      width: width & ~1,
      height: height & ~1,
      framerate: frameRate,
      bitrate: Number(bitrate) * 1000,
      latencyMode: "realtime",
      avc: { format: "avc" },
    });
  }

  push(frame) {
    if (this.#encoder.encodeQueueSize > MAX_ENCODING) {
      this.skipped += 1;
    } else {
      const keyFrame = this.#wantsKey || frame.timestamp - this.#lastKey >= this.#interval;
      if (keyFrame) {
        this.#wantsKey = false;
        this.#lastKey = frame.timestamp;
      }
      this.#encoder.encode(frame, { keyFrame });
    }
    frame.close();
  }

  #send(chunk, decoderConfig) {
    this.#description = decoderConfig ? bytesOf(decoderConfig.description) : this.#description;
    const isKey = chunk.type === "key";
    if (isKey) {
      this.#track.startGroup(this.#group);
      this.#group += 1;
    }
    const timestamp = this.#clock.at(chunk.timestamp);
    const properties = pack({ kind: "video", isKey, timestamp, codec: VIDEO_CODEC, description: this.#description });
    this.#track.send(properties, payloadOf(chunk));
    this.encoded += 1;
  }
}

/** Encodes sounds: a group for each packet. */
class AudioTrack {
  #track;
  #group;
  #clock = new WallClock();
  #encoder;
  #description;
  encoded = 0;

  constructor(track, { sampleRate, channelCount }, firstGroup, fail) {
    this.#track = track;
    this.#group = firstGroup;
    this.#encoder = new AudioEncoder({
      output: (chunk, { decoderConfig }) => this.#send(chunk, decoderConfig),
      error: (error) => fail(new Error(`the microphone's sounds cannot be encoded: ${error.message}`)),
    });
    this.#encoder.configure({ codec: "opus", sampleRate, numberOfChannels: channelCount, bitrate: AUDIO_BITRATE });
  }

  push(data) {
    this.#encoder.encode(data);
    data.close();
  }

  #send(chunk, decoderConfig) {
    if (decoderConfig?.description) this.#description = bytesOf(decoderConfig.description);
    const timestamp = this.#clock.at(chunk.timestamp);
    this.#track.startGroup(this.#group);
    this.#group += 1;
    const properties = pack({ kind: "audio", isKey: true, timestamp, codec: "opus", description: this.#description });
    this.#track.send(properties, payloadOf(chunk));
    this.#track.endGroup();
    this.encoded += 1;
  }
}

async function publish(wishes, stopped) {
  say("asking for camera and microphone …");
  const media = await navigator.mediaDevices.getUserMedia({
    video: wishes.video !== "" && { width: 640, height: 360, frameRate: 30 },
    audio: wishes.audio !== "",
  });
  let session;
  let shown;
  const published = [];
  try {
    const picture = document.getElementById("picture");
    picture.srcObject = media;
    await picture.play();
    session = await connect(wishes);
    await session.announce(fieldsOf(wishes.namespace));
    let fail;
    const failed = new Promise((_, reject) => (fail = reject));
    // Later than any group of an earlier run.
    const firstGroup = Date.now();
    for (const source of media.getTracks()) {
      const kind = source.kind;
      const track = session.publish(wishes[kind], { priority: kind === "video" ? VIDEO_PRIORITY : AUDIO_PRIORITY });
      const facts = await factsOf(source);
      const sink = kind === "video" ? new VideoTrack(track, wishes, facts, firstGroup, fail) : new AudioTrack(track, facts, firstGroup, fail);
      published.push([kind, track, sink]);
      feed(source, sink).catch(fail);
    }
    shown = setInterval(() => show(figures(published)), 250);
    say(`publishing in ${wishes.namespace}`);
    return await Promise.race([stopped, session.closed, failed]);
  } finally {
    clearInterval(shown);
    show(figures(published));
    for (const source of media.getTracks()) source.stop();
    await Promise.race([Promise.allSettled(published.map(([, track]) => track.end())), session?.closed]);
    session?.close();
  }
}

/** Gives everything that a camera or a microphone captures to `sink`, until it stops. */
async function feed(source, sink) {
  const reader = new MediaStreamTrackProcessor({ track: source }).readable.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) sink.push(next.value);
}

/** What an encoder must know of a camera or a microphone: what it really captures, which may not be what was asked for. */
async function factsOf(source) {
  const settings = source.getSettings();
  if (source.kind === "video") return settings;
  const probe = source.clone();
  const reader = new MediaStreamTrackProcessor({ track: probe }).readable.getReader();
  const { value: data } = await reader.read();
  probe.stop();
  const facts = { sampleRate: data.sampleRate, channelCount: data.numberOfChannels };
  data.close();
  return facts;
}

function figures(published) {
  const figures = {};
  for (const [kind, track, sink] of published) {
    figures[`${kind} subscribers`] = track.subscribers;
    figures[`${kind} frames`] = sink.encoded;
    figures[`${kind} frames not sent`] = track.dropped + (sink.skipped ?? 0);
  }
  return figures;
}

function payloadOf(chunk) {
  const payload = new Uint8Array(chunk.byteLength);
  chunk.copyTo(payload);
  return payload;
}

function bytesOf(description) {
  return description && new Uint8Array(description instanceof ArrayBuffer ? description.slice(0) : description.buffer.slice(description.byteOffset, description.byteOffset + description.byteLength));
}

prepare(publish);
