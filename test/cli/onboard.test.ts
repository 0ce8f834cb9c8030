import assert from "node:assert/strict";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { runCommandLine } from "../../src/cli/cli.ts";
import { discover, type DiscoveryOptions } from "../../src/cli/onboard/discovery.ts";
import { answers, type ModelServer, refuses, startModelServer } from "../support/model-server.ts";
import { writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createFakeHost, type FakeHostOptions } from "./host.ts";

const EMBEDDED = ["--broker", "embedded://127.0.0.1:0"];
const OFFLINE = [...EMBEDDED, "--agent", "house", "--model", "offline"];
const KEY = "sk-onboard-1234567";

function onboarding(args: readonly string[], home: string, options: FakeHostOptions = {}) {
  const env = { PICOCLAW_HOME: home, ...options.env };
  const host = createFakeHost(["onboard", ...args], { ...options, env });
  const output = (): string => host.stdout.text() + host.stderr.text();
  return { host, output, ended: runCommandLine(host) };
}

/** Runs it without a terminal; no output may hold the key. */
async function onboard(args: readonly string[], home: string, env: Record<string, string> = {}) {
  const { host, output, ended } = onboarding(args, home, { env });
  const code = await ended;
  assert.ok(!output().includes(KEY), output());
  return { code, out: host.stdout.text(), error: host.stderr.text() };
}

