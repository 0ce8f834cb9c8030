import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FACT_NAMES, factSentence } from "../../../src/agent/device/facts.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { fileNameOf, keysOfSession } from "../../../src/store/go/keys.ts";
import { readGoSession } from "../../../src/store/go/session.ts";
import { openInstance } from "../../../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../../../src/store/sqlite/store.ts";
import { BOUNDS, newRequest } from "../../store/contract.ts";
import { headAndBody, kindOf, sectionsOf } from "../target.ts";
import type { Target, Trial } from "../target.ts";

const LIMITS = { messages: 20, characters: 20_000 };

/** The first section is the session's lines, the second what is known of it. */
async function openGo(): Promise<Trial> {
  const folder = await mkdtemp(join(tmpdir(), "picoclaw-fuzz-go-"));
  const [key] = keysOfSession("s");
  assert.ok(key);
  const file = join(folder, fileNameOf(key));
  return {
    async run(input) {
      const [first, second] = headAndBody(input);
      const [lines, meta] =
        first === "" ? [second, undefined] : [Buffer.from(first, "latin1"), second];
      await writeFile(`${file}.jsonl`, lines);
      if (meta === undefined) await rm(`${file}.meta.json`, { force: true });
      else await writeFile(`${file}.meta.json`, meta);
      const session = await readGoSession([key], { folder, bounds: LIMITS, log: SILENT });
      if (session === undefined) return "none";
      const messages = session.turns.flatMap((turn) => turn.messages);
      assert.ok(messages.length <= LIMITS.messages);
      for (const turn of session.turns) checkTurn(turn);
      const roles = messages.map(({ role }) => role[0]).join("");
      return `${session.summary === undefined} ${roles.slice(0, 12)}`;
    },
    close: () => rm(folder, { recursive: true }),
  };
}

type Session = NonNullable<Awaited<ReturnType<typeof readGoSession>>>;

/** A question first; behind each call its result, and no result without its call. */
function checkTurn({ messages, at }: Session["turns"][number]): void {
  assert.equal(messages[0]?.role, "user");
  assert.ok(at === undefined || at > 0);
  let expected: string[] = [];
  for (const message of messages) {
    assert.equal(typeof message.text, "string");
    if (message.role === "tool") assert.equal(expected.shift(), message.callId);
    else assert.deepEqual(expected, [], "a call without its result");
    if (message.role === "assistant") expected = (message.toolCalls ?? []).map(({ id }) => id);
  }
  assert.deepEqual(expected, []);
}

export const GO_SESSION: Target = {
  name: "go-session",
  about: "a session of the Go program is whole turns within bounds, whatever is in its files",
  material: {
    json: true,
    lines: true,
    words:
      '"role" "user" "assistant" "tool" "system" "content" "tool_calls" "tool_call_id" "id" "name" "function" "arguments" "created_at" "summary" "skip" "key" "aliases" \n%%\n'.split(
        " ",
      ),
  },
  open: openGo,
};

const DEVICE_FILES = [
  "proc/stat",
  "proc/meminfo",
  "proc/loadavg",
  "proc/uptime",
  "proc/cpuinfo",
  "proc/self/mounts",
  "proc/self/cgroup",
  "proc/7/stat",
  "proc/7/status",
  "proc/sys/kernel/osrelease",
  "proc/device-tree/model",
  "etc/os-release",
  "sys/class/thermal/thermal_zone0/temp",
  "sys/class/thermal/thermal_zone0/type",
  "sys/fs/cgroup/memory.max",
  "sys/fs/cgroup/memory.current",
];

