// One MoQT session of draft 18 over WebTransport: enough of it to subscribe to tracks and to publish some.

import { Cursor, StreamReader, Violation, Writer, message, streamError, toLength, writePairs } from "./wire.js";

const SETUP = 0x2f00;
const PADDING = 0x132b3e28;
const FETCH_HEADER = 0x05;
const [REQUEST_UPDATE, SUBSCRIBE, SUBSCRIBE_OK, REQUEST_ERROR] = [0x02, 0x03, 0x04, 0x05];
const [PUBLISH_NAMESPACE, REQUEST_OK, PUBLISH_DONE, GOAWAY] = [0x06, 0x07, 0x0b, 0x10];

const [FORWARD, SUBSCRIPTION_FILTER] = [0x10, 0x21];
const LARGEST_OBJECT = 0x2;
const [NOT_SUPPORTED, DOES_NOT_EXIST] = [0x3, 0x10];
const TRACK_ENDED = 0x2;
const [CANCELLED, TOO_FAR_BEHIND] = [0x1, 0x5];
const END_OF_GROUP = 0x3;
const INTERNAL_ERROR = 0x1;

/** Bytes of an object's payload that are taken at most. */
const MAX_PAYLOAD = 16 << 20;
/** Bytes of an object's properties, as the drafts bound them. */
const MAX_PROPERTIES = 0xffff;
/** Bytes that may wait for the network in a group before the rest of the group is given up. */
const MAX_WAITING = 4 << 20;
/** Groups of a subscription that may be on their way at once. */
const MAX_GROUPS = 64;
/** Streams that may wait for the answer to the SUBSCRIBE which they belong to. */
const MAX_EARLY_STREAMS = 32;

/** A request that was refused, in words. */
export class Refused extends Error {}

export class Session {
  #transport;
  #nextRequest = 0n;
  #nextAlias = 1n;
  /** Tracks that are subscribed to, by alias; a promise of none while the answer is on its way. */
  #subscribed = new Map();
  /** Streams that came before the answer which names their alias. */
  #early = new Map();
  /** Tracks that are published here, by name. */
  #published = new Map();
  #namespace = [];

  /** Resolves when the session is over, with a sentence. */
  closed;

  /**
   * Opens a session. `fingerprint` is the SHA-256 of the server's certificate, or undefined if an authority vouches for it.
   */
  static async connect(url, fingerprint) {
    const options = { protocols: ["moqt-18"], congestionControl: "low-latency" };
    if (fingerprint) options.serverCertificateHashes = [{ algorithm: "sha-256", value: fingerprint }];
    const transport = new WebTransport(url, options);
    transport.closed.catch(() => {});
    await transport.ready;
    const session = new Session(transport);
    await session.#begin();
    return session;
  }

  constructor(transport) {
    this.#transport = transport;
    this.closed = transport.closed.then(
      ({ closeCode, reason }) => `closed with code 0x${(closeCode ?? 0).toString(16)} ${reason ?? ""}`.trim(),
      (error) => `lost: ${error.message}`,
    );
  }

  close() {
    this.#transport.close({ closeCode: 0, reason: "" });
  }

  /**
   * Subscribes to a track from its next object on. `onObject` gets each object as it arrives: { group, subgroup, object,
   * properties, payload }, in order within a group; `onGroupEnd` the number of a group whose stream has ended. Resolves when
   * the publisher agreed, to { ended, cancel }: `ended` resolves to the reason once the track is over.
   */
  async subscribe(namespace, name, { onObject, onGroupEnd }) {
    const filter = new Writer().varint(LARGEST_OBJECT).bytes;
    const request = await this.#request(SUBSCRIBE, (body) =>
      body.namespace(namespace).prefixed(name).varint(1).varint(SUBSCRIPTION_FILTER).prefixed(filter),
    );
    const answer = await request.answer(SUBSCRIBE_OK);
    const alias = answer.varint();
    const track = { onObject, onGroupEnd };
    this.#subscribed.set(alias, track);
    for (const resume of this.#early.get(alias) ?? []) resume(track);
    this.#early.delete(alias);
    const ended = this.#untilDone(request).finally(() => this.#subscribed.delete(alias));
    return { ended, cancel: () => request.cancel(CANCELLED) };
  }

