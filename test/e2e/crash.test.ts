import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { freePort } from "../support/mosquitto.ts";
import { quickConfig, startPicoclaw, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const KEY = "sk-live-AbC/dEf+0123456789";
const PASSPHRASE = "correct horse battery";

/** What a fault of the program's own could throw: secrets in message, cause, stack and properties. */
const FAULTS = {
  "an error that nobody catches": "setTimeout(() => { throw fault; })",
  "a promise that nobody waits for": "void Promise.reject(fault)",
  "a text": "setTimeout(() => { throw fault.message; })",
  "an object with a secret in it": "void Promise.reject({ key, toString: () => key })",
  "the same a hundred times": "for (let n = 0; n < 100; n += 1) void Promise.reject(fault)",
};

for (const [name, thrown] of Object.entries(FAULTS)) {
  for (const debug of [false, true]) {
    it(`${name} ends a gateway${debug ? " with --debug" : ""} with 1 and one report without secrets`, async () => {
      await using home = await temporaryFolder();
      const broker = `tcp://127.0.0.1:${await freePort()}`;
      const model = { model_name: "m", model: "openai/m", api_keys: [KEY] };
      const more = { version: 3, model_list: [model] };
      await writeConfig(
        home.path,
        quickConfig(broker, { username: "me", password: "hunter22" }, more),
      );
      const preload = join(home.path, "fault.mjs");
      await writeFile(preload, crashing(thrown));
      const env = { PICOCLAW_KEY_PASSPHRASE: PASSPHRASE };
      const args = ["gateway", ...(debug ? ["--debug"] : [])];
      await using gateway = startPicoclaw(args, { home: home.path, env, preload });
      await gateway.said('"msg":"gateway waits');
      process.kill(gateway.pid, "SIGUSR2");
      const { code, stdout, stderr } = await gateway.ended;
      assert.equal(code, 1, stderr);
      const [report = "", ...others] = stderr.split(/^error: /m).slice(1);
      assert.deepEqual(others, [], "one report");
      assert.match(report, /^something went wrong inside picoclaw\n {2}.*\[FILTERED\]/);
      if (!debug) assert.doesNotMatch(report, /\n.*\n.*\n.*\n/, "no stack");
      for (const secret of [KEY, PASSPHRASE, "hunter22", Buffer.from(KEY).toString("base64")]) {
        assert.ok(!(stdout + stderr).includes(secret), `${secret} in ${stderr}`);
      }
    });
  }
}

/** Runs in the program's process before it: a signal makes it fail as a fault of its own would. */
function crashing(thrown: string): string {
  return `
    import process from "node:process";
    process.once("SIGUSR2", () => {
      const key = ${JSON.stringify(KEY)};
      const cause = Object.assign(new Error("behind it: " + key), { key });
      const words = "asking with " + key + " and " + btoa(key) + " ${PASSPHRASE} hunter22 failed";
      const fault = Object.assign(new Error(words, { cause }), { headers: { authorization: key } });
      ${thrown};
    });
  `;
}