async function filesIn(home: string): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(home, { withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = new Map<string, string>();
  for (const { name } of names) texts.set(name, await readFile(join(home, name), "utf8"));
  return texts;
}

async function modeOf(file: string): Promise<number> {
  return (await stat(file)).mode & 0o777;
}

function modelEnv(model: ModelServer): Record<string, string> {
  return { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: model.base };
}

describe("onboard", () => {
  it("sets up an empty home, and ends with an answer and what to do next", async () => {
    await using home = await temporaryFolder();
    const { code, out, error } = await onboard(OFFLINE, home.path);
    assert.equal(code, 0, error);
    assert.match(out, /config\.json \(new\)\n\+ channel_list\.mqtt\.enabled: true\n/);
    assert.match(out, /CPU usage is/);
    assert.match(out, /publishes to +\/picoclaw\/house\/device1\/request\n/);
    assert.match(out, /mosquitto_pub .*-t \/picoclaw\/house\/device1\/request -m '{"text":/);
    assert.match(
      out,
      /picoclaw gateway .*\n.*picoclaw service install .*\n.*picoclaw send device1/,
    );
    assert.equal(await modeOf(join(home.path, "config.json")), 0o600);
  });

  it("changes nothing the second time", async () => {
    await using home = await temporaryFolder();
    await onboard(OFFLINE, home.path);
    const before = await filesIn(home.path);
    const { code, out } = await onboard(["--yes"], home.path);
    assert.equal(code, 0);
    assert.match(out, /config\.json stays as it is\n[^]*CPU usage is/);
    assert.deepEqual(await filesIn(home.path), before);
  });

  it("names the flags that are missing where nobody can be asked", async () => {
    await using home = await temporaryFolder();
    const { code, error } = await onboard(EMBEDDED, home.path);
    assert.equal(code, 2);
    assert.match(error, /flags are missing: --agent, --model\ntry: add them, or --yes/);
    assert.equal((await filesIn(home.path)).size, 0);
  });

  it("refuses a configuration that is wrong by its name, and leaves it as it is", async () => {
    await using home = await temporaryFolder();
    for (const text of ['{ "version": 3, ', '{ "version": 3, "gateway": { "port": "many" } }']) {
      await writeFile(join(home.path, "config.json"), text);
      const { code, error } = await onboard(OFFLINE, home.path);
      assert.equal(code, 78);
      assert.match(error, /config\.json/);
      assert.deepEqual([...(await filesIn(home.path))], [["config.json", text]]);
    }
  });

  it("adds a model to what is there, with a copy, and the key for its owner alone", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.otherwise(answers("21 degrees"));
    const former = `{ // mine
  "version": 3,
  "gateway": { "port": 0 },
  "model_list": [{ "model_name": "old", "model": "openai/old", "enabled": false }]
}`;
    await writeFile(join(home.path, "config.json"), former, { mode: 0o644 });
    const { code, out, error } = await onboard([...EMBEDDED, "--yes"], home.path, modelEnv(model));
    assert.equal(code, 0, error);
    assert.match(out, /\+ model_list\[1\]\.api_keys: "\*\*\*"/);
    assert.match(out, /\n21 degrees\n/);
    const files = await filesIn(home.path);
    const copy = [...files.keys()].find((name) => name.startsWith("config.json.backup-")) ?? "";
    assert.equal(files.get(copy), former);
    assert.equal(await modeOf(join(home.path, copy)), 0o600);
    assert.equal(await modeOf(join(home.path, "config.json")), 0o644);
    assert.match(
      files.get("config.json") ?? "",
      /\/\/ mine[^]*"openai\/old"[^]*"openai\/gpt-5\.4"/,
    );
    assert.match(files.get(".security.yml") ?? "", new RegExp(KEY));
    assert.equal(await modeOf(join(home.path, ".security.yml")), 0o600);
    assert.equal((await model.received(0)).headers.authorization, `Bearer ${KEY}`);
    const again = await onboard([...EMBEDDED, "--yes"], home.path, modelEnv(model));
    assert.match(again.out, /stays as it is/);
    assert.deepEqual(await filesIn(home.path), files);
  });

  it("adds no model to a file of version 0, whose models it would remove", async () => {
    await using home = await temporaryFolder();
    const former = {
      agents: { defaults: { provider: "openai", model: "gpt-4" } },
      providers: { openai: { api_key: KEY } },
    };
    await writeConfig(home.path, former);
    const before = await filesIn(home.path);
    const { code, error } = await onboard(
      [...EMBEDDED, "--agent", "house", "--model", "ollama/any"],
      home.path,
    );
    assert.equal(code, 2);
    assert.match(error, /error: another model would remove gpt-4, so nothing was written\n/);
    assert.deepEqual(await filesIn(home.path), before);
  });

  it("encrypts the key if there is a passphrase", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.otherwise(answers("21 degrees"));
    const env = { ...modelEnv(model), PICOCLAW_KEY_PASSPHRASE: "open sesame" };
    const { code, error } = await onboard([...EMBEDDED, "--yes"], home.path, env);
    assert.equal(code, 0, error);
    const text = (await filesIn(home.path)).get(".security.yml") ?? "";
    assert.match(text, /enc:\/\//);
    assert.ok(!text.includes(KEY));
    assert.equal((await model.received(1)).headers.authorization, `Bearer ${KEY}`);
  });

  it("writes nothing if the key is refused", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.otherwise(refuses(401, {}));
    const { code, error } = await onboard([...EMBEDDED, "--yes"], home.path, modelEnv(model));
    assert.equal(code, 1);
    assert.match(error, /error: openai\/gpt-5\.4: .*\n/);
    assert.equal((await filesIn(home.path)).size, 0);
  });

  it("needs a key for a provider, and says how to give it", async () => {
    await using home = await temporaryFolder();
    const args = [...EMBEDDED, "--agent", "house", "--model", "groq/any"];
    const { code, error } = await onboard(args, home.path);
    assert.equal(code, 2);
    assert.match(error, /error: groq\/any needs a key\ntry: give it with --api-key-file/);
  });

  it("sends a key of the environment to no other server", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.otherwise(answers("21 degrees"));
    const args = [...EMBEDDED, "--yes", "--model", "openai/own", "--api-base", model.base];
    const { code, error } = await onboard(args, home.path, { OPENAI_API_KEY: KEY });
    assert.equal(code, 0, error);
    assert.ok(!JSON.stringify(model.requests.map(({ headers }) => headers)).includes(KEY));
  });

  it("takes no password in the address of the broker", async () => {
    await using home = await temporaryFolder();
    const args = ["--yes", "--broker", "tcp://gw:hunter2@127.0.0.1:1"];
    const { code, out, error } = await onboard(args, home.path);
    assert.equal(code, 2);
    assert.ok(!(out + error).includes("hunter2"));
  });
});

