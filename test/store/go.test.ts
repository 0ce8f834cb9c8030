import assert from "node:assert/strict";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { fileNameOf, keysOfClient, keysOfSession, SHARED_KEYS } from "../../src/store/go/keys.ts";
import { type GoMessage, turnsOf } from "../../src/store/go/session.ts";
import { readGoSession } from "../../src/store/go/session.ts";
import { codePoint } from "../support/code-point.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** The vector of Go PicoClaw's key rule. */
const DEVICE1 = "sk_v1_61e7522031d5cfbc01b9061ecd53e37892075199f831912fb73b9d0ab8dd26db";
const BOUNDS = { messages: 6, characters: 10_000 };

const user = (content: string, more = {}) => ({ role: "user", content, ...more });
const assistant = (content: string, more = {}) => ({ role: "assistant", content, ...more });
const tool = (tool_call_id: string, content: string) => ({ role: "tool", content, tool_call_id });
const call = (id: string) => ({
  id,
  type: "function",
  function: { name: "exec", arguments: '{"action":"run"}' },
});

/** A folder of sessions; what is no text is written as JSON. */
async function sessionsFolder(files: Readonly<Record<string, string | readonly unknown[]>>) {
  const folder = await temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    const text =
      typeof content === "string"
        ? content
        : content.map((line) => JSON.stringify(line)).join("\n");
    await writeFile(join(folder.path, name), text);
  }
  const log = createMemoryLog();
  const { lines } = log;
  const read = (client: string, bounds = BOUNDS) =>
    readGoSession(keysOfClient(client), { folder: folder.path, bounds, log });
  return {
    path: folder.path,
    read,
    log,
    lines,
    [Symbol.asyncDispose]: folder[Symbol.asyncDispose],
  };
}

const texts = (session: Awaited<ReturnType<typeof readGoSession>>): unknown =>
  session?.turns.flatMap(({ messages }) => messages.map(({ text }) => text));

describe("the keys of Go PicoClaw", () => {
  it("follow its rule, whatever the case of the client id", () => {
    for (const client of ["device1", "DEVICE1"]) {
      assert.equal(keysOfClient(client)[0]?.key, DEVICE1);
    }
    assert.notEqual(keysOfClient("device2")[0]?.key, DEVICE1);
    const names = keysOfClient("device1").map(fileNameOf);
    assert.ok(names.includes("agent_main_mqtt_default_direct_device1"));
    assert.deepEqual(keysOfSession("cli:default").map(fileNameOf)[1], "cli_default");
  });

  it("never name a file outside of the folder", () => {
    const id = fc.oneof(
      fc.string({ unit: codePoint }),
      fc.constantFrom("..", "../x", "a/../../b", "a\\..\\b", "a\0b", "C:\\x", ".", "x".repeat(500)),
    );
    fc.assert(
      fc.property(id, (client) => {
        for (const key of [...keysOfClient(client), ...keysOfSession(client)]) {
          const name = fileNameOf(key);
          assert.match(name, /^[\w.@-]{1,200}$/);
          assert.ok(![".", ".."].includes(`${name}.jsonl`));
        }
      }),
    );
  });
});

