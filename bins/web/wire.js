// Integers, byte strings and names as draft 18 of MoQT writes them.

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The peer sent something that draft 18 does not allow; `code` is the one to close the session with. */
export class Violation extends Error {
  constructor(message) {
    super(message);
    this.code = 0x3;
  }
}

/** Bytes to send, value by value. */
export class Writer {
  #bytes = new Uint8Array(64);
  #length = 0;

  byte(value) {
    this.#reserve(1)[0] = value;
    return this;
  }

  /** An integer of up to 64 bits, a Number or a BigInt; as many leading ones as bytes follow (§ Variable-Length Integers). */
  varint(value) {
    let rest = BigInt(value);
    let extra = 0;
    while (extra < 8 && rest >> BigInt(7 * (extra + 1))) extra += 1;
    const to = this.#reserve(extra + 1);
    for (let index = extra; index > 0; index -= 1) {
      to[index] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    to[0] = ((0xff00 >> extra) & 0xff) | (extra < 8 ? Number(rest) : 0);
    return this;
  }

  raw(bytes) {
    this.#reserve(bytes.length).set(bytes);
    return this;
  }

  /** A length, then that many bytes; text is written as UTF-8. */
  prefixed(value) {
    const bytes = typeof value === "string" ? encoder.encode(value) : value;
    return this.varint(bytes.length).raw(bytes);
  }

  namespace(fields) {
    this.varint(fields.length);
    for (const field of fields) this.prefixed(field);
    return this;
  }

  get bytes() {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(more) {
    if (this.#length + more > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + more));
      grown.set(this.bytes);
      this.#bytes = grown;
    }
    this.#length += more;
    return this.#bytes.subarray(this.#length - more, this.#length);
  }
}

/** A control message: type, 16-bit length, body. */
export function message(type, body) {
  const { bytes } = body;
  return new Writer().varint(type).byte(bytes.length >> 8).byte(bytes.length & 0xff).raw(bytes).bytes;
}

/** Reads values from bytes that are all there. */
export class Cursor {
  constructor(bytes) {
    this.rest = bytes;
  }

  get isEmpty() {
    return this.rest.length === 0;
  }

  byte() {
    return this.raw(1)[0];
  }

  varint() {
    return varintOf(this.raw(this.isEmpty ? 1 : varintLength(this.rest[0])));
  }

  raw(length) {
    if (this.rest.length < length) throw new Violation("a message is shorter than it says");
    const bytes = this.rest.subarray(0, length);
    this.rest = this.rest.subarray(length);
    return bytes;
  }

  prefixed() {
    return this.raw(toLength(this.varint()));
  }

  text() {
    return decoder.decode(this.prefixed());
  }

  namespace() {
    const fields = [];
    for (let left = toLength(this.varint()); left > 0; left -= 1) fields.push(this.text());
    return fields;
  }

  /** Key-value pairs to the end: even keys have integers, odd ones bytes (§ Key-Value-Pair Structure). */
  pairs() {
    const pairs = new Map();
    let key = 0;
    while (!this.isEmpty) {
      key += toLength(this.varint());
      pairs.set(key, key % 2 === 0 ? this.varint() : this.prefixed());
    }
    return pairs;
  }
}

/** Writes key-value pairs, an iterable of [key, value]. */
export function writePairs(pairs) {
  const writer = new Writer();
  let previous = 0;
  for (const [key, value] of [...pairs].sort(([a], [b]) => a - b)) {
    writer.varint(key - previous);
    previous = key;
    if (key % 2 === 0) writer.varint(value);
    else writer.prefixed(value);
  }
  return writer.bytes;
}

/** Reads values from a stream, waiting for them. */
export class StreamReader {
  #reader;
  #bytes = new Uint8Array();

  constructor(readable) {
    this.#reader = readable.getReader();
  }

  /** Whether the stream ended here; waits until that is known. */
  async isAtEnd() {
    return !(await this.#fill(1));
  }

  async byte() {
    return (await this.raw(1))[0];
  }

  async varint() {
    await this.#need(1);
    return varintOf(await this.raw(varintLength(this.#bytes[0])));
  }

  async raw(length) {
    await this.#need(length);
    const bytes = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return bytes;
  }

  /** A length of at most `max`, then that many bytes. */
  async prefixed(max) {
    const length = toLength(await this.varint());
    if (length > max) throw new Violation(`${length} bytes are more than the ${max} that are taken here`);
    return this.raw(length);
  }

  /** The next control message, or undefined at the end of the stream. */
  async message() {
    if (await this.isAtEnd()) return undefined;
    const type = toLength(await this.varint());
    const [high, low] = await this.raw(2);
    return { type, body: new Cursor(await this.raw(high * 256 + low)) };
  }

  cancel(code) {
    return this.#reader.cancel(streamError(code)).catch(() => {});
  }

  async #need(length) {
    if (!(await this.#fill(length))) throw new Violation("a stream ended in the middle of a value");
  }

  async #fill(length) {
    const chunks = [this.#bytes];
    let have = this.#bytes.length;
    while (have < length) {
      const { value, done } = await this.#reader.read();
      if (done) break;
      chunks.push(value);
      have += value.length;
    }
    if (chunks.length > 1) {
      const joined = new Uint8Array(have);
      let at = 0;
      for (const chunk of chunks) {
        joined.set(chunk, at);
        at += chunk.length;
      }
      this.#bytes = joined;
    }
    return have >= length;
  }
}

/** What a stream is abandoned with. */
export function streamError(code) {
  return new WebTransportError("", { source: "stream", streamErrorCode: code });
}

/** An integer as a Number; those that do not fit are no lengths, keys or ids that this page could work with. */
export function toLength(value) {
  if (value > MAX_SAFE) throw new Violation(`${value} is too large`);
  return Number(value);
}

function varintLength(first) {
  return Math.clz32(~first & 0xff) - 24 + 1;
}

function varintOf(bytes) {
  const extra = bytes.length - 1;
  let value = extra < 8 ? BigInt(bytes[0] & (0x7f >> extra)) : 0n;
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte);
  return value;
}
