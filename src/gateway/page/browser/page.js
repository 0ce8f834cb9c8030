import { render } from "preact";
import { figures, health, lists } from "./views.js";

/** Keeps the first page up to date, and shows an answer as it comes. Everything else works without scripts. */
const live = document.querySelector("#figures");
const state = document.querySelector("#state");
const connection = document.querySelector("#connection");

const POLL_MS = 5000;
/** Milliseconds without a word after which server-sent events do not get through, as behind some proxies. */
const SILENT_MS = 5000;

let plots;
async function show(next) {
  render(health(next), state);
  render(figures(next), live);
  render(lists(next), document.querySelector("#lists"));
  plots ??= await import("./plots.js");
  plots.draw(next.minutes);
}

let source;
let polling;
let silence;

function listen() {
  stop();
  source = new EventSource("events");
  wait();
  source.addEventListener("open", wait);
  source.addEventListener("status", (event) => {
    wait();
    say("Live");
    void show(JSON.parse(event.data));
  });
  source.addEventListener("same", wait);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) return poll();
    // The browser connects again by itself.
    clearTimeout(silence);
    say("Connection lost, trying again");
  });
}

function wait() {
  clearTimeout(silence);
  silence = setTimeout(poll, SILENT_MS);
}

function poll() {
  stop();
  const again = async () => {
    try {
      const response = await fetch("status.json", { cache: "no-store" });
      if (!response.ok) throw new Error(response.statusText);
      await show(await response.json());
      say("Every 5 s");
    } catch {
      say("Connection lost, trying again");
    }
    if (polling !== undefined) polling = setTimeout(again, POLL_MS);
  };
  polling = 0;
  void again();
}

function stop() {
  source?.close();
  source = undefined;
  clearTimeout(silence);
  clearTimeout(polling);
  polling = undefined;
}

function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
}

if (live !== null) {
  listen();
  // A page in the background takes no connection from others.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
}

const form = document.querySelector("#ask");
const answer = document.querySelector("#answer");

async function ask() {
  const button = form.querySelector("button");
  button.disabled = true;
  answer.hidden = false;
  answer.setAttribute("aria-busy", "true");
  const text = answer.querySelector(".text");
  const note = answer.querySelector(".note");
  text.textContent = "";
  note.textContent = "Waiting for the answer";
  try {
    await read(new URLSearchParams(new FormData(form)), (part) => {
      if (part.restart) text.textContent = "";
      if (part.text) text.append(part.text);
      if (part.error) note.textContent = part.error;
      else if (part.done) note.textContent = part.done;
    });
  } catch {
    note.textContent = "The connection to the gateway was lost.";
  }
  answer.setAttribute("aria-busy", "false");
  button.disabled = false;
}

/** The parts of an answer, one JSON object a line. */
async function read(body, take) {
  const headers = { accept: "application/x-ndjson" };
  const response = await fetch("ask", { method: "POST", body, headers });
  let rest = "";
  for await (const chunk of chunksOf(response.body.pipeThrough(new TextDecoderStream()))) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line !== "") take(JSON.parse(line));
  }
}

/** Not every browser iterates over streams. */
async function* chunksOf(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

if (form !== null) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask();
  });
  form.querySelector("textarea").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
