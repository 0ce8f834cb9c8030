import assert from "node:assert/strict";
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import type { Message } from "../../src/agent/contract.ts";
import { SILENT } from "../../src/base/log.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { laneOf, localLaneOf } from "../../src/gateway/request-keys.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { MIGRATIONS, migrate } from "../../src/store/sqlite/schema.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { BOUNDS, done, remembered, newRequest } from "../store/contract.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createFakeHost, runIn, type RunOptions } from "./host.ts";

const AT = Date.UTC(2026, 0, 2, 3, 4, 5);

const turn = (question: string, answer: string): Message[] => [
  { role: "user", text: question },
  { role: "assistant", text: answer },
];

/** A home whose gateways, one in each slot, run and have served these. */
async function servedHome(...slots: readonly (readonly [string, readonly Message[]])[][]) {
  const folder = await temporaryFolder();
  const state = join(folder.path, "workspace", "state");
  let now = AT;
  const open: { readonly close: () => unknown }[] = [];
  for (const turns of slots) {
    const home = await openInstance(state, { log: SILENT });
    const facts = { owner: `${home.instance}`, now: () => now, bounds: BOUNDS, log: SILENT };
    const store = await openSqliteStore<Message>(home.databaseFile, facts);
    for (const [lane, messages] of turns) {
      await store.append(lane, messages);
      now += 1000;
    }
    open.push(store, home);
  }
  const run = (args: readonly string[], options?: RunOptions) => runIn(folder.path, args, options);
  return {
    path: folder.path,
    state,
    run,
    async [Symbol.asyncDispose]() {
      for (const each of open) await each.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const KITCHEN = laneOf({ channel: "mqtt", client: "kitchen" });
const HALL = laneOf({ channel: "mqtt", client: "hall" });

describe("sessions list", () => {
  it("prints a line a conversation, whichever gateway kept it, the latest first", async () => {
    await using home = await servedHome(
      [
        [KITCHEN, turn("1", "one")],
        [HALL, turn("2", "two")],
      ],
      [
        [KITCHEN, turn("3", "three")],
        [localLaneOf("cli:default"), turn("4", "four")],
        ["shared", turn("5", "five")],
      ],
    );
    const { code, stdout, stderr } = await home.run(["sessions", "list"]);
    assert.deepEqual([code, stderr], [0, ""]);
    const rows = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"));
    assert.deepEqual(
      rows.map((row) => row.slice(0, 4)),
      [
        ["shared", "*", "1", "2026-01-02T03:04:09.000Z"],
        ["cli:default", "cli", "1", "2026-01-02T03:04:08.000Z"],
        ["kitchen", "mqtt", "2", "2026-01-02T03:04:07.000Z"],
        ["hall", "mqtt", "1", "2026-01-02T03:04:06.000Z"],
      ],
    );
    const json = await home.run(["sessions", "list", "--json", "--channel", "mqtt"]);
    const [first, ...more] = json.stdout.trimEnd().split("\n");
    assert.equal(more.length, 1);
    assert.deepEqual(JSON.parse(first ?? ""), {
      v: 1,
      type: "session",
      client: "kitchen",
      channel: "mqtt",
      turns: 2,
      messages: 4,
      bytes: Number(rows[2]?.[4]),
      first_at: "2026-01-02T03:04:05.000Z",
      last_at: "2026-01-02T03:04:07.000Z",
      summarized: false,
    });
    const { stdout: table } = await home.run(["sessions", "list"], { isTTY: true });
    assert.match(table, /^client +channel +turns +last used +bytes\nshared +\* +1 /);
  });

  it("prints nothing where nothing was said, and makes no file", async () => {
    await using folder = await temporaryFolder();
    const ran = await runIn(folder.path, ["sessions", "list"]);
    assert.deepEqual(ran, { code: 0, stdout: "", stderr: "" });
    await assert.rejects(stat(join(folder.path, "workspace")));
  });

  it("reads what an older program kept, and refuses what it cannot read", async () => {
    await using folder = await temporaryFolder();
    const state = join(folder.path, "workspace", "state");
    await mkdir(state, { recursive: true });
    const db = new DatabaseSync(join(state, "picoclaw.db"));
    migrate(db, "it", MIGRATIONS.slice(0, 1));
    db.prepare("INSERT INTO turns (lane, messages, count, at) VALUES (?, ?, 2, 5)").run(
      KITCHEN,
      JSON.stringify(turn("1", "one")),
    );
    db.close();
    const read = await runIn(folder.path, ["sessions", "list"]);
    assert.equal(read.code, 0, read.stderr);
    assert.match(read.stdout, /^kitchen\tmqtt\t1\t/);
    await writeFile(join(state, "picoclaw-2.db"), "no database at all, whatever it is called");
    const refused = await runIn(folder.path, ["sessions", "list"]);
    assert.equal(refused.code, 78);
    assert.match(refused.stderr, /picoclaw-2\.db/);
    const left = await readFile(join(state, "picoclaw-2.db"), "utf8");
    assert.match(left, /^no database/);
  });
});

describe("a database that is corrupt inside", () => {
  it("is told with its name and a way out, whatever is asked of it", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "workspace", "state", "picoclaw.db");
    const facts = { owner: "o", now: () => AT, bounds: BOUNDS, log: SILENT };
    const store = await openSqliteStore<Message>(file, facts);
    for (let index = 0; index < 200; index += 1) {
      await store.append(KITCHEN, turn(`${index}`, "x".repeat(2000)));
    }
    await store.close();
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0xa5, 12_288));
    for (const words of [["list"], ["show", "kitchen"], ["delete", "kitchen"]]) {
      const { code, stderr } = await runIn(folder.path, ["sessions", ...words]);
      assert.equal(code, 78);
      assert.match(stderr, /picoclaw\.db: .*malformed\ntry: start picoclaw gateway/);
    }
  });
});

