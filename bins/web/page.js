// What both pages share: the form, the connection, and what they tell people.

import { Session } from "./session.js";

const form = document.getElementById("form");
const start = document.getElementById("start");
const stop = document.getElementById("stop");
const statusLine = document.getElementById("status");
const figureList = document.getElementById("figures");

/**
 * Fills the form with what the relay says of itself and with the page's query, and runs `job` whenever it is submitted.
 * `job` gets the form's values and a promise that resolves when it is to stop. With `?start` in the query it runs at once.
 */
export async function prepare(job) {
  const query = new URLSearchParams(location.search);
  const relay = await fetch("relay.json").then((answer) => (answer.ok ? answer.json() : {}));
  for (const [name, value] of [...Object.entries(relay), ...query]) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(job);
  });
  if (query.has("start")) run(job);
}

async function run(job) {
  start.disabled = true;
  stop.disabled = false;
  const stopped = new Promise((resolve) => (stop.onclick = () => resolve("stopped")));
  try {
    say(await job(Object.fromEntries(new FormData(form)), stopped));
  } catch (error) {
    console.error(error);
    say(error.message, true);
  }
  start.disabled = false;
  stop.disabled = true;
}

/** Tells people what is going on. */
export function say(sentence, failed = false) {
  statusLine.textContent = sentence;
  statusLine.classList.toggle("failed", failed);
}

/** Shows figures by name; they are `window.figures` too, for whoever drives the page. */
export function show(figures) {
  window.figures = figures;
  figureList.replaceChildren(
    ...Object.entries(figures).flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]),
  );
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Connects to the relay that the form names. */
export async function connect({ url, fingerprint }) {
  say(`connecting to ${url} …`);
  const hash = fingerprint.trim();
  const pinned = hash ? Uint8Array.from(hash.match(/[0-9a-f]{2}/gi) ?? [], (byte) => parseInt(byte, 16)) : undefined;
  if (pinned && pinned.length !== 32) throw new Error("a SHA-256 has 64 hexadecimal digits; leave it empty if an authority vouches for the relay");
  // A browser takes a SHA-256 only of certificates that live no longer than two weeks; others need an authority.
  for (const fingerprint of pinned ? [pinned, undefined] : [undefined]) {
    try {
      return await Session.connect(url, fingerprint);
    } catch (error) {
      console.info(`${url} ${fingerprint ? "with" : "without"} the SHA-256: ${error.message}`);
    }
  }
  throw new Error(`${url} cannot be reached; is the relay running, and is the SHA-256 that of its present certificate?`);
}

/** A namespace as people write it, in the fields that go over the wire. */
export function fieldsOf(namespace) {
  return namespace.split("/");
}
