// Objects of groups that arrive on streams of their own, put back into order.

/** Bytes that wait for their turn at most. */
const MAX_WAITING = 32 << 20;

/** Gives objects out group by group; a group that does not come or does not end is waited for so long and no longer. */
export class GroupOrder {
  #groups = new Map();
  #current;
  #patience;
  #emit;
  #timer;
  #waiting = 0;
  /** Objects that came after their turn, or for which there was no room. */
  late = 0;

  /** `emit` gets the objects, `patience` is in milliseconds. */
  constructor(patience, emit) {
    this.#patience = patience;
    this.#emit = emit;
  }

  push(object) {
    if (this.#current === undefined) this.#current = object.group;
    if (object.group < this.#current || this.#waiting + object.payload.length > MAX_WAITING) {
      this.late += 1;
    } else if (object.group === this.#current) {
      this.#emit(object);
    } else {
      this.#waiting += object.payload.length;
      this.#group(object.group).objects.push(object);
      this.#arm();
    }
  }

  /** The group's stream has ended. */
  end(group) {
    if (this.#current === undefined || group < this.#current) return;
    this.#group(group).ended = true;
    if (group === this.#current) this.#advance(false);
  }

  #group(number) {
    if (!this.#groups.has(number)) this.#groups.set(number, { objects: [], ended: false });
    return this.#groups.get(number);
  }

  /** Goes on to the next group for as long as it is known that nothing more comes before it; `now`: without knowing. */
  #advance(now) {
    let forced = now;
    for (;;) {
      if (!forced && !this.#groups.get(this.#current)?.ended) break;
      const later = [...this.#groups.keys()].filter((number) => number > this.#current);
      const next = later.length > 0 ? Math.min(...later) : undefined;
      this.#groups.delete(this.#current);
      // Groups need not be numbered without gaps, so the smallest that is here counts as the next.
      this.#current = next ?? this.#current + 1;
      for (const object of this.#groups.get(this.#current)?.objects.splice(0) ?? []) {
        this.#waiting -= object.payload.length;
        this.#emit(object);
      }
      if (next === undefined) break;
      forced = false;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if ([...this.#groups.keys()].some((number) => number > this.#current)) this.#arm();
  }

  #arm() {
    this.#timer ??= setTimeout(() => this.#advance(true), this.#patience);
  }
}