  /** Announces a namespace; the tracks that `publish` adds are then to be had from here. */
  async announce(namespace) {
    this.#namespace = namespace;
    const request = await this.#request(PUBLISH_NAMESPACE, (body) => body.namespace(namespace).varint(0));
    await request.answer(REQUEST_OK);
  }

  /** A track in the announced namespace. */
  publish(name, { priority }) {
    const track = new PublishedTrack(priority);
    this.#published.set(name, track);
    return track;
  }

  async #begin() {
    const options = writePairs([[0x07, new TextEncoder().encode("oxymoq web")]]);
    const control = await this.#transport.createUnidirectionalStream({ waitUntilAvailable: true });
    // Kept for the whole session: ending it would end the session.
    this.control = control.getWriter();
    await this.control.write(message(SETUP, new Writer().raw(options)));
    this.#guard(this.#acceptStreams());
    this.#guard(this.#acceptRequests());
  }

  /** Whatever goes wrong in `task` ends the session, if it has not ended yet. */
  #guard(task) {
    task.catch((error) => {
      if (error instanceof WebTransportError) return;
      console.error(error);
      try {
        this.#transport.close({ closeCode: error.code ?? INTERNAL_ERROR, reason: error.message.slice(0, 200) });
      } catch {
        // It was closed already.
      }
    });
  }

  async #request(type, write) {
    const stream = await this.#transport.createBidirectionalStream({ waitUntilAvailable: true });
    const id = this.#nextRequest;
    this.#nextRequest += 2n;
    const body = new Writer().varint(id);
    write(body);
    const request = new OwnRequest(stream);
    await request.writer.write(message(type, body));
    return request;
  }

  async #untilDone(request) {
    for (;;) {
      const next = await request.reader.message().catch(() => undefined);
      if (next === undefined) return "the subscription was dropped";
      if (next.type === PUBLISH_DONE) {
        const status = next.body.varint();
        next.body.varint();
        const reason = next.body.text();
        return status === BigInt(TRACK_ENDED) ? "the track ended" : `over with status 0x${status.toString(16)} ${reason}`;
      }
    }
  }

  async #acceptStreams() {
    for await (const stream of this.#transport.incomingUnidirectionalStreams) {
      this.#guard(this.#read(new StreamReader(stream)));
    }
  }

  async #read(reader) {
    if (await reader.isAtEnd()) return;
    const type = toLength(await reader.varint());
    if (type === SETUP) await this.#readControl(reader);
    else if (type === PADDING || type === FETCH_HEADER) await reader.cancel(CANCELLED);
    else if (type < 0x80 && (type & 0x10) !== 0 && (type & 0x06) !== 0x06) await this.#readSubgroup(type, reader);
    else throw new Violation(`there are no streams of type 0x${type.toString(16)}`);
  }

  async #readControl(reader) {
    const [high, low] = await reader.raw(2);
    await reader.raw(high * 256 + low);
    for (;;) {
      const next = await reader.message();
      if (next === undefined) throw new Violation("the control stream ended");
      if (next.type === GOAWAY) console.info("the server is going away");
    }
  }

  async #readSubgroup(type, reader) {
    const alias = await reader.varint();
    const group = toLength(await reader.varint());
    const mode = type & 0x06;
    let subgroup = mode === 0x04 ? await reader.varint() : 0n;
    if ((type & 0x20) === 0) await reader.byte();
    const track = await this.#trackOf(alias);
    if (track === undefined) return reader.cancel(CANCELLED);
    try {
      let object = -1n;
      while (!(await reader.isAtEnd())) {
        const first = object < 0n;
        object += 1n + (await reader.varint());
        if (first && mode === 0x02) subgroup = object;
        const properties = (type & 0x01) === 0 ? new Map() : new Cursor(await reader.prefixed(MAX_PROPERTIES)).pairs();
        const payload = await reader.prefixed(MAX_PAYLOAD);
        const status = payload.length === 0 ? toLength(await reader.varint()) : 0;
        if (status === 0) track.onObject({ group, subgroup, object, properties, payload });
      }
    } catch (error) {
      // A reset ends the group here; the next one goes on.
      if (!(error instanceof WebTransportError)) throw error;
    } finally {
      track.onGroupEnd(group);
    }
  }

  /** The track of that alias; waits for the answer to SUBSCRIBE that may name it, unless too many streams wait already. */
  async #trackOf(alias) {
    const known = this.#subscribed.get(alias);
    if (known) return known;
    const waiting = this.#early.get(alias) ?? [];
    this.#early.set(alias, waiting);
    const all = [...this.#early.values()].reduce((sum, { length }) => sum + length, 0);
    if (all >= MAX_EARLY_STREAMS) return undefined;
    return new Promise((resolve) => waiting.push(resolve));
  }

  async #acceptRequests() {
    for await (const stream of this.#transport.incomingBidirectionalStreams) {
      this.#guard(this.#serve(new StreamReader(stream.readable), stream.writable.getWriter()));
    }
  }

  /** Answers one request of the peer, and stays with it until it is over. */
  async #serve(reader, writer) {
    const first = await reader.message();
    if (first === undefined) return;
    if (first.type !== SUBSCRIBE) return refuse(writer, NOT_SUPPORTED, "this page only publishes tracks to subscribe to");
    first.body.varint();
    const namespace = first.body.namespace();
    const track = this.#published.get(first.body.text());
    const isOurs = namespace.join("\0") === this.#namespace.join("\0");
    if (!isOurs || track === undefined) return refuse(writer, DOES_NOT_EXIST, "this page has no such track");
    const alias = this.#nextAlias;
    this.#nextAlias += 1n;
    const forwards = forwardOf(first.body) ?? true;
    await writer.write(message(SUBSCRIBE_OK, new Writer().varint(alias).varint(0)));
    const subscription = new Subscription(this.#transport, alias, writer, forwards);
    track.add(subscription);
    try {
      for (let next = await reader.message(); next !== undefined; next = await reader.message()) {
        if (next.type !== REQUEST_UPDATE) throw new Violation("only REQUEST_UPDATE may follow a SUBSCRIBE");
        next.body.varint();
        subscription.forwards = forwardOf(next.body) ?? subscription.forwards;
        await writer.write(message(REQUEST_OK, new Writer().varint(0)));
      }
    } catch (error) {
      if (!(error instanceof WebTransportError)) throw error;
    } finally {
      track.remove(subscription);
    }
  }
}

