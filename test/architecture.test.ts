import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { it } from "node:test";

/** Each folder of src, and the folders it may import. Nothing else is allowed. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  config: ["base"],
  mqtt: ["base", "config"],
  agent: ["base", "config"],
  store: ["base"],
  gateway: ["base", "store"],
  cli: ["base", "config", "store", "mqtt", "agent", "gateway"],
  "main.ts": ["base", "cli"],
};

/**
 * Words that no name in src or test, of a file or in the code, may have: each has a standard word that
 * says more. docs/glossary.md has the words to use.
 */
const WORDS_OUT: ReadonlySet<string> = new Set(
  `insist insisting leash aside house tidings veil veiled told untold fulfil fulfilled beside spoken unspoken
  overheard unheard standby crew staff staffed furnish raid puppet rig dam talk trouble troubled thin thinning
  party mill debt keeper adopting blunt defused cage judge straying saying farewell anew shortens weigh
  weighed grew clipped journal ledger steer presentable condense condensed condenser lighter hopeful
  utterance honoured`.split(/\s+/),
);

const src = join(import.meta.dirname, "../src");
const files = (await readdir(src, { recursive: true })).filter((file) => file.endsWith(".ts"));
const folderOf = (file: string): string => file.split("/")[0] ?? file;

for (const file of files) {
  it(`${file} imports downwards only`, async () => {
    const text = await readFile(join(src, file), "utf8");
    for (const [, path] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      const target = folderOf(relative(src, join(src, dirname(file), path ?? "")));
      if (target.startsWith("..")) {
        assert.match(path ?? "", /\/package\.json$/, `${file} leaves src for ${path}`);
        continue;
      }
      const allowed = [folderOf(file), ...(MAY_IMPORT[folderOf(file)] ?? [])];
      assert.ok(allowed.includes(target), `${file} imports ${target}`);
    }
  });
}

it("no file imports itself through others, types counted", async () => {
  assert.deepEqual(cyclesOf(await importsOfAll()), []);
});

it("a cycle of three files is found", () => {
  const imports = { "a.ts": ["b.ts"], "b.ts": ["c.ts", "d.ts"], "c.ts": ["a.ts"], "d.ts": [] };
  assert.deepEqual(cyclesOf(new Map(Object.entries(imports))), [["a.ts", "b.ts", "c.ts", "a.ts"]]);
});

it("docs/architecture.md names files and folders that are there", async () => {
  const page = await readFile(join(src, "../docs/architecture.md"), "utf8");
  const named = [...page.matchAll(/`((?:base|config|store|mqtt|agent|gateway|cli)\/[^`]*)`/g)];
  assert.ok(named.length > 30);
  const missing = named.filter(([, path = ""]) => !existsSync(join(src, path)));
  assert.deepEqual(
    missing.map(([, path]) => path),
    [],
  );
});

for (const folder of ["src", "test"]) {
  it(`no name in ${folder} has a word that is out`, async () => {
    assert.deepEqual(await namesOutIn(join(import.meta.dirname, "..", folder)), []);
  });
}

it("names are found where they are declared, and by their words", () => {
  const code = "function holdVeil({ leash, b }: Puppet) {\n  const judge_x = 1;\n  // tidings\n}";
  assert.deepEqual(namesDeclaredIn(code).filter(isOut), ["holdVeil", "judge_x", "leash"]);
});

it("every folder of src is in the table", () => {
  for (const file of files) assert.ok(folderOf(file) in MAY_IMPORT, `${file} has no row`);
});

it("--version loads nothing but base", async () => {
  const loaded = await staticClosureOf("main.ts");
  assert.deepEqual(
    loaded.filter((file) => !file.startsWith("base/")),
    ["main.ts"],
  );
});

for (const [command, never] of [
  ["send", /^(agent|gateway)\//],
  ["listen", /^(agent|gateway)\//],
  ["agent", /^(mqtt|gateway)\//],
  ["sessions", /^(mqtt|agent|gateway\/(?!request-keys))/],
  // The table of flags is data, and imports nothing.
  ["help", /^(mqtt|agent|gateway|config)\/(?!flags\.ts)/],
] as const) {
  it(`${command} loads only what it uses`, async () => {
    const loaded = await staticClosureOf(`cli/commands/${command}.ts`);
    // Contracts are types and vanish.
    const wrong = loaded.filter((file) => never.test(file) && !file.endsWith("contract.ts"));
    assert.deepEqual(wrong, []);
  });
}

/** The files that a file loads before it runs: its imports that are no types and no `import()`. */
async function staticClosureOf(entry: string): Promise<string[]> {
  const seen = new Set([entry]);
  for (const file of seen) {
    const text = await readFile(join(src, file), "utf8");
    const imports = /^(?:import|export) (?!type )[^;]*?from "(\.[^"]+\.ts)"/gm;
    for (const [, path] of text.matchAll(imports)) {
      seen.add(relative(src, join(src, dirname(file), path ?? "")));
    }
  }
  return [...seen].toSorted();
}

/** Every file of src with the files of src that it imports: values, types and `import()`. */
async function importsOfAll(): Promise<Map<string, readonly string[]>> {
  const entries = files.map(async (file): Promise<[string, readonly string[]]> => {
    const text = await readFile(join(src, file), "utf8");
    const paths = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+\.ts)"/g)];
    return [file, paths.map(([, path]) => relative(src, join(src, dirname(file), path ?? "")))];
  });
  return new Map(await Promise.all(entries));
}

/** The cycles that a depth-first walk meets; empty only when there are none. */
function cyclesOf(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start !== -1) cycles.push([...path.slice(start), file]);
    if (start !== -1 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) walk(target, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) walk(file, []);
  return cycles;
}

async function namesOutIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const file of await readdir(folder, { recursive: true })) {
    if (!file.endsWith(".ts")) continue;
    const names = namesDeclaredIn(await readFile(join(folder, file), "utf8"));
    const path = file.replace(/(?:\.test)?\.ts$/, "").replaceAll(/[-./]/g, "_");
    found.push(...[path, ...names].filter(isOut).map((name) => `${file}: ${name}`));
  }
  return found;
}

/** The names after a keyword, those that begin a line, and those in parameters and patterns. */
function namesDeclaredIn(text: string): string[] {
  const code = text
    .replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "")
    .replaceAll(/"(?:[^"\\\n]|\\.)*"/g, '""');
  const places = [
    /\b(?:const|let|function\*?|class|interface|type)\s+([A-Za-z_$][\w$]*)/g,
    /^\s+(?:(?:readonly|static|async|get|set|private) |#|\*|\.\.\.)*([A-Za-z_$][\w$]*)\??\s*[(:<=,]/gm,
    /[({[,]\s*(?:readonly )?(?:\.\.\.)?([A-Za-z_$][\w$]*)\s*(?=[,:})=?\]])/g,
  ];
  const names = places.flatMap((place) => [...code.matchAll(place)].map(([, name = ""]) => name));
  return [...new Set(names)];
}

function isOut(name: string): boolean {
  const words = name
    .replaceAll(/([a-z\d])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .split("_");
  return words.some((word) => WORDS_OUT.has(word));
}
