// Media frames as objects of draft-ietf-moq-loc-04: the payload is what WebCodecs makes, the rest are properties.

import { toLength, writePairs } from "./wire.js";

const [TIMESCALE, FRAME_MARKING, VIDEO_CONFIG, AUDIO_CONFIG, TIMESTAMP, CODEC] = [0x08, 0x09, 0x0d, 0x0f, 0x10, 0x11];
/** RFC 9626: start and end of a frame, and whether it needs no other. */
const [KEY_FRAME, DELTA_FRAME] = [0xe0, 0xc0];
const INDEPENDENT = 0x20;
const MICROSECONDS = 1_000_000n;

const SAMPLE_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/** The properties of a frame; `timestamp` is in microseconds. The codec and its description go with every key frame. */
export function pack({ kind, isKey, timestamp, codec, description }) {
  const properties = [
    [TIMESCALE, MICROSECONDS],
    [TIMESTAMP, BigInt(Math.round(timestamp))],
  ];
  if (kind === "video") properties.push([FRAME_MARKING, new Uint8Array([isKey ? KEY_FRAME : DELTA_FRAME])]);
  if (isKey) properties.push([CODEC, new TextEncoder().encode(codec)]);
  if (isKey && description) properties.push([kind === "video" ? VIDEO_CONFIG : AUDIO_CONFIG, description]);
  return writePairs(properties);
}

/** The opposite of `pack`, or undefined if these are no properties of LOC. */
export function unpack(kind, properties) {
  const timestamp = properties.get(TIMESTAMP);
  if (timestamp === undefined) return undefined;
  const timescale = properties.get(TIMESCALE) || MICROSECONDS;
  const marking = properties.get(FRAME_MARKING);
  const description = properties.get(kind === "video" ? VIDEO_CONFIG : AUDIO_CONFIG);
  const codec = properties.get(CODEC);
  return {
    kind,
    isKey: kind === "audio" || (marking?.length ? (marking[0] & INDEPENDENT) !== 0 : description !== undefined),
    timestamp: toLength((timestamp * MICROSECONDS) / timescale),
    codec: codec ? new TextDecoder().decode(codec) : undefined,
    description,
  };
}

/** What a VideoDecoder is told, or undefined if the frame does not say. */
export function videoConfiguration({ codec, description }) {
  const isAvc = description?.[0] === 1 && (codec === undefined || codec.startsWith("avc"));
  if (!codec && !isAvc) return undefined;
  const profile = () => `avc1.${[...description.subarray(1, 4)].map(hexadecimal).join("")}`;
  const configuration = { codec: codec ?? profile(), optimizeForLatency: true };
  // VP9 and AV1 have everything in the frames.
  if (description && /^(avc|hvc|hev)/.test(configuration.codec)) configuration.description = description;
  return configuration;
}

/** What an AudioDecoder is told, or undefined if the frame does not say. */
export function audioConfiguration({ codec, description }) {
  if (!codec || !description) return undefined;
  if (codec === "opus" && description.length >= 10) {
    return { codec, sampleRate: 48000, numberOfChannels: description[9] };
  }
  if (codec.startsWith("mp4a") && description.length >= 2) {
    const bits = (description[0] << 8) | description[1];
    const index = (bits >> 7) & 0xf;
    const sampleRate = SAMPLE_RATES[index] ?? 48000;
    return { codec, sampleRate, numberOfChannels: (bits >> 3) & 0xf || 2, description };
  }
  return { codec, sampleRate: 48000, numberOfChannels: 2, description };
}

function hexadecimal(byte) {
  return byte.toString(16).padStart(2, "0").toUpperCase();
}