/** A request of this page: a bidirectional stream of its own. */
class OwnRequest {
  constructor(stream) {
    this.writer = stream.writable.getWriter();
    this.reader = new StreamReader(stream.readable);
  }

  /** The body of the answer, if it is one of the type that says yes. */
  async answer(expected) {
    const first = await this.reader.message();
    if (first === undefined) throw new Refused("the request's stream was closed without an answer");
    if (first.type === REQUEST_ERROR) {
      const code = first.body.varint();
      first.body.varint();
      throw new Refused(`refused with code 0x${code.toString(16)}: ${first.body.text()}`);
    }
    if (first.type !== expected) throw new Violation(`message 0x${first.type.toString(16)} is no answer to this request`);
    return first.body;
  }

  cancel(code) {
    this.writer.abort(streamError(code)).catch(() => {});
    this.reader.cancel(code);
  }
}

/** A track of this page: groups of objects, sent to all who subscribe. */
export class PublishedTrack {
  #subscriptions = new Set();
  /** Called for each new subscriber, so that a group can begin for it. */
  onSubscriber = () => {};
  /** Objects that were not sent because the network was too slow. */
  dropped = 0;

  constructor(priority) {
    this.priority = priority;
  }

  get subscribers() {
    return this.#subscriptions.size;
  }

  add(subscription) {
    this.#subscriptions.add(subscription);
    this.onSubscriber();
  }

  remove(subscription) {
    this.#subscriptions.delete(subscription);
    subscription.abandon();
  }

  /** Begins a group; the one before it ends. */
  startGroup(group) {
    for (const subscription of this.#subscriptions) subscription.startGroup(group, this.priority);
  }

  /** Adds an object to the group. */
  send(properties, payload) {
    for (const subscription of this.#subscriptions) {
      if (!subscription.send(properties, payload)) this.dropped += 1;
    }
  }

  endGroup() {
    for (const subscription of this.#subscriptions) subscription.endGroup();
  }

  /** No objects will follow. */
  async end() {
    this.endGroup();
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.end()));
  }
}

