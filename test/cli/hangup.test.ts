import assert from "node:assert/strict";
import { it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Failure } from "../../src/base/failure.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { parseCommandLine } from "../../src/cli/args/parse.ts";
import { listenForHangups } from "../../src/cli/runtime/hangup.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { createFakeHost } from "./host.ts";

const onNextInterrupt = () => () => {};

function listening() {
  const host = createFakeHost(["gateway"]);
  const log = createMemoryLog();
  const { signal } = new AbortController();
  const { words, flags } = parseCommandLine(host.args);
  const context = { host, words, flags, signal, onNextInterrupt, redactor: createRedactor([]) };
  const messages = (): string[] => log.lines.map(({ message }) => message);
  return { host, messages, hangups: listenForHangups(context, log) };
}

it("a hangup reloads the gateway once it serves, and one that fails ends nothing", async () => {
  const { host, messages, hangups } = listening();
  host.hangUp(false);
  const outcomes = [Promise.resolve("well"), Promise.reject(new Failure("config", "no JSON"))];
  let reloads = 0;
  hangups.reloads({ reload: () => outcomes[reloads++] ?? Promise.resolve("") });
  host.hangUp(false);
  await setImmediate();
  assert.equal(reloads, 2);
  assert.equal(hangups.signal.aborted, false);
  assert.deepEqual(messages(), ["could not reload: the former configuration stays in use"]);
});

it("a hangup between two runtimes reloads the second one, once", () => {
  const { host, hangups } = listening();
  const reloaded: string[] = [];
  const runtime = (name: string) => ({
    reload: () => Promise.resolve(String(reloaded.push(name))),
  });
  hangups.reloads(runtime("first"));
  hangups.reloads(undefined);
  host.hangUp(false);
  assert.deepEqual(reloaded, []);
  hangups.reloads(runtime("second"));
  assert.deepEqual(reloaded, ["second"]);
});

it("a closed terminal ends it like SIGTERM", () => {
  const { host, hangups } = listening();
  host.hangUp(true);
  assert.ok(hangups.signal.aborted);
  assert.equal(hangups.signal.reason.code, "terminated");
});
