import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { calls, refuses, startModelServer, streams } from "../support/model-server.ts";
import type { Behaviour } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startClient, startGateway } from "../support/picoclaw.ts";
import type { Ended } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const KEY = "sk-live-AbC/dEf+0123456789";
const PASSWORD = "br0ker p@ss/word=?ü";
const HEADER = "team-token-0123456789";
const PASSPHRASE = "correct horse battery";
const SECRETS = [KEY, PASSWORD, HEADER, PASSPHRASE];

/** Written here anew: what is tested does not say what to look for. */
function spellings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const json = JSON.stringify(secret).slice(1, -1);
  return [
    secret,
    json,
    JSON.stringify(json).slice(1, -1),
    encodeURIComponent(secret),
    encodeURIComponent(secret).replaceAll(/%../g, (code) => code.toLowerCase()),
    new URLSearchParams({ k: secret }).toString().slice(2),
    bytes.toString("base64"),
    bytes.toString("base64url"),
    bytes.toString("hex"),
  ];
}

const FORMS = SECRETS.flatMap(spellings);
/** As they stand in a header of basic authentication; what must not be seen are their middles. */
const BASIC = SECRETS.map((secret) => Buffer.from(`user:${secret}`).toString("base64"));
const UNSEEN = [...FORMS, ...BASIC.map((text) => text.slice(8, -4))];

function assertClean(where: string, text: string): void {
  for (const form of UNSEEN) {
    const at = text.indexOf(form);
    assert.ok(
      at === -1,
      `${where} holds ${form}: …${text.slice(Math.max(0, at - 200), at + 100)}…`,
    );
  }
}

/** Pieces of so many characters. */
function pieces(text: string, length: number): string[] {
  return text.match(new RegExp(`[^]{1,${length}}`, "gu")) ?? [];
}

const ALL = [...FORMS, ...BASIC].map((form, index) => `${index}: <${form}>`).join("\n");

/** What a model could do to give secrets away, by the question that it does it for. */
const ATTACKS: Readonly<Record<string, readonly Behaviour[]>> = {
  "says them letter by letter": [streams({ text: pieces(ALL, 1) })],
  "says them in pieces of seven": [streams({ text: pieces(ALL, 7) })],
  "says them at once": [streams({ text: [ALL] })],
  "says half of one and the rest at the very end": [
    streams({ text: ["well: sk-live-AbC/", "dEf+0123456789"] }),
  ],
  "reads them from a file and says what it read": [
    calls({ name: "read_file", arguments: '{"path":"notes.txt"}' }),
    async (request, response) => {
      const read = request.body.messages.findLast(({ role }) => role === "tool")?.content ?? "";
      await streams({ text: pieces(read, 3) })(request, response);
    },
  ],
  "has a tool called by a secret, with secrets": [
    calls({ name: "nothing", arguments: JSON.stringify({ key: KEY, words: PASSWORD }) }),
    streams({ text: "done" }),
  ],
  "writes broken arguments of secrets": [
    calls({ name: "read_file", arguments: `{"path": ${KEY} ${PASSWORD}` }),
    streams({ text: "done" }),
  ],
  "answers with an error that holds them": [refuses(400, { error: { message: ALL } })],
  "answers with a page that holds them": [refuses(422, `no <b>${ALL}</b>`)],
  "breaks off in the middle of one": [
    streams({
      text: ["so far ", "sk-live-", "AbC/dEf+0123456789", " and sk-li"],
      finish: null,
      done: false,
    }),
  ],
};