describe("sessions show", () => {
  const evil = "\u001b[2Jyes\npicoclaw: I obey";

  it("prints all that was said in the order of its times, and obeys no control", async () => {
    const called: Message[] = [
      { role: "user", text: evil },
      { role: "assistant", text: "", toolCalls: [{ id: "c", name: "device", arguments: "{}" }] },
      { role: "tool", callId: "c", name: "device", text: "12 %" },
      { role: "assistant", text: "It is 12 %" },
    ];
    await using home = await servedHome(
      [[KITCHEN, turn("1", "one")]],
      [
        [KITCHEN, called],
        [HALL, turn("2", "two")],
      ],
    );
    for (const isTTY of [false, true]) {
      const { code, stdout } = await home.run(["sessions", "show", "kitchen", "--no-color"], {
        isTTY,
      });
      assert.equal(code, 0);
      assert.equal(
        stdout,
        [
          "2026-01-02T03:04:05.000Z",
          "kitchen: 1",
          "picoclaw: one",
          "",
          "2026-01-02T03:04:06.000Z",
          "kitchen: \\x1b[2Jyes",
          "  picoclaw: I obey",
          "picoclaw to device: {}",
          "device to picoclaw: 12 %",
          "picoclaw: It is 12 %",
          "",
          "",
        ].join("\n"),
      );
    }
  });

  it("says which client was meant, and asks for the channel where there are two", async () => {
    await using home = await servedHome([
      [KITCHEN, turn("1", "one")],
      [laneOf({ channel: "other", client: "kitchen" }), turn("2", "two")],
      [localLaneOf("work"), turn("3", "three")],
    ]);
    const unknown = await home.run(["sessions", "show", "kitchn"]);
    assert.equal(unknown.code, 1);
    assert.match(
      unknown.stderr,
      /no conversation with kitchn\ntry: picoclaw sessions show kitchen/,
    );
    const two = await home.run(["sessions", "show", "kitchen"]);
    assert.equal(two.code, 2);
    assert.match(two.stderr, /other, mqtt\ntry: --channel other/);
    const one = await home.run(["sessions", "show", "kitchen", "--channel", "mqtt"]);
    assert.match(one.stdout, /picoclaw: one/);
    for (const name of ["work", "cli:work"]) {
      assert.match((await home.run(["sessions", "show", name])).stdout, /picoclaw: three/);
    }
    assert.equal((await home.run(["sessions", "show"])).code, 2);
    assert.equal((await home.run(["sessions", "list", "kitchen"])).code, 2);
    const wrong = await home.run(["sessions", "shwo", "kitchen"]);
    assert.match(wrong.stderr, /did you mean show/);
  });

  it("gives a long conversation to a reader that leaves as far as it is read", async () => {
    const many = Array.from(
      { length: 300 },
      (_, index) => [KITCHEN, turn(`${index}`, "a")] as const,
    );
    await using home = await servedHome([...many]);
    const all = await home.run(["sessions", "show", "kitchen"]);
    assert.equal(all.stdout.match(/^kitchen: \d+$/gm)?.length, 300);
    const env = { PICOCLAW_HOME: home.path };
    const host = createFakeHost(["sessions", "show", "kitchen"], { env });
    host.stdout.closeReader();
    assert.equal(await runCommandLine(host), 0);
  });
});

describe("sessions export", () => {
  it("is Markdown whose quotations nothing ends, or a line of JSON for each message", async () => {
    const said = turn("# 1\n\n## 2\r\n> 3", "one\u001b[2J");
    await using home = await servedHome([[KITCHEN, said]]);
    const { stdout } = await home.run(["sessions", "export", "kitchen"]);
    assert.equal(
      stdout,
      [
        "# Conversation with kitchen (mqtt)\n",
        "## 2026-01-02T03:04:05.000Z\n",
        "**kitchen:**\n\n> # 1\n> \n> ## 2\n> > 3\n",
        "**picoclaw:**\n\n> one\u001b[2J\n\n",
      ].join("\n"),
    );
    const terminal = await home.run(["sessions", "export", "kitchen"], { isTTY: true });
    assert.ok(terminal.stdout.includes("one\\x1b[2J"));
    const json = await home.run(["sessions", "export", "kitchen", "--json"]);
    const lines = json.stdout
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    const facts = { v: 1, type: "message", turn: 1, at: "2026-01-02T03:04:05.000Z" };
    assert.deepEqual(
      lines,
      said.map((message) => Object.assign({}, facts, message)),
    );
  });
});

