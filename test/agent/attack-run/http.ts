import assert from "node:assert/strict";
import { connect } from "node:net";
import { until } from "../../support/until.ts";
import { played } from "../scenario-run.ts";
import { assertHolds, holds } from "../scenario.ts";
import type { HttpStep } from "./attack.ts";
import type { Scene } from "./scene.ts";
import { askIn } from "./steps.ts";

/** Sends requests to the gateway's port all at once, over sockets: a client of HTTP would repair some of them. */
export async function send(step: HttpStep, scene: Scene, port: number): Promise<void> {
  const { server } = scene;
  const faults: unknown[] = [];
  const from = server.requests.length;
  server.script(...step.model.map((one) => played(one, faults)));
  const sent = { count: 0, ended: 0 };
  const leave = new AbortController();
  const way = { port, sent, signal: leave.signal };
  const answers = Array.from({ length: step.times }, () => sendOne(step, way));
  if (step.meanwhile !== undefined) {
    await until("all of them are open", () => sent.count === step.times);
    if (step.isFull !== undefined) {
      const probe = { ...step, sends: "GET /health", headers: {}, body: "" };
      const answer = await sendOne(probe, { ...way, sent: { count: 0, ended: 0 } });
      assert.equal(answer === "", step.isFull, "one more");
    }
    await askIn(step.meanwhile, scene);
  }
  const left = typeof step.status === "number" ? 0 : (step.status[OPEN] ?? 0);
  if (left > 0) {
    await until("the others are answered", () => sent.ended === step.times - left);
    leave.abort();
  }
  const texts = await Promise.all(answers);
  await until("the model was asked all of it", () => {
    return faults.length > 0 || server.requests.length >= from + step.model.length;
  });
  if (faults.length > 0) throw faults[0];
  checkStatuses(texts, step);
  for (const text of texts) {
    assertHolds(text, step.hears, `the answer to ${step.sends}`);
    for (const word of step.not) assert.ok(!holds(text, word), `${word} was said: ${text}`);
  }
}

function checkStatuses(texts: readonly string[], { status, sends, times }: HttpStep): void {
  const found = texts.map((text) =>
    text === OPEN ? text : (/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? "closed"),
  );
  const expected = typeof status === "number" ? { [status]: times } : status;
  const counted = Object.keys(expected).map((codes) => [
    codes,
    found.filter((code) => codes.split(" or ").includes(code)).length,
  ]);
  assert.deepEqual(Object.fromEntries(counted), expected, `${sends}: ${texts[0]}`);
}

const PIECE_MS = 200;
/** In place of an answer: the client closed the connection before one came. */
const OPEN = "open";

interface Way {
  readonly port: number;
  readonly sent: { count: number; ended: number };
  readonly signal: AbortSignal;
}

/** All that the gateway sends until it closes the connection. */
function sendOne({ sends, headers, body }: HttpStep, { port, sent, signal }: Way): Promise<string> {
  const isEndless = body === true;
  const head = (lines: string): string =>
    `${sends} HTTP/1.1\r\n${lines}${body === false ? "" : "\r\n"}`;
  const text = typeof body === "number" ? "x".repeat(body) : typeof body === "string" ? body : "";
  const all = {
    host: `localhost:${port}`,
    connection: "close",
    ...(isEndless ? { "transfer-encoding": "chunked" } : { "content-length": text.length }),
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(head(lines.join("")) + (isEndless ? "1\r\n{\r\n" : text));
      sent.count += 1;
    });
    signal.addEventListener("abort", () => {
      answer ||= OPEN;
      socket.destroy();
    });
    const timer = setInterval(() => isEndless && socket.write("1\r\n \r\n"), PIECE_MS);
    socket.setEncoding("utf8");
    socket.on("data", (piece) => {
      answer += String(piece);
    });
    // A connection that is cut while it is written to.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(timer);
      sent.ended += 1;
      resolve(answer);
    });
    socket.on("end", () => socket.end());
  });
}