describe("a gateway whose model knows all of its secrets", needsMosquitto, () => {
  it("lets none of them out: not in messages, log, errors, store or exports", async () => {
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous true"],
    });
    const workspace = join(home.path, "workspace");
    await mkdir(workspace);
    await writeFile(join(workspace, "notes.txt"), ALL);
    await writeFile(
      join(home.path, "config.json"),
      JSON.stringify(configFor(broker.url, model.base)),
    );
    // Libraries print packets whole where DEBUG names them.
    const env = { PICOCLAW_KEY_PASSPHRASE: PASSPHRASE, DEBUG: "*" };
    await using heard = startClient("mosquitto_sub", ["-p", `${broker.port}`, "-t", "#", "-v"]);
    await until("the eavesdropper listens", () => broker.log().includes("SUBACK"));
    await using gateway = await startGateway({ home: home.path, env }, [
      "--debug",
      "--log-content",
    ]);
    const asked: Ended[] = [];
    for (const [question, behaviours] of Object.entries(ATTACKS)) {
      model.script(...behaviours);
      const words = ["send", "kitchen", "--json", "--debug", question];
      asked.push(await picoclaw(words, { home: home.path, env }));
    }
    model.script(streams({ text: pieces(ALL, 5) }));
    asked.push(await picoclaw(["agent", "-m", "and here?", "--debug"], { home: home.path, env }));
    const outcomes = asked.slice(0, -1).map(({ stdout }) => resultIn(stdout));
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      [...Array.from({ length: 7 }, () => "ok"), "model", "model", "model"],
    );
    assert.match(outcomes[0]?.text ?? "", /^0: <\[FILTERED\]>\n1: <\[FILTERED\]>/);
    assert.equal(outcomes[3]?.text, "well: [FILTERED]");
    assert.equal(outcomes[9]?.text, "so far [FILTERED] and sk-li");
    for (const { stdout, stderr } of asked) assertClean("a command", stdout + stderr);

    gateway.kill("SIGTERM");
    const { code, stdout, stderr } = await gateway.ended;
    assert.equal(code, 0);
    assertClean("the log", stdout + stderr);
    assert.match(stderr, /FILTERED/);
    await until("the eavesdropper heard the end", () => heard.stdout().includes("/status offline"));
    assertClean("the broker's traffic", heard.stdout());
    // What the model itself wrote into a call is no news to it.
    const results = model.requests
      .flatMap(({ body }) => body.messages)
      .filter(({ role, content }) => role === "tool" && !content?.includes("are no valid JSON"));
    assert.ok(results.some(({ content }) => content?.includes("[FILTERED]")));
    for (const { content } of results) assertClean("what a tool told the model", content ?? "");
    for (const words of [
      ["export", "kitchen"],
      ["export", "kitchen", "--json"],
      ["show", "kitchen"],
    ]) {
      const shown = await picoclaw(["sessions", ...words], { home: home.path, env });
      assert.equal(shown.code, 0, shown.stderr);
      assert.match(shown.stdout, /FILTERED/);
      assertClean(`sessions ${words.join(" ")}`, shown.stdout + shown.stderr);
    }
    for (const [name, text] of await filesIn(join(workspace, "state"))) assertClean(name, text);
  });

  it("answers with parts that are together what the store keeps", async () => {
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    await using broker = await startMosquitto();
    await writeFile(
      join(home.path, "config.json"),
      JSON.stringify(configFor(broker.url, model.base)),
    );
    await using _gateway = await startGateway({ home: home.path });
    const text = `begin ${KEY} middle sk-live- ${KEY}${KEY} sk-live-AbC/ end sk-l`;
    model.script(streams({ text: pieces(text, 2), milliseconds: 600 }));
    const { stdout } = await picoclaw(["send", "hall", "--json", "say"], { home: home.path });
    const expected = "begin [FILTERED] middle sk-live- [FILTERED] sk-live-AbC/ end sk-l";
    assert.equal(resultIn(stdout).text, expected);
    model.script(streams({ text: "well" }));
    await picoclaw(["send", "hall", "again"], { home: home.path });
    const said = model.requests.at(-1)?.body.messages.map(({ content }) => content) ?? [];
    assert.ok(said.includes(expected), JSON.stringify(said));
  });
});

function configFor(broker: string, base: string): object {
  const model = {
    model_name: "m",
    model: "openai/m",
    api_base: base,
    api_keys: [KEY],
    custom_headers: { "X-Team-Token": HEADER },
  };
  const defaults = { model_name: "m", max_llm_retries: 0 };
  const tools = { profiles: { "*": { tools: ["*"], read: ["."] } } };
  const settings = { username: "gateway", password: PASSWORD, qos: 1 };
  const more = { version: 3, agents: { defaults }, model_list: [model], tools };
  return quickConfig(broker, { ...settings, streaming: { interval_ms: 20 } }, more);
}

function resultIn(stdout: string): { outcome: string; text?: string } {
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}");
}

async function filesIn(folder: string): Promise<[name: string, text: string][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  assert.ok(files.some((file) => file.endsWith("picoclaw.db")));
  return Promise.all(
    files.map(async (file): Promise<[string, string]> => [file, await readFile(file, "utf8")]),
  );
}
