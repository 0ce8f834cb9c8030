// Asks picoclaw over MQTT. Needs MQTT.js: npm install mqtt
//
//   import { connectAgent } from "./picoclaw-client.mjs";
//   const agent = connectAgent({ url: "mqtt://broker.lan", client: "kitchen" });
//   console.log(await agent.ask("What is the CPU usage?"));
//   await agent.close();
//
// On the command line: node picoclaw-client.mjs kitchen "What is the CPU usage?" mqtt://broker.lan

import { randomUUID } from "node:crypto";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import mqtt from "mqtt";

/** What a broker says to a wrong user or password, in MQTT 3.1.1 and in MQTT 5. */
const BAD_CREDENTIALS = new Set([4, 5, 134, 135]);

/** After so long without a part the question goes out again, under the same id. */
const SILENCE_MS = 60_000;

/** The agent answered with an error; `code` is one of those in the README, such as `busy`. */
export class AgentError extends Error {
  constructor(text, { code, retry_after }) {
    super(text);
    this.code = code;
    this.retryAfter = retry_after;
  }
}

/**
 * A client of one agent. Each client has a conversation of its own. `options` are those of MQTT.js, such as
 * `username`, `password` and `ca`.
 */
export function connectAgent({
  url = "mqtt://localhost",
  client,
  agent = "assistant",
  prefix = "/picoclaw",
  ...options
}) {
  const base = `${prefix}/${agent}/${client}`;
  const questions = new Map();
  const connection = mqtt.connect(url, {
    reconnectPeriod: 1000,
    reconnectOnConnackError: true,
    ...options,
  });
  let isReady = false;
  let lastError;

  connection.on("error", (error) => {
    lastError = error;
    if (!BAD_CREDENTIALS.has(error.code)) return;
    for (const question of questions.values()) question.fail(error);
  });
  connection.on("close", () => {
    isReady = false;
  });
  connection.on("connect", () => {
    connection.subscribe(`${base}/response`, { qos: 1 }, (error) => {
      if (error) {
        lastError = error;
        return;
      }
      isReady = true;
      // An answer may have been lost with the connection: ask again, under the same id.
      for (const question of questions.values()) question.send();
    });
  });
  connection.on("message", (_topic, payload, packet) => {
    const part = packet.retain ? undefined : parse(payload);
    questions.get(part?.id)?.take(part);
  });

  /**
   * Resolves with the whole answer. `onProgress` gets what came so far, at each part. A program that was
   * restarted passes the `id` of the question that it had asked before, and gets the same answer. `more` is
   * for further keys, such as `max_chars`.
   */
  async function ask(text, { id = randomUUID(), timeoutMs = 120_000, onProgress, ...more } = {}) {
    const payload = JSON.stringify({ text, id, ...more });
    const publish = () => {
      if (isReady) connection.publish(`${base}/request`, payload, { qos: 1 });
    };
    const question = createQuestion({ publish, timeoutMs, onProgress });
    questions.set(id, question);
    try {
      return await question.answered;
    } catch (error) {
      if (isReady || error instanceof AgentError) throw error;
      const why = lastError?.message ?? "no connection yet";
      throw new Error(`not connected: ${why}`, { cause: error });
    } finally {
      questions.delete(id);
    }
  }

  return { ask, close: () => connection.endAsync(true) };
}

/** One question: when it goes out, and what its parts come to. */
function createQuestion({ publish, timeoutMs, onProgress }) {
  const parts = createCollection();
  const deadline = Date.now() + timeoutMs;
  let notBefore = 0;
  let next;
  const sendIn = (ms) => {
    clearTimeout(next);
    next = setTimeout(send, ms);
  };
  const send = () => {
    const wait = notBefore - Date.now();
    sendIn(wait > 0 ? wait : SILENCE_MS);
    if (wait <= 0) publish();
  };
  let take;
  let fail;
  let end;
  const answered = new Promise((resolve, reject) => {
    take = (part) => {
      const state = parts.take(part);
      onProgress?.(parts.text());
      sendIn(SILENCE_MS);
      if (state === "whole") resolve(parts.text());
      // Parts came while the connection was lost. The same id gets the same answer again.
      if (state === "incomplete") send();
      if (state !== "failed") return;
      notBefore = Date.now() + (part.error.retry_after ?? Number.POSITIVE_INFINITY) * 1000;
      if (notBefore > deadline) reject(new AgentError(part.text, part.error));
      else send();
    };
    fail = reject;
    end = setTimeout(() => reject(new Error("no answer in time")), timeoutMs);
  }).finally(() => {
    clearTimeout(next);
    clearTimeout(end);
  });
  send();
  return { send, take, fail, answered };
}

/** The parts of one answer, by their number. */
function createCollection() {
  let parts = [];
  return {
    take({ seq = 0, text = "", done, error }) {
      if (seq === 0) parts = [];
      parts[seq] = text;
      if (!done) return "more";
      const isWhole = Object.keys(parts).length === seq + 1;
      if (error || !isWhole) parts = [];
      if (error) return "failed";
      return isWhole ? "whole" : "incomplete";
    },
    /** What came so far, up to the first part that is missing. */
    text() {
      const missing = parts.findIndex((part) => part === undefined);
      return (missing === -1 ? parts : parts.slice(0, missing)).join("");
    },
  };
}

/** What a message says, if it is an answer of picoclaw. */
function parse(payload) {
  try {
    return JSON.parse(payload.toString());
  } catch {
    return undefined;
  }
}

const started = process.argv[1];
if (started !== undefined && realpathSync(started) === fileURLToPath(import.meta.url)) {
  const [client, text, url, id] = process.argv.slice(2);
  const agent = connectAgent({ url, client });
  try {
    console.log(await agent.ask(text, { ...(id && { id }) }));
  } catch (error) {
    console.error(`error: ${error.message}${error.code ? ` (${error.code})` : ""}`);
    process.exitCode = 1;
  }
  await agent.close();
}
