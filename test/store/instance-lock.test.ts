import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { statfsSync } from "node:fs";
import { chmod, cp, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { socketFilesIn } from "../../src/store/home/instance-files.ts";
import { instanceIdsIn, openInstance } from "../../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { smallDisk } from "../support/small-disk.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { BOUNDS, claimedAbandoned } from "./contract.ts";

const holder = join(import.meta.dirname, "holder.ts");
const RUN = "Deno" in globalThis ? ["run", "-A", "--quiet", "--no-check"] : [];

/** A process that holds a place in the folder; killed when disposed. */
function startHolder(folder: string, what = "hold") {
  const child = spawn(process.execPath, [...RUN, holder, folder, what], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const gone = once(child, "exit");
  let output = "";
  child.stdout.on("data", (data) => {
    output += String(data);
  });
  return {
    lines: () => output.split("\n").slice(0, -1),
    async said(words: RegExp): Promise<string> {
      await until(`the holder says ${words}: ${output}`, () => words.test(output));
      return words.exec(output)?.[1] ?? "";
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

describe("the state folder", () => {
  it("gives each living process a place and an id of its own, and a killed one's to the next", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "state");
    let first: string;
    {
      await using one = startHolder(path);
      first = await one.said(/instance 1 (.*)/);
      await using two = startHolder(path);
      const second = await two.said(/instance 2 (.*)/);
      assert.notEqual(second, first);
      const own = await openInstance(path, { log: SILENT });
      assert.equal(own.instance, 3);
      own.close();
    }
    const home = await openInstance(path, { log: SILENT });
    assert.equal(home.instance, 1);
    assert.equal(
      home.clientId("mqtt", () => "another"),
      first,
    );
    assert.equal(
      home.clientId("other", () => "another"),
      "another",
    );
    home.close();
  });

  it("renames a broken file of ids", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "client-ids.json");
    await writeFile(file, '{"mqtt": "a');
    const log = createMemoryLog();
    const { lines } = log;
    const home = await openInstance(folder.path, { log });
    assert.equal(
      home.clientId("mqtt", () => "new"),
      "new",
    );
    assert.match(lines[0]?.message ?? "", /broken/);
    assert.equal(await readFile(String(lines[0]?.fields["file"]), "utf8"), '{"mqtt": "a');
    assert.deepEqual(JSON.parse(await readFile(file, "utf8")), { mqtt: "new" });
    home.close();
  });

  it("that cannot be made is refused with its path and a way out", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "state"), "");
    const opened = openInstance(join(folder.path, "state"), { log: SILENT });
    await assert.rejects(opened, { code: "config", why: /state/, remedy: /workspace/ });
    await mkdir(join(folder.path, "else"));
    await chmod(join(folder.path, "else"), 0o700);
  });
});

/** Opens the folder as a gateway does, on the machine with that id. */
async function use(folder: string, machineFile: string) {
  const log = createMemoryLog();
  const { lines } = log;
  const home = await openInstance(folder, { log, machineFiles: [machineFile] });
  const clientId = home.clientId("mqtt", () => randomUUID());
  home.close();
  return { id: home.id, clientId, messages: lines.map(({ message }) => message) };
}