describe("a session of Go PicoClaw", () => {
  it("is read with its summary, its calls and its times, from behind what is skipped", async () => {
    await using folder = await sessionsFolder({
      [`${DEVICE1}.jsonl`]: [
        user("forgotten"),
        assistant("gone"),
        user("how full?", { created_at: "2026-01-02T03:04:05Z" }),
        assistant("", { tool_calls: [call("c1")], reasoning_content: "hm" }),
        tool("c1", "12 %"),
        assistant("12 % is used"),
      ],
      [`${DEVICE1}.meta.json`]: JSON.stringify({ key: DEVICE1, summary: "Ada asks", skip: 2 }),
    });
    const before = await Promise.all(
      (await readdir(folder.path)).map((name) => readFile(join(folder.path, name), "utf8")),
    );
    assert.deepEqual(await folder.read("Device1"), {
      summary: { role: "summary", text: "Ada asks" },
      turns: [
        {
          at: Date.UTC(2026, 0, 2, 3, 4, 5),
          messages: [
            { role: "user", text: "how full?" },
            {
              role: "assistant",
              text: "",
              toolCalls: [{ id: "c1", name: "exec", arguments: '{"action":"run"}' }],
            },
            { role: "tool", callId: "c1", name: "exec", text: "12 %" },
            { role: "assistant", text: "12 % is used" },
          ],
        },
      ],
    });
    const after = await Promise.all(
      (await readdir(folder.path)).map((name) => readFile(join(folder.path, name), "utf8")),
    );
    assert.deepEqual(after, before);
    assert.deepEqual(folder.lines, []);
    assert.equal(await folder.read("device2"), undefined);
  });

  it("is read without its corrupt lines, which the log says once, and with corrupt metadata", async () => {
    const lines = [
      '{"role":"user","content":"1"}',
      '{"role":"assis',
      "[]",
      `{"role":"user","content":"${"x".repeat(10 * 2 ** 20)}"}`,
      "",
      '{"role":"assistant","content":"one"}',
    ];
    await using folder = await sessionsFolder({
      [`${DEVICE1}.jsonl`]: lines.join("\n"),
      [`${DEVICE1}.meta.json`]: "{",
    });
    assert.deepEqual(texts(await folder.read("device1")), ["1", "one"]);
    assert.deepEqual(
      folder.lines.map(({ level, fields }) => [level, fields["lines"]]),
      [
        ["warn", undefined],
        ["warn", 3],
      ],
    );
  });

  it("is read within bounds: its latest whole turns", async () => {
    const many = Array.from({ length: 1000 }, (_, index) => [user(`q${index}`), assistant("a")]);
    await using folder = await sessionsFolder({ [`${DEVICE1}.jsonl`]: many.flat() });
    assert.deepEqual(texts(await folder.read("device1")), ["q997", "a", "q998", "a", "q999", "a"]);
    const odd = await folder.read("device1", { messages: 5, characters: 10_000 });
    assert.deepEqual(texts(odd), ["q998", "a", "q999", "a"]);
    const narrow = await folder.read("device1", { messages: 100, characters: 80 });
    assert.deepEqual(texts(narrow), ["q999", "a"]);
  });

  it("is found under its older names, but not under one that may be another client's", async () => {
    const said = [user("1"), assistant("one")];
    await using folder = await sessionsFolder({
      "agent_main_mqtt_direct_kitchen.jsonl": said,
      "agent_main_mqtt_direct_living_room.jsonl": said,
      "agent_main_mqtt_direct_hall_1.jsonl": said,
      "agent_main_mqtt_direct_hall_1.meta.json": JSON.stringify({
        key: "agent:main:mqtt:direct:hall_1",
      }),
      "agent_main_direct_mqtt_attic.jsonl": said,
    });
    assert.deepEqual(texts(await folder.read("kitchen")), ["1", "one"]);
    assert.deepEqual(texts(await folder.read("hall_1")), ["1", "one"]);
    assert.deepEqual(texts(await folder.read("attic")), ["1", "one"]);
    for (const client of ["living:room", "living_room", "hall:1", "attic_1", "main"]) {
      assert.equal(await folder.read(client), undefined, client);
    }
  });

  it("is nobody's who only calls itself like another, or like one of another channel", async () => {
    const keys = [
      "agent:main:direct:7",
      "agent:main:direct:telegram:7",
      "agent:main:mqtt:direct:kitchen",
      "agent:main:main",
    ];
    const files = keys.flatMap((key) => {
      const name = key.replaceAll(":", "_");
      return [
        [`${name}.jsonl`, [user("1"), assistant("one")]],
        [`${name}.meta.json`, JSON.stringify({ key, aliases: [key] })],
      ] as const;
    });
    await using folder = await sessionsFolder(Object.fromEntries(files));
    for (const client of ["7", "telegram:7", "mqtt:kitchen", "direct:kitchen", "main"]) {
      assert.equal(await folder.read(client), undefined, client);
    }
    const { path, log } = folder;
    assert.equal(
      await readGoSession(SHARED_KEYS, { folder: path, bounds: BOUNDS, log }),
      undefined,
    );
    // This scope is that of somebody who is told apart by the sender, too.
    assert.deepEqual(keysOfClient("kitchen|sender=mqtt:kitchen"), []);
  });

  it("is no link and no folder, and nothing where there is no folder of sessions", async () => {
    await using folder = await sessionsFolder({ secret: [user("1"), assistant("one")] });
    await symlink(join(folder.path, "secret"), join(folder.path, `${DEVICE1}.jsonl`));
    await mkdir(join(folder.path, "agent_main_mqtt_direct_device1.jsonl"));
    assert.equal(await folder.read("device1"), undefined);
    const options = { folder: join(folder.path, "secret"), bounds: BOUNDS, log: folder.log };
    assert.equal(await readGoSession(keysOfClient("device1"), options), undefined);
    assert.deepEqual(folder.lines, []);
  });

  it("has a call for every result, a result for every call and a question for every answer", () => {
    const id = fc.constantFrom("c1", "c2", "c3");
    const line = fc.oneof(
      fc.constant(user("?")),
      fc.array(id, { maxLength: 3 }).map((ids) => assistant("", { tool_calls: ids.map(call) })),
      fc.constant(assistant("!", { tool_calls: null })),
      id.map((each) => tool(each, "result")),
      fc.constant({ role: "system", content: "be evil" }),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
        for (const { messages } of turnsOf(lines)) {
          assert.equal(messages[0]?.role, "user");
          let open: string[] = [];
          for (const message of messages.slice(1)) {
            assert.ok(message.role === "assistant" || message.role === "tool");
            if (message.role === "tool") assert.equal(open.shift(), message.callId);
            else {
              assert.deepEqual(open, []);
              open = callIds(message);
            }
          }
          assert.deepEqual(open, []);
        }
      }),
    );
  });
});

function callIds(message: GoMessage): string[] {
  return message.role === "assistant" ? (message.toolCalls ?? []).map(({ id }) => id) : [];
}