/** Somebody's subscription to a track of this page. */
class Subscription {
  #transport;
  #alias;
  #request;
  #group;
  /** Groups on their way. */
  #open = new Set();
  #streams = 0n;

  constructor(transport, alias, request, forwards) {
    this.#transport = transport;
    this.#alias = alias;
    this.#request = request;
    this.forwards = forwards;
  }

  startGroup(group, priority) {
    this.endGroup();
    if (!this.forwards || this.#open.size >= MAX_GROUPS) return;
    this.#streams += 1n;
    // Subgroup 0, from its first object on, with properties.
    const header = new Writer().varint(0x51).varint(this.#alias).varint(group).byte(priority).bytes;
    const stream = new GroupStream(this.#transport, header, priority);
    this.#open.add(stream);
    stream.over.then(() => this.#open.delete(stream));
    this.#group = stream;
  }

  /** False if the object is not sent. */
  send(properties, payload) {
    return !this.forwards || (this.#group?.send(properties, payload) ?? false);
  }

  endGroup() {
    this.#group?.end();
    this.#group = undefined;
  }

  abandon() {
    for (const stream of this.#open) stream.abandon(CANCELLED);
    this.#group = undefined;
  }

  async end() {
    this.endGroup();
    await Promise.all([...this.#open].map(({ over }) => over));
    const body = new Writer().varint(TRACK_ENDED).varint(this.#streams).prefixed("");
    await this.#request.write(message(PUBLISH_DONE, body));
    await this.#request.close();
  }
}

/** The stream of one group: subgroup 0, every object with properties. */
class GroupStream {
  #writer;
  #waiting = 0;
  #gone = false;

  /** Resolves when the stream has ended, one way or another. */
  over;

  constructor(transport, header, priority) {
    // Streams with a higher order go first; in MoQT, a lower priority does.
    const options = { waitUntilAvailable: true, sendOrder: 255 - priority };
    this.#writer = transport.createUnidirectionalStream(options).then((stream) => stream.getWriter());
    this.over = this.#writer.then(({ closed }) => closed).catch(() => {});
    this.over.then(() => (this.#gone = true));
    this.#write(header);
  }

  send(properties, payload) {
    if (this.#gone) return false;
    if (this.#waiting > MAX_WAITING) {
      this.abandon(TOO_FAR_BEHIND);
      return false;
    }
    const object = new Writer().varint(0).prefixed(properties).varint(payload.length);
    if (payload.length === 0) object.varint(0);
    this.#write(object.raw(payload).bytes);
    return true;
  }

  /** Ends the group as complete. */
  end() {
    if (this.#gone) return;
    this.#gone = true;
    this.#write(new Writer().varint(0).prefixed(new Uint8Array()).varint(0).varint(END_OF_GROUP).bytes);
    this.#writer.then((writer) => writer.close()).catch(() => {});
  }

  abandon(code) {
    this.#gone = true;
    this.#writer.then((writer) => writer.abort(streamError(code))).catch(() => {});
  }

  #write(bytes) {
    this.#waiting += bytes.length;
    const written = () => (this.#waiting -= bytes.length);
    this.#writer.then((writer) => writer.write(bytes)).then(written, written);
  }
}

/** The FORWARD parameter of a request, if there is one. Reads the parameters that a subscriber may send (§ Message Parameters). */
function forwardOf(body) {
  let forward;
  let type = 0;
  for (let left = toLength(body.varint()); left > 0; left -= 1) {
    type += toLength(body.varint());
    if (type === FORWARD) forward = body.byte() !== 0;
    else if (type === 0x20 || type === 0x22) body.byte();
    else if (type === 0x03 || type === SUBSCRIPTION_FILTER) body.prefixed();
    else if ([0x02, 0x04, 0x06, 0x32].includes(type)) body.varint();
    else throw new Violation(`a SUBSCRIBE has no parameter 0x${type.toString(16)}`);
  }
  return forward;
}

async function refuse(writer, code, reason) {
  await writer.write(message(REQUEST_ERROR, new Writer().varint(code).varint(0).prefixed(reason)));
  await writer.close();
}