describe("sessions delete", () => {
  it("deletes beside the gateways that run, in every slot, and nothing is left in the files", async () => {
    const secret = "the-code-is-4711-".repeat(50);
    await using home = await servedHome(
      [
        [KITCHEN, turn(secret, "one")],
        [HALL, turn("2", "two")],
      ],
      [[KITCHEN, turn(secret, "three")]],
    );
    const deleted = await home.run(["sessions", "delete", "kitchen"]);
    assert.deepEqual(deleted, {
      code: 0,
      stdout: "deleted the conversation with kitchen (mqtt): 2 turns\n",
      stderr: "",
    });
    assert.equal((await home.run(["sessions", "show", "kitchen"])).code, 1);
    assert.match((await home.run(["sessions", "list"])).stdout, /^hall\t[^\n]*\n$/);
    for (const name of ["picoclaw.db", "picoclaw-2.db"]) {
      const db = new DatabaseSync(join(home.state, name));
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      db.close();
      const bytes = await readFile(join(home.state, name));
      assert.equal(bytes.indexOf("the-code-is-4711"), -1, name);
    }
  });

  it("deletes the requests, too, that are only kept to know them again", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "workspace", "state", "picoclaw.db");
    const facts = { owner: "o", now: () => AT, bounds: BOUNDS, log: SILENT };
    const store = await openSqliteStore<string>(file, facts);
    const secret = "the-code-is-4711-".repeat(50);
    await done(store, newRequest(secret, { lane: KITCHEN }));
    await done(store, newRequest("shared", { lane: KITCHEN, conversation: "shared" }));
    const open = await store.accept(newRequest("open", { lane: KITCHEN }));
    await store.close();
    const { code } = await runIn(folder.path, ["sessions", "delete", "kitchen"]);
    assert.equal(code, 0);
    assert.equal((await readFile(file)).indexOf("the-code-is-4711"), -1);
    const again = await openSqliteStore<string>(file, facts);
    assert.equal(await remembered(again, secret, { lane: KITCHEN }), undefined);
    assert.notEqual(await remembered(again, "shared", { lane: KITCHEN }), undefined);
    assert.ok(open.is === "new" && (await again.begin(open.claim)));
    await again.close();
  });

  it("deletes nothing where the name is not exactly right", async () => {
    await using home = await servedHome([[KITCHEN, turn("1", "one")]]);
    const missing = await home.run(["sessions", "delete", "kitche"]);
    assert.equal(missing.code, 1);
    assert.match((await home.run(["sessions", "list"])).stdout, /^kitchen\t/);
  });
});

describe("beside a wrong configuration", () => {
  const WRONG = {
    "a broken file": '{"agents": {"defaults": {"workspace": "other"}},\n "gateway": {',
    "a wrong value": '{"agents": {"defaults": {"workspace": "other"}}, "gateway": {"port": "x"}}',
  };
  for (const [fault, config] of Object.entries(WRONG)) {
    it(`${fault}: reads and deletes in the workspace that it names`, async () => {
      await using home = await servedHome([[KITCHEN, turn("my word is sk-secret-1", "one")]]);
      await rename(join(home.path, "workspace"), join(home.path, "other"));
      await writeFile(join(home.path, "config.json"), config);
      const security = "model_list:\n  m:\n    api_keys:\n      - sk-secret-1\n  broken: [\n";
      await writeFile(join(home.path, ".security.yml"), security);
      const listed = await home.run(["sessions", "list"]);
      assert.equal(listed.code, 0, listed.stderr);
      assert.match(listed.stdout, /^kitchen\tmqtt\t1\t/);
      assert.match(
        listed.stderr,
        /the configuration is wrong; the state is looked for in .*\/other\/state/,
      );
      const shown = await home.run(["sessions", "show", "kitchen"]);
      assert.match(shown.stdout, /^kitchen: my word is \[FILTERED\]$/m);
      const deleted = await home.run(["sessions", "delete", "kitchen"]);
      assert.match(deleted.stdout, /^deleted the conversation with kitchen \(mqtt\): 1 turn$/m);
    });
  }

  it("a wrong variable, or none for a home folder", async () => {
    await using home = await servedHome([[KITCHEN, turn("1", "one")]]);
    const env = { PICOCLAW_CHANNELS_MQTT_QOS: "9" };
    const { code, stdout, stderr } = await home.run(["sessions", "list"], { env });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^kitchen\t/);
    const homeless = { ...createFakeHost(["sessions", "list"]), home: "" };
    assert.equal(await runCommandLine(homeless), 78);
  });

  it("a wrong store is where the conversations would be", async () => {
    await using home = await servedHome([[KITCHEN, turn("1", "one")]]);
    await writeFile(
      join(home.path, "config.json"),
      '{"gateway": {"store": "postgres://", "port": "x"}}',
    );
    const { code, stderr } = await home.run(["sessions", "list"]);
    assert.equal(code, 78);
    assert.match(stderr, /values .* are wrong/);
  });
});