describe("the instance id of a state folder", () => {
  const machine = "0123456789abcdef0123456789abcdef";

  async function temporaryHomes() {
    const folder = await temporaryFolder();
    const [here, elsewhere] = [join(folder.path, "here"), join(folder.path, "elsewhere")];
    await writeFile(here, `${machine}\n`);
    await writeFile(elsewhere, machine.replace("0", "f"));
    const home = join(folder.path, "home");
    const copy = join(folder.path, "copy");
    const dispose = () => folder[Symbol.asyncDispose]();
    return { here, elsewhere, home, copy, [Symbol.asyncDispose]: dispose };
  }

  it("is the same at each start", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    assert.match(first.id, /^[0-9a-f]{12}$/);
    assert.deepEqual(await use(homes.home, homes.here), first);
    assert.ok(!(await readFile(join(homes.home, "instance.json"), "utf8")).includes(machine));
  });

  it("is another one in a copy, whose client ids are new as well", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    await cp(homes.home, homes.copy, { recursive: true });
    const second = await use(homes.copy, homes.here);
    assert.notEqual(second.id, first.id);
    assert.notEqual(second.clientId, first.clientId);
    assert.match(second.messages.join(), /is a copy/);
    assert.deepEqual(await use(homes.copy, homes.here), { ...second, messages: [] });
    assert.deepEqual(await use(homes.home, homes.here), first);
  });

  it("is another one on another machine", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    const second = await use(homes.home, homes.elsewhere);
    assert.notEqual(second.id, first.id);
    assert.notEqual(second.clientId, first.clientId);
  });

  it("stays where a machine has no id", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    assert.deepEqual(await use(homes.home, join(homes.home, "none")), first);
    assert.notEqual((await use(homes.home, homes.elsewhere)).id, first.id);
  });

  it("moves with its folder, within a file system and to another one", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    await rename(homes.home, homes.copy);
    assert.deepEqual(await use(homes.copy, homes.here), first);
    await cp(homes.copy, homes.home, { recursive: true });
    await rm(homes.copy, { recursive: true });
    assert.deepEqual(await use(homes.home, homes.here), first);
  });

  it("comes back with a backup, and stays with a folder that was replaced by one", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    await cp(homes.home, homes.copy, { recursive: true });
    await rm(homes.home, { recursive: true });
    await cp(homes.copy, homes.home, { recursive: true });
    assert.deepEqual(await use(homes.home, homes.here), first);
    // The backup itself is a copy.
    assert.notEqual((await use(homes.copy, homes.here)).id, first.id);
  });

  it("is of no other home for a check of a copy", async () => {
    await using folder = await temporaryFolder();
    const [home, copy] = [join(folder.path, "home"), join(folder.path, "copy")];
    const first = await openInstance(home, { log: SILENT });
    const second = await openInstance(home, { log: SILENT });
    await cp(home, copy, { recursive: true });
    assert.deepEqual(instanceIdsIn(home).toSorted(), [first.id, second.id].toSorted());
    assert.deepEqual(instanceIdsIn(copy), []);
    assert.deepEqual(instanceIdsIn(join(folder.path, "none")), []);
    first.close();
    second.close();
  });

  it("is the same on both paths of one folder", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    await symlink(homes.home, homes.copy);
    assert.deepEqual(await use(homes.copy, homes.here), first);
  });

  it("is made anew where its file is broken", async () => {
    await using homes = await temporaryHomes();
    const first = await use(homes.home, homes.here);
    await writeFile(join(homes.home, "instance.json"), "{");
    const second = await use(homes.home, homes.here);
    assert.match(second.id, /^[0-9a-f]{12}$/);
    assert.equal(second.clientId, first.clientId);
  });
});

describe("a process that is killed while it writes", () => {
  for (const after of [1, 40, 200]) {
    it(`after about ${after} writes, leaves all that it was told is durable, whole`, async () => {
      await using folder = await temporaryFolder();
      const lines: string[] = [];
      {
        await using writer = startHolder(folder.path, "write");
        await until("it has written", () => writer.lines().length > after);
        lines.push(...writer.lines());
      }
      const options = {
        owner: "next",
        now: () => Date.now(),
        bounds: BOUNDS,
        sole: true,
        log: SILENT,
      };
      const store = await openSqliteStore<string>(join(folder.path, "picoclaw.db"), options);
      const left = await claimedAbandoned(store);
      const found = new Map(left.map(({ request, answer }) => [request.text, answer]));
      for (const line of lines) {
        const [, what, text = ""] = /^(accepted|answered) (.*)$/.exec(line) ?? [];
        if (what === "accepted") assert.ok(found.has(text), line);
        if (what === "answered") assert.deepEqual(found.get(text)?.parts, [text], line);
      }
      const answered = left.flatMap(({ request: { text }, answer }) => (answer ? [text] : []));
      const expected = answered.flatMap((text) => [`question ${text}`, `answer ${text}`]);
      assert.deepEqual(await store.history("lane"), expected.slice(-BOUNDS.messages));
      await store.close();
    });
  }
});

it("lists the sockets of a folder by the numbers of the instances", async () => {
  await using folder = await temporaryFolder();
  assert.deepEqual(socketFilesIn(join(folder.path, "none")), []);
  for (const name of ["gateway-10.lock", "gateway-2.lock", "gateway.lock", "gateway-3.sock"]) {
    await writeFile(join(folder.path, name), "");
  }
  const names = ["gateway.sock", "gateway-2.sock", "gateway-10.sock"];
  assert.deepEqual(
    socketFilesIn(folder.path),
    names.map((name) => join(folder.path, name)),
  );
});

describe("a disk that fills after the lock was taken", () => {
  // Where SQLite fails, and how, depends on what is left.
  for (const pages of [0, 1, 2, 8, 9, 13]) {
    it(`with ${pages} pages left is no fault of the configuration`, async (test) => {
      await using disk = await smallDisk(400);
      if (disk === undefined) return test.skip("no tmpfs can be mounted here");
      const home = await openInstance(join(disk.path, "state"), { log: SILENT });
      const { bavail, bsize } = statfsSync(disk.path);
      await writeFile(join(disk.path, "ballast"), Buffer.alloc((bavail - pages) * bsize));
      const options = { owner: "1", now: Date.now, bounds: BOUNDS, log: SILENT };
      await assert.rejects(openSqliteStore(home.databaseFile, options), {
        code: "failed",
        message: "the database cannot be opened",
        remedy: "free space on that disk",
      });
      const longest = () => "x".repeat(100 * bsize);
      assert.throws(() => home.clientId("mqtt", longest), { name: "Failure", code: "failed" });
      home.close();
    });
  }
});
