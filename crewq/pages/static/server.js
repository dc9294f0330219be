// What the pages ask of Flower. Every answer is JSON, errors too: `message` is one of crewq's own.

const page = document.getElementById("crewq");

export const base = page.dataset.base;
export const readOnly = page.dataset.readOnly === "yes";

/** An error that a person is shown as it is. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function get(path) {
  return read(await fetch(`${base}/api${path}`, { headers: { Accept: "application/json" } }));
}

/** Press a button: the token shows that it was pressed on a page of ours. */
export async function act(path, body = {}) {
  return read(
    await fetch(`${base}/api${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-XSRFToken": page.dataset.xsrf },
      body: JSON.stringify(body),
    }),
  );
}

async function read(answer) {
  let facts;
  try {
    facts = await answer.json();
  } catch {
    throw new Refused(`Flower answers with ${answer.status} ${answer.statusText}.`, answer.status);
  }
  if (!answer.ok) throw new Refused(facts.message, answer.status);
  return facts;
}

/**
 * Ask again and again, while somebody looks.
 * @param {() => Promise<number>} ask answers how many milliseconds to wait; 0: never again
 */
export function keepAsking(ask) {
  let waiting;
  let busy = false;
  async function round() {
    clearTimeout(waiting);
    if (busy || document.hidden) return;
    busy = true;
    let pause = 5000;
    try {
      pause = await ask();
    } finally {
      busy = false;
      if (pause) waiting = setTimeout(round, pause);
    }
  }
  document.addEventListener("visibilitychange", round);
  round();
  return round;
}

/**
 * The events of a run, from the beginning. While nobody looks at the page the connection is given back, as a browser has
 * few; then it goes on after the last event. It does so by itself after a break, with Last-Event-ID.
 */
export function follow(run, heard, ended) {
  let source;
  let last = "";
  let over = false;
  function listen() {
    source = new EventSource(`${base}/api/runs/${run}/events${last ? `?after=${last}` : ""}`);
    source.onmessage = (message) => {
      last = message.lastEventId;
      heard(JSON.parse(message.data));
    };
    for (const word of ["end", "gone"]) {
      source.addEventListener(word, () => {
        over = true;
        source.close();
        ended(word);
      });
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(() => !over && !document.hidden && listen(), 2000);
    };
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (!over && source.readyState === EventSource.CLOSED) listen();
  });
  listen();
  return () => {
    if (!over) return;
    over = false;
    listen(); // a run that had ended goes on
  };
}
