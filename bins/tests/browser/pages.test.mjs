// The parts of the pages that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { audioConfiguration, pack, unpack, videoConfiguration } from "../../web/loc.js";
import { GroupOrder } from "../../web/order.js";
import { Clock } from "../../web/present.js";
import { Cursor, StreamReader, Violation, Writer, message, writePairs } from "../../web/wire.js";

const hex = (text) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const text = (bytes) => Buffer.from(bytes).toString("hex");

test("integers are those of the draft's table", () => {
  const table = {
    25: 37n,
    bbbd: 15293n,
    ed7f3e7d: 226442877n,
    faa1a0e403d8: 2893212287960n,
    fc8998abc66bc0: 151288809941952n,
    fefa318fa8e3ca11: 70423237261249041n,
    ffffffffffffffffff: 2n ** 64n - 1n,
  };
  for (const [bytes, value] of Object.entries(table)) {
    assert.equal(new Cursor(hex(bytes)).varint(), value);
    assert.equal(text(new Writer().varint(value).bytes), bytes);
  }
  assert.equal(new Cursor(hex("8025")).varint(), 37n, "longer than needed is allowed");
});

test("integers around every length come back", () => {
  for (let bits = 0n; bits <= 64n; bits += 1n) {
    for (const value of [2n ** bits - 1n, 2n ** bits, 2n ** bits + 1n]) {
      if (value < 2n ** 64n) assert.equal(new Cursor(new Writer().varint(value).bytes).varint(), value);
    }
  }
});

test("a SUBSCRIBE is that of the draft", () => {
  const filter = new Writer().varint(2).bytes;
  const body = new Writer().varint(0).namespace(["live"]).prefixed("v").varint(1).varint(0x21).prefixed(filter);
  assert.equal(text(message(0x03, body)), "03000d0001046c697665017601210102");
});

test("what is cut short is a violation", () => {
  const whole = new Writer().namespace(["a", "bc"]).bytes;
  for (let length = 0; length < whole.length; length += 1) {
    assert.throws(() => new Cursor(whole.subarray(0, length)).namespace(), Violation);
  }
});

test("values are read from a stream however it is cut", async () => {
  const whole = [...new Writer().varint(300).prefixed("hello").varint(2n ** 60n).bytes];
  for (const size of [1, 2, 3, 100]) {
    const readable = new ReadableStream({
      start(controller) {
        for (let at = 0; at < whole.length; at += size) controller.enqueue(Uint8Array.from(whole.slice(at, at + size)));
        controller.close();
      },
    });
    const reader = new StreamReader(readable);
    assert.equal(await reader.varint(), 300n);
    assert.equal(Buffer.from(await reader.prefixed(5)).toString(), "hello");
    assert.equal(await reader.varint(), 2n ** 60n);
    assert.equal(await reader.isAtEnd(), true);
    await assert.rejects(reader.varint(), Violation);
  }
});

test("a key frame of LOC has the bytes of the format", () => {
  const description = hex("01 42c00d ff");
  const bytes = pack({ kind: "video", isKey: true, timestamp: 5, codec: "avc1.42C00D", description });
  assert.equal(text(bytes), "08cf4240" + "0101e0" + "04050142c00dff" + "0305" + "010b" + text(Buffer.from("avc1.42C00D")));
  const frame = unpack("video", new Cursor(bytes).pairs());
  assert.deepEqual(frame, { kind: "video", isKey: true, timestamp: 5, codec: "avc1.42C00D", description });
  assert.equal(videoConfiguration(frame).codec, "avc1.42C00D");
  assert.equal(videoConfiguration({ ...frame, codec: undefined }).codec, "avc1.42C00D", "from the description");
});

test("other timescales count, and a missing one means microseconds", () => {
  const milliseconds = new Cursor(writePairs([[0x08, 1000], [0x10, 40]])).pairs();
  assert.equal(unpack("audio", milliseconds).timestamp, 40_000);
  const bare = new Cursor(writePairs([[0x10, 40]])).pairs();
  assert.equal(unpack("audio", bare).timestamp, 40);
  assert.equal(unpack("audio", new Map()), undefined, "no LOC");
});

test("an AudioSpecificConfig tells rate and channels", () => {
  const { sampleRate, numberOfChannels } = audioConfiguration({ codec: "mp4a.40.2", description: hex("1210 56e500 0000") });
  assert.deepEqual([sampleRate, numberOfChannels], [44100, 2]);
});

test("groups come out in order, and a missing one is not waited for too long", async () => {
  const out = [];
  const order = new GroupOrder(20, ({ group, object }) => out.push(`${group}.${object}`));
  const push = (group, object) => order.push({ group, object, payload: new Uint8Array(1) });
  push(5, 0);
  push(6, 0);
  push(5, 1);
  order.end(6);
  assert.deepEqual(out, ["5.0", "5.1"]);
  order.end(5);
  assert.deepEqual(out, ["5.0", "5.1", "6.0"]);
  push(8, 0);
  assert.equal(out.length, 3, "7 may still come");
  await new Promise((resolve) => {
    const looked = setInterval(() => out.length > 3 && resolve(clearInterval(looked)), 5);
  });
  assert.equal(out[3], "8.0");
  push(7, 0);
  assert.equal(order.late, 1);
});

test("the clock gives what always comes too late more time, and starts anew when the publisher does", () => {
  const clock = new Clock(100);
  const first = clock.due(0) - performance.now();
  assert.ok(first > 90 && first <= 100, `${first}`);
  // Each frame comes half a second after it was due.
  for (let frame = 0; frame < 25; frame += 1) clock.due(-600_000 + frame);
  const later = clock.due(-600_000) - performance.now();
  assert.ok(later > 0 && later < 100, `${later}`);
  const anew = clock.due(60_000_000) - performance.now();
  assert.ok(anew > 90 && anew <= 100, `${anew}`);
});
