// Plays a video track and an audio track of LOC objects.

import { audioConfiguration, unpack, videoConfiguration } from "./loc.js";
import { GroupOrder } from "./order.js";
import { connect, fieldsOf, prepare, say, show } from "./page.js";
import { AudioOut, Clock, VideoOut } from "./present.js";

/** How long a group may keep later ones waiting, in milliseconds. */
const PATIENCE = 300;
/** Frames that may wait for a decoder; more mean that this machine is too slow. */
const MAX_DECODING = 60;

/** Decodes the objects of one track. */
class Track {
  #kind;
  #decoder;
  #configured = "";
  #order;
  #needsKey = true;
  received = 0;
  decoded = 0;
  dropped = 0;
  /** Microseconds that the newest frame was under way, if its timestamps are those of a clock. */
  age;

  constructor(kind, output, fail) {
    this.#kind = kind;
    this.#order = new GroupOrder(PATIENCE, (object) => this.#decode(object));
    const callbacks = {
      output: (frame) => {
        this.decoded += 1;
        output(frame);
      },
      error: (error) => fail(new Error(`the ${kind} cannot be decoded: ${error.message}`)),
    };
    this.#decoder = kind === "video" ? new VideoDecoder(callbacks) : new AudioDecoder(callbacks);
  }

  get late() {
    return this.#order.late;
  }

  push(object) {
    this.received += 1;
    this.#order.push(object);
  }

  endGroup(group) {
    this.#order.end(group);
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }

  #decode({ object, properties, payload }) {
    const frame = unpack(this.#kind, properties);
    if (frame === undefined || this.#decoder.state === "closed") {
      this.dropped += 1;
      return;
    }
    // A group starts with a key frame; in the middle of one nothing can be decoded.
    if (this.#kind === "video" && object === 0n) this.#needsKey = true;
    if (frame.isKey) this.#configure(frame);
    const isHopeless = this.#needsKey && !frame.isKey;
    const isSlow = this.#kind === "video" && this.#decoder.decodeQueueSize > MAX_DECODING;
    if (this.#decoder.state !== "configured" || isHopeless || isSlow) {
      this.#needsKey = true;
      this.dropped += 1;
      return;
    }
    this.#needsKey = false;
    this.age = Date.now() * 1000 - frame.timestamp;
    const Chunk = this.#kind === "video" ? EncodedVideoChunk : EncodedAudioChunk;
    this.#decoder.decode(new Chunk({ type: frame.isKey ? "key" : "delta", timestamp: frame.timestamp, data: payload }));
  }

  #configure(frame) {
    const configuration = this.#kind === "video" ? videoConfiguration(frame) : audioConfiguration(frame);
    if (configuration === undefined) return;
    const text = JSON.stringify({ ...configuration, description: [...(configuration.description ?? [])] });
    if (text === this.#configured) return;
    this.#configured = text;
    this.#decoder.configure(configuration);
  }
}

async function play(wishes, stopped) {
  const session = await connect(wishes);
  const clock = new Clock(Number(wishes.delay));
  const video = new VideoOut(document.getElementById("picture"), clock);
  const audio = new AudioOut(clock);
  let fail;
  const failed = new Promise((_, reject) => (fail = reject));
  const tracks = [];
  const ends = [];
  const shown = setInterval(() => show(figures(tracks, video, audio)), 250);
  try {
    for (const [kind, output] of [["audio", audio], ["video", video]]) {
      const name = wishes[kind];
      if (!name) continue;
      say(`asking for ${name} …`);
      const track = new Track(kind, (frame) => output.push(frame), fail);
      tracks.push([kind, track]);
      const subscription = await session.subscribe(fieldsOf(wishes.namespace), name, {
        onObject: (object) => track.push(object),
        onGroupEnd: (group) => track.endGroup(group),
      });
      ends.push(subscription.ended.then((reason) => `${name}: ${reason}`));
    }
    say("playing");
    const over = Promise.all(ends).then((reasons) => reasons.join("; "));
    return await Promise.race([stopped, over, session.closed, failed]);
  } finally {
    clearInterval(shown);
    show(figures(tracks, video, audio));
    session.close();
    for (const [, track] of tracks) track.close();
    video.close();
    audio.close();
  }
}

function figures(tracks, video, audio) {
  const figures = {};
  for (const [kind, track] of tracks) {
    figures[`${kind} objects`] = track.received;
    figures[`${kind} decoded`] = track.decoded;
    figures[`${kind} dropped`] = track.dropped + track.late;
    // Timestamps that count from the start of a file say nothing about the delay.
    if (track.age !== undefined && Math.abs(track.age) < 60e6) figures[`${kind} age in ms`] = Math.round(track.age / 1000);
  }
  return { ...figures, "pictures shown": video.shown, "pictures skipped": video.skipped, "sounds played": audio.played, "sounds too late": audio.late };
}

prepare(play);
