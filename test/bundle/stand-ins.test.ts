import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, it } from "node:test";
import { STAND_INS } from "../../scripts/bundle/stand-ins.ts";
import { temporaryFolder } from "../support/temporary.ts";

const root = join(import.meta.dirname, "../..");
const mqtt = join(root, "node_modules/mqtt/build");
const packets = join(root, "node_modules/mqtt-packet");
const require = createRequire(join(mqtt, "mqtt.js"));

/** What each stands for, and what of it MQTT.js and mqtt-packet use. */
const USED: Readonly<Record<string, { readonly of: string; readonly names: readonly string[] }>> = {
  debug: { of: "debug", names: [] },
  "readable-stream": {
    of: "readable-stream",
    names: ["Duplex", "PassThrough", "Readable", "Transform", "Writable"],
  },
  "worker-timers": { of: "worker-timers", names: ["clearInterval", "setInterval"] },
  "lru-cache": { of: "lru-cache", names: ["LRUCache"] },
  "mcp-shims": { of: "@modelcontextprotocol/client/_shims", names: ["DefaultJsonSchemaValidator"] },
  "mqtt/connect": { of: "./lib/connect", names: ["connectAsync", "default"] },
};

describe("what stands in the bundle for parts that the program never uses", () => {
  it("has all that others take from them", async () => {
    await using folder = await temporaryFolder();
    assert.deepEqual(Object.keys(USED).toSorted(), Object.keys(STAND_INS).toSorted());
    for (const [index, [name, { imported, source }]] of Object.entries(STAND_INS).entries()) {
      const { of = "", names = [] } = USED[name] ?? {};
      assert.match(of, imported);
      const file = join(folder.path, `${index}.cjs`);
      writeFileSync(file, source);
      const [ours, theirs] = [require(file), require(of)];
      assert.equal(typeof ours, typeof theirs, name);
      for (const one of names) {
        assert.equal(typeof ours[one], "function", `${name}: ${one}`);
        assert.equal(typeof theirs[one], "function", `${name} has no ${one} any more`);
      }
    }
    const silent = require(join(folder.path, "0.cjs"))("name");
    assert.deepEqual([silent("a %d", 1), silent.enabled], [undefined, false]);
  });

  it("is all that others take from them", () => {
    const folders = [mqtt, join(mqtt, "lib"), join(mqtt, "lib/handlers"), packets];
    const files = folders.flatMap((folder) =>
      readdirSync(folder)
        .filter((name) => /^(?!test)[\w-]+\.js$/.test(name))
        .map((name) => join(folder, name)),
    );
    const taken = files.flatMap((file) => takenIn(readFileSync(file, "utf8")));
    const known = new Set(
      Object.values(USED).flatMap(({ of, names }) => names.map((name) => `${of} ${name}`)),
    );
    assert.deepEqual(
      taken.filter((one) => !known.has(one)),
      [],
    );
    assert.ok(new Set(taken).size > 4);
  });

  it("is all that client and server of MCP take", () => {
    const folders = ["client", "server"].map((name) =>
      join(root, "node_modules/@modelcontextprotocol", name, "dist"),
    );
    const files = folders.flatMap((folder) =>
      readdirSync(folder).map((name) => join(folder, name)),
    );
    const scripts = files.filter((name) => name.endsWith(".mjs") && !name.endsWith("stdio.mjs"));
    const texts = scripts.map((name) => readFileSync(name, "utf8"));
    const names = texts.flatMap((text) => {
      const lists = text.matchAll(
        /import \{ ([\w, ]+) \} from "@modelcontextprotocol\/(?:client|server)\/_shims"/g,
      );
      return [...lists].flatMap(([, list = ""]) => list.split(", "));
    });
    assert.deepEqual([...new Set(names)].toSorted(), [
      "CORS_IS_POSSIBLE",
      "DefaultJsonSchemaValidator",
    ]);
  });

  it("leaves nothing of them in the bundle", async () => {
    await using folder = await temporaryFolder();
    const bun = join(root, "node_modules/.bin/bun");
    const made = spawnSync(bun, ["scripts/build.ts", "--files", folder.path], { cwd: root });
    assert.equal(made.status, 0, String(made.stderr));
    const maps = readdirSync(folder.path).filter((name) => name.endsWith(".map"));
    const sources = maps.flatMap((map): string[] => {
      return JSON.parse(readFileSync(join(folder.path, map), "utf8")).sources;
    });
    assert.ok(sources.some((source) => source.includes("node_modules/mqtt/")));
    const gone =
      /node_modules\/(?:debug|ms|readable-stream|socks|ip-address|worker-timers|lru-cache|ajv)\/|ajvProvider/;
    assert.deepEqual(
      sources.filter((source) => gone.test(source) || source.includes("/mqtt/build/lib/connect/")),
      [],
    );
  });
});

const REQUIRED =
  /(?:const|var) (\w+) = (?:__import\w+\()?require\("(readable-stream|worker-timers|lru-cache|\.\/lib\/connect)"\)/g;

/** `worker-timers setInterval` for each use of what a module requires. */
function takenIn(text: string): string[] {
  return [...text.matchAll(REQUIRED)].flatMap(([, variable = "", of = ""]) =>
    [...text.matchAll(new RegExp(`\\b${variable}\\.(\\w+)`, "g"))].map(
      ([, used]) => `${of} ${used}`,
    ),
  );
}
