import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "./run-tool.ts";

/**
 * All tests: the whole suite under Bun, the suite again under Deno, most of it under node, and the end-to-end
 * tests against each way to run the program (compiled, from source under Bun, from source under Deno).
 */
const root = join(import.meta.dirname, "..");
const bin = join(root, "node_modules/.bin");

interface Suite {
  readonly name: string;
  readonly command: readonly string[];
  readonly under?: "binary" | "bun" | "deno" | "node" | "faults";
}

/** The first node that strips types by itself, which is what runs the program from source. */
const LEAST_NODE = [22, 18] as const;

/** The same cases of each property in every run: what fails here fails again. Others are for `npm run fuzz`. */
const SEED = "./test/support/seed.ts";
const BUN_TEST = ["bun", "test", "--preload", SEED];
const DENO_TEST = ["deno", "test", "-A", "--no-check", "--quiet", "--preload", SEED];
const folders = readdirSync(join(root, "test")).filter((name) => name !== "support");
const tests = (...others: readonly string[]): readonly string[] =>
  folders.filter((name) => !others.includes(name)).map((name) => `test/${name}`);

/** The suite by itself: what most of it costs is the processor, but for `mqtt`, which waits as long as it works. */
const [UNITS_MQTT, UNITS, UNITS_DENO] = [
  {
    name: "unit tests, Bun: mqtt",
    command: [...BUN_TEST, "--timeout", "120000", "test/mqtt"],
    under: "binary",
  },
  {
    name: "unit tests, Bun",
    command: [...BUN_TEST, "--timeout", "120000", ...tests("e2e", "faults", "mqtt")],
    under: "binary",
  },
  {
    name: "unit tests, Deno, from source",
    // What Bun does, whoever asks for it, is left out.
    command: [...DENO_TEST, "--parallel", ...tests("e2e", "faults", "bundle")],
    under: "deno",
  },
] as const satisfies readonly Suite[];

const node = findNode();
/** What differs between runtimes, but for what Deno shows as well: both run V8. */
const NODE: readonly Suite[] =
  node === undefined
    ? []
    : [
        {
          name: "unit tests, node, from source",
          command: [
            node,
            "--import",
            SEED,
            "--test",
            "--test-timeout=180000",
            "--test-concurrency=3",
            ...["base", "config", "store", "gateway", "mqtt", "cli"].map(globOf),
          ],
          under: "node",
        },
      ];

/**
 * What can differ between the compiled program and its source under the same runtime: how it starts, finds its files,
 * runs others and ends.
 */
const SOURCE_SHOWS = [
  "conversation",
  "crash",
  "durable",
  "exec",
  "gateway",
  "process",
  "quickstart",
  "stream",
  "terminal",
].map((name) => `test/e2e/${name}.test.ts`);

/** From end to end, each way to run the program: this mostly waits. */
const [COMPILED, FROM_BUN, FROM_DENO] = [
  {
    name: "end-to-end tests, compiled",
    command: [...BUN_TEST, "--timeout", "120000", "test/e2e"],
    under: "binary",
  },
  {
    name: "end-to-end tests, Bun, from source",
    command: [...BUN_TEST, "--timeout", "120000", ...SOURCE_SHOWS],
    under: "bun",
  },
  {
    name: "end-to-end tests, Deno, from source",
    command: [...DENO_TEST, "test/e2e"],
    under: "deno",
  },
] as const satisfies readonly Suite[];

/** A storm lasts as long as its test says, and turns that are begun again wait for leases; others run meanwhile. */
const faultFiles = readdirSync(join(root, "test/faults")).filter((name) =>
  name.endsWith(".test.ts"),
);
const [STORMS, BEGUN] = ["chaos", "begun-turns"] as const;
const faults = (name: string, isOne: (file: string) => boolean): Suite => ({
  name: `${name}, a binary that can be told to die`,
  command: [
    ...BUN_TEST,
    "--timeout",
    "120000",
    ...faultFiles.filter((file) => isOne(file)).map((file) => `test/faults/${file}`),
  ],
  under: "faults",
});

/** One row after the other; of a row so many run at a time, the longest first. */
const AT_A_TIME = 4;
const ROWS: readonly (readonly Suite[])[] = [
  [
    COMPILED,
    FROM_DENO,
    UNITS,
    UNITS_DENO,
    UNITS_MQTT,
    ...NODE,
    faults("begun turns", (file) => file.includes(BEGUN)),
    FROM_BUN,
  ],
  [
    faults("storms of faults", (file) => file.includes(STORMS)),
    faults("faults", (file) => !file.includes(BEGUN) && !file.includes(STORMS)),
  ],
];

// Its first run puts the program in place: two of them at a time would take it from each other.
spawnSync(join(bin, "deno"), ["--version"]);

let passed = 0;
let failed = 0;
for (const row of ROWS) {
  const waiting = row.values();
  await Promise.all(Array.from({ length: AT_A_TIME }, () => runAll(waiting)));
}
console.log(`${passed} passed, ${failed} failed`);
for (const missing of missingParts()) {
  console.log(`NOT TESTED: ${missing}`);
  if (process.env["CI"]) failed += 1;
}
process.exitCode = failed === 0 ? 0 : 1;

/** What of the suite was left out; in CI nothing may be. */
function missingParts(): string[] {
  return [
    ...(existsSync("/usr/sbin/mosquitto")
      ? []
      : ["everything with a real broker; mosquitto is not installed"]),
    ...(existsSync("/usr/lib/postgresql")
      ? []
      : ["the store in PostgreSQL; postgresql is not installed"]),
    ...(node === undefined
      ? [`node; none of ${LEAST_NODE.join(".")} or newer is in PATH or PICOCLAW_NODE`]
      : []),
  ];
}

function findNode(): string | undefined {
  return [process.env["PICOCLAW_NODE"], "node"].find((program) => {
    if (program === undefined) return false;
    const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
    const [major = 0, minor = 0] = (stdout ?? "").replace("v", "").split(".").map(Number);
    return major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
  });
}

function globOf(folder: string): string {
  return `test/${folder}/**/*.test.ts`;
}

/** Takes suites that nobody has taken yet, until none is left. */
async function runAll(waiting: Iterable<Suite>): Promise<void> {
  for (const { name, command, under } of waiting) {
    const [tool = "", ...rest] = command;
    const program = tool === node ? tool : join(bin, tool);
    const { text, code } = await runTool(root, [program, ...rest], under ?? "bun");
    const shown = code === 0 ? text.trimEnd().split("\n").slice(-6).join("\n") : text;
    console.log(`\n# ${name}\n${shown}`);
    passed += count(text, /(\d+) pass(?:ed)?\b|^ℹ pass (\d+)/gm);
    failed += Math.max(count(text, /(\d+) fail(?:ed)?\b|^ℹ fail (\d+)/gm), code === 0 ? 0 : 1);
  }
}

/** The last figure that the runner closes with. */
function count(text: string, pattern: RegExp): number {
  const [, ...figures] = [...text.matchAll(pattern)].at(-1) ?? [];
  return Number(figures.find((figure) => figure !== undefined) ?? 0);
}
