import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";

/**
 * A server of the Model Context Protocol (2025-11-25) without the libraries of the protocol, for what these do not
 * allow. Its argument is JSON:
 *
 * - `isNew`: it speaks version 2026-07-28 instead;
 * - `isSloppy`: it leaves out what the protocol demands of its answers;
 * - `tools`: its list; of a tool also `text` or `result` (what a call returns), and `does`: `die`, `hang`, `error`,
 *   `ask` (asks for sampling first, and returns the answer), `elicit` (the same with elicitation), `flood` (megabytes of
 *   notifications), `endless` (a line without end), `change` (replaces the list by `later`, and says so), `env` (returns
 *   its variables);
 * - `later`: the list after `change`;
 * - `isStubborn`: neither the end of its input nor SIGTERM ends it;
 * - `starts`: what it does in place of serving: `die`, `hang`, `nonsense`; or `strict`: it dies at a question before
 *   `initialize`; with `until`, a file that counts the starts,
 *   only for so many starts as `bad`;
 * - `heard`: a file for its process id and the methods that it hears.
 */
const plan = JSON.parse(process.argv[2] ?? "{}");
let tools = plan.tools ?? [];
const hear = (line) => plan.heard && appendFileSync(plan.heard, `${line}\n`);
const send = (message) =>
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const text = (words) => ({ content: [{ type: "text", text: words }] });
hear(`pid ${process.pid}`);

function startsOf() {
  if (plan.until === undefined) return plan.starts;
  let count = 0;
  try {
    count = Number(readFileSync(plan.until, "utf8"));
  } catch {
    // The first start.
  }
  writeFileSync(plan.until, String(count + 1));
  return count < plan.bad ? plan.starts : undefined;
}

const starts = startsOf();
if (starts === "die") {
  process.stderr.write("cannot go on\n");
  // oxlint-disable-next-line unicorn/no-process-exit -- a program that dies
  process.exit(3);
}

if (plan.isStubborn) {
  process.on("SIGTERM", () => {});
  setInterval(() => {}, 1000);
}

const waiting = new Map();
const DOES = {
  // oxlint-disable-next-line unicorn/no-process-exit -- a program that dies
  die: () => process.exit(4),
  hang: () => {},
  error: (id) => send({ id, error: { code: -32_000, message: "it broke" } }),
  env: (id) => send({ id, result: text(JSON.stringify(process.env)) }),
  ask: (id) => {
    waiting.set("q1", (answer) => send({ id, result: text(JSON.stringify(answer)) }));
    send({ id: "q1", method: "sampling/createMessage", params: { messages: [], maxTokens: 10 } });
  },
  elicit: (id) => {
    waiting.set("q2", (answer) => send({ id, result: text(JSON.stringify(answer)) }));
    const requestedSchema = { type: "object", properties: { sure: { type: "boolean" } } };
    const params = { mode: "form", message: "Sure?", requestedSchema };
    send({ id: "q2", method: "elicitation/create", params });
  },
  flood: () => {
    const data = "x".repeat(100_000);
    for (let count = 0; count < 100; count += 1) {
      send({ method: "notifications/message", params: { level: "info", data } });
    }
  },
  endless: () => {
    for (let count = 0; count < 100; count += 1) process.stdout.write("x".repeat(100_000));
  },
  change: (id) => {
    tools = plan.later;
    send({ method: "notifications/tools/list_changed" });
    send({ id, result: text("changed") });
  },
};

const NEW = {
  resultType: "complete",
  supportedVersions: ["2026-07-28"],
  capabilities: { tools: {} },
  ttlMs: 0,
  cacheScope: "private",
};
const SLOPPY = { supportedVersions: ["2026-07-28"], capabilities: { tools: {} } };
const ANSWERS = {
  ...(plan.isNew && { "server/discover": (id) => send({ id, result: NEW }) }),
  ...(plan.isNew && plan.isSloppy && { "server/discover": (id) => send({ id, result: SLOPPY }) }),
  initialize: (id) =>
    send({
      id,
      result: {
        protocolVersion: "2025-11-25",
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: "program", version: "1" },
      },
    }),
  "tools/list": (id) => {
    const list = tools.map((listed) => {
      if (typeof listed === "string") return listed;
      const { text: _text, result: _result, does: _does, ...tool } = listed;
      if (!plan.isSloppy) tool.inputSchema ??= { type: "object" };
      return tool;
    });
    send({ id, result: { ...(plan.isNew && !plan.isSloppy && NEW), tools: list } });
  },
  "tools/call": (id, { name }) => {
    const { does, result, text: words = "done" } = tools.find((tool) => tool.name === name) ?? {};
    if (does !== undefined) DOES[does](id);
    else send({ id, result: result ?? text(words) });
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params, ...answer } = JSON.parse(line);
  hear(method ?? "answer");
  if (starts === "hang") return;
  // oxlint-disable-next-line unicorn/no-process-exit -- a program that dies
  if (starts === "strict" && method === "server/discover") process.exit(5);
  if (starts === "nonsense") {
    process.stdout.write("Listening on port 3000\n{]\n");
    return;
  }
  if (method === undefined) waiting.get(id)?.(answer);
  else if (ANSWERS[method] !== undefined) ANSWERS[method](id, params);
  else if (id !== undefined) send({ id, error: { code: -32_601, message: "Method not found" } });
});