describe("onboard on a terminal", () => {
  it("asks for the model again if a typed key is refused, and shows no key", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.script(refuses(401, {}));
    model.otherwise(answers("21 degrees"));
    await writeConfig(home.path, { version: 3, gateway: { port: 0 } });
    const env = { OPENAI_BASE_URL: model.base };
    const { host, output, ended } = onboarding(EMBEDDED, home.path, { env, isTTY: true });
    const { stream } = host.stdin;
    assert.ok(stream instanceof PassThrough);
    const said = (text: string, times = 1) =>
      until(`"${text}" ${times} times`, () => output().split(text).length > times);
    await said("Agent id [assistant] ");
    stream.write("house\r");
    await said("Model [");
    stream.write("openai/own\r");
    await said("Key of openai/own (not shown): ");
    stream.write(`${KEY}-bad\r`);
    await said("Model [", 2);
    stream.write("openai/own\r");
    await said("Key of openai/own (not shown): ", 2);
    stream.write(`${KEY}\r`);
    await said("Write this (yes or no) [yes] ");
    assert.deepEqual([...(await filesIn(home.path)).keys()], ["config.json"]);
    stream.write("\r");
    assert.equal(await ended, 0, output());
    assert.match(host.stderr.text(), /error: openai\/own: .* refused/);
    assert.match(host.stdout.text(), /\n21 degrees\n/);
    assert.ok(!output().includes(KEY), output());
  });

  it("writes nothing after a no", async () => {
    await using home = await temporaryFolder();
    const { host, output, ended } = onboarding(OFFLINE, home.path, { isTTY: true });
    await until("the question", () => output().includes("[yes] "));
    assert.ok(host.stdin.stream instanceof PassThrough);
    host.stdin.stream.write("no\r");
    assert.equal(await ended, 1);
    assert.match(output(), /nothing was written/);
    assert.equal((await filesIn(home.path)).size, 0);
  });
});

describe("discover", () => {
  const nothing: DiscoveryOptions = {
    env: {},
    fetch: () => Promise.reject(new Error("refused")),
    isOpen: () => Promise.resolve(false),
  };

  it("finds nothing where nothing is", async () => {
    assert.deepEqual(await discover(nothing), { hasBroker: false, models: [] });
  });

  it("prefers keys, then servers of this machine, and drops names that are none", async () => {
    const served: Readonly<Record<string, readonly string[]>> = {
      "http://localhost:11434/v1/models": ["nomic-embed-text", "qwen3:8b"],
      "http://localhost:8080/v1/models": ["\u001b[31mred"],
    };
    const found = await discover({
      env: { ANTHROPIC_API_KEY: "k", GEMINI_API_KEY: "" },
      isOpen: (port) => Promise.resolve(port === 1883),
      fetch(url) {
        const names = served[url];
        if (names === undefined) return Promise.reject(new Error("refused"));
        return Promise.resolve(Response.json({ data: names.map((id) => ({ id })) }));
      },
    });
    assert.equal(found.hasBroker, true);
    assert.deepEqual(
      found.models.map(({ model, variable }) => [model, variable]),
      [
        ["anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"],
        ["ollama/qwen3:8b", undefined],
      ],
    );
  });

  it("looks everywhere at the same time", async () => {
    let waiting = 0;
    const all = Promise.withResolvers<void>();
    const arrive = async (): Promise<void> => {
      waiting += 1;
      if (waiting === 5) all.resolve();
      await all.promise;
    };
    const found = await discover({
      ...nothing,
      isOpen: () => arrive().then(() => true),
      fetch: () => arrive().then(() => Response.json({ data: [] })),
    });
    assert.deepEqual(found, { hasBroker: true, models: [] });
  });
});