/** Sections are the files above, in their order; an empty one is a file that is not there. */
async function openDevice(): Promise<Trial> {
  const root = await mkdtemp(join(tmpdir(), "picoclaw-fuzz-device-"));
  for (const path of DEVICE_FILES) await mkdir(dirname(join(root, path)), { recursive: true });
  let sections: string[] = [];
  const write = async (path: string, text: string): Promise<void> => {
    if (text === "") await rm(join(root, path), { force: true });
    else await writeFile(join(root, path), text);
  };
  const device = {
    root,
    workspace: root,
    now: () => new Date("2026-07-01T12:00:00Z"),
    // Between two samples the kernel's counters go on.
    pause: () => write("proc/stat", (sections[0] ?? "").replaceAll(/\d\b/g, "9")),
  };
  return {
    async run(input) {
      sections = sectionsOf(input);
      const outcomes: string[] = [];
      for (const name of FACT_NAMES) {
        for (const [index, path] of DEVICE_FILES.entries())
          await write(path, sections[index] ?? "");
        const sentence = await factSentence(name, device, new AbortController().signal);
        assert.ok(sentence.length < 3_000, `${name}: ${sentence.length} characters`);
        assert.doesNotMatch(sentence, /[\p{Cc}\p{Zl}\p{Zp}]/u, name);
        const isWritten = /NaN|Infinity|undefined|\[object/.test(sections.join(""));
        if (!isWritten) assert.doesNotMatch(sentence, /NaN|Infinity|undefined|\[object/, name);
        outcomes.push(sentence.includes("cannot be read") ? kindOf(sentence) : "");
      }
      return outcomes.join("|");
    },
    close: () => rm(root, { recursive: true }),
  };
}

export const DEVICE: Target = {
  name: "device",
  about: "facts of the device are sentences with sense, whatever the kernel's files say",
  material: {
    lines: true,
    most: 32_768,
    words:
      "cpu cpu0 MemTotal: MemAvailable: SwapTotal: kB 0::/ memory: VmRSS: Name: ( ) / ext4 rw max -1 \n%%\n".split(
        " ",
      ),
  },
  open: openDevice,
};

/** Changes of a database that was in use: five bytes each, where and what; the last one cuts its end off. */
function damaged(database: Buffer, input: Uint8Array): Buffer {
  const bytes = Buffer.from(database);
  const patches = Buffer.from(input);
  for (let at = 0; at + 5 <= patches.length && at < 500; at += 5) {
    const place = patches.readUInt32BE(at);
    // Half of the changes hit the header and the schema.
    const within = place & 1 ? Math.min(bytes.length, 1024) : bytes.length;
    bytes[(place >>> 1) % within] = patches[at + 4] ?? 0;
  }
  return patches.length % 7 === 3 ? bytes.subarray(0, patches.length * 97) : bytes;
}

async function openStore(): Promise<Trial> {
  const folder = await mkdtemp(join(tmpdir(), "picoclaw-fuzz-store-"));
  const file = join(folder, "picoclaw.db");
  const options = { owner: "o", now: () => 1_800_000_000_000, bounds: BOUNDS, log: SILENT };
  const used = await openSqliteStore<string>(file, options);
  await used.accept(newRequest("asked"));
  for (let turn = 0; turn < 20; turn += 1) await used.append(`lane ${turn % 3}`, ["x".repeat(300)]);
  await used.close();
  const database = await readFile(file);
  const ids = JSON.stringify({ "mqtt:kitchen": "picoclaw-mqtt-kitchen-0011aabb" });
  return {
    async run(input) {
      for (const name of await readdir(folder)) await rm(join(folder, name));
      const bytes = damaged(database, input);
      await writeFile(file, bytes);
      await writeFile(join(folder, "client-ids.json"), damaged(Buffer.from(ids), input));
      if (bytes.length === 0) await truncate(file);
      return `${await idIn(folder)} ${await usedAgain(file, options)}`;
    },
    close: () => rm(folder, { recursive: true }),
  };
}

async function idIn(folder: string): Promise<string> {
  const home = await openInstance(folder, { log: SILENT });
  const id = home.clientId("mqtt:kitchen", () => "made");
  assert.ok(typeof id === "string" && id !== "");
  assert.equal(
    home.clientId("mqtt:kitchen", () => "again"),
    id,
    "the client id does not stay",
  );
  home.close();
  return id === "made" ? "made" : "kept";
}

/** All that a gateway asks of its store at a start, and one request; each call works or is a failure with a name. */
async function usedAgain(
  file: string,
  options: Parameters<typeof openSqliteStore>[1],
): Promise<string> {
  const store = await failing(() => openSqliteStore<string>(file, { ...options, owner: "p" }));
  if (store instanceof Failure) return kindOf(store.message);
  const outcomes = [
    await failing(() => store.claimAbandoned()),
    await failing(() => store.rejections(0, 10)),
    await failing(() => store.history("lane 1")),
    await failing(() => store.conversations()),
    await failing(() => store.accept(newRequest("another"))),
    await failing(() => store.purge()),
  ];
  await failing(() => store.close());
  const isSetApart = (await readdir(dirname(file))).some((name) => name.includes(".corrupt-"));
  const failed = outcomes.map((one) => (one instanceof Failure ? one.code : "ok"));
  return `${isSetApart ? "set aside" : "kept"} ${failed.join(" ")}`;
}

async function failing<T>(work: () => Promise<T>): Promise<T | Failure> {
  try {
    return await work();
  } catch (thrown) {
    assert.ok(thrown instanceof Failure, `it threw ${String(thrown)}`);
    return thrown;
  }
}

export const STORE: Target = {
  name: "store",
  about: "a corrupt database is set aside or its calls fail by name, and the client id stays",
  material: { most: 600 },
  open: openStore,
};
