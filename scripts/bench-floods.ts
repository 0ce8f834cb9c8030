import { parseArgs } from "node:util";
import {
  runCut,
  runKilled,
  runLarge,
  runUnacknowledged,
  type FaultFigures,
} from "../test/support/flood-faults.ts";
import { runFlood, type FloodCase, type FloodFigures } from "../test/support/flood-run.ts";

/**
 * `npm run floods [-- --only ROW] [--stall SECONDS] [--log]`: floods and losses against the compiled
 * program, one row each; ROW is the beginning of a row's name. A row is over when every request has
 * ended, or none did for that long. Ends with 1 where a row misses its goal, which its last cell says.
 */
const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    stall: { type: "string", default: "20" },
    log: { type: "boolean", default: false },
  },
});
const stallMs = Number(values.stall) * 1000;
if (!(stallMs > 0)) throw new Error("usage: npm run floods -- --only qos1 --stall 20");
process.env["PICOCLAW_UNDER_TEST"] = "binary";

type Figures = FaultFigures & Partial<FloodFigures> & { readonly unacknowledged?: number };
type Row = readonly [name: string, run: () => Promise<Figures>];

/** The same on MQTT 5 and 3.1.1, while the gateway runs and while it is away. */
function everyWay(name: string, flood: Omit<FloodCase, "version" | "away">): Row[] {
  return ([5, 4] as const).flatMap((version) =>
    [false, true].map((away): Row => {
      const title = `${name}, ${version === 5 ? "5" : "3.1.1"}, ${away ? "away" : "live"}`;
      return [title, () => runFlood({ ...flood, version, away }, stallMs)];
    }),
  );
}

const versions = (name: string, run: (version: 4 | 5) => Promise<Figures>): Row[] =>
  ([5, 4] as const).map((version): Row => [
    `${name}, ${version === 5 ? "5" : "3.1.1"}`,
    () => run(version),
  ]);

const LARGE = { count: 110, bytes: 250 * 1024, qos: 1 } as const;
const FLEET = { count: 10_000, clients: 10_000, qos: 1, broker: "raised" } as const;
const ROWS: readonly Row[] = [
  ...everyWay("qos1: 5,000 of one client, raised queue", { count: 5000, qos: 1, broker: "raised" }),
  ...everyWay("qos2: 300 of one client", { count: 300, qos: 2, broker: "default" }),
  ...everyWay("bytes: 110 of 250 KB", { ...LARGE, broker: "default" }),
  ...everyWay("bytes: 110 of 250 KB, max_inflight 0", { ...LARGE, broker: "inflight0" }),
  ...everyWay("inflight0: 5,000 of one client", { count: 5000, qos: 1, broker: "inflight0" }),
  ...versions("qos0: 200 of one client", (version) =>
    runFlood({ count: 200, qos: 0, version, broker: "default" }, stallMs),
  ),
  ...everyWay("fleet: 10,000 clients with one each", FLEET),
  ...versions("unacknowledged: 65,535 of one client", (version) =>
    runUnacknowledged({ count: 65_535, clients: 1, version }, stallMs),
  ),
  ...versions("unacknowledged: 65,535 of 1,000 clients", (version) =>
    runUnacknowledged({ count: 65_535, clients: 1000, version }, stallMs),
  ),
  ...versions("cut: 40 at QoS 2", (version) => runCut(version, stallMs)),
  ["large: 300 KB, 1, 2, 8 MiB, 5", () => runLarge(stallMs)],
  ["killed: both in the middle of 60, embedded", () => runKilled("embedded", stallMs)],
  ["killed: both in the middle of 60, mosquitto", () => runKilled("mosquitto", stallMs)],
  [
    "embedded: 5,000 at QoS 1 of one client, 3.1.1",
    () => runFlood({ count: 5000, qos: 1, version: 4, broker: "embedded" }, stallMs),
  ],
  [
    "embedded: 600 at QoS 2 of one client, 3.1.1",
    () => runFlood({ count: 600, qos: 2, version: 4, broker: "embedded" }, stallMs),
  ],
];

/** MiB that a row may cost, by the first word of its name; in these nobody else waits for a second either. */
const GOALS = new Map([
  ["qos1", 40],
  ["qos2", 40],
  ["bytes", 60],
  ["inflight0", 40],
  ["unacknowledged", 120],
]);
const BYSTANDER_MS = 1_000;

const CELLS = [
  "done",
  "silent",
  "bystander s",
  "missed",
  "lost",
  "+MiB",
  "seconds",
  "ends",
  "goal",
];
const chosen = ROWS.filter(([name]) => name.startsWith(values.only));
if (chosen.length === 0) throw new Error(`no row begins with ${values.only}`);
const width = Math.max(...chosen.map(([name]) => name.length));
console.log(["case".padEnd(width), ...CELLS].join(" | "));
let missed = 0;
for (const [name, run] of chosen) {
  const figures = await run().catch((error: unknown) => {
    console.log(`${name}: ${String(error)}`);
  });
  if (figures === undefined) {
    missed += 1;
    continue;
  }
  const misses = missesOf(name, figures);
  if (misses.length > 0) missed += 1;
  const goal = misses.length === 0 ? "met" : `missed: ${misses.join(", ")}`;
  console.log([name.padEnd(width), ...cellsOf(figures), goal].join(" | "));
  if (values.log) console.log(notable(figures.log));
}
process.exitCode = missed === 0 ? 0 : 1;

function missesOf(name: string, figures: Figures): string[] {
  const { asked, done, lost = 0, grownMiB = 0, unacknowledged = 0 } = figures;
  const { bystander = { asked: 0, answered: 0, longestMs: 0 } } = figures;
  const most = GOALS.get(name.slice(0, name.indexOf(":")));
  const misses: Readonly<Record<string, boolean>> = {
    silent: done < asked || unacknowledged > 0,
    "bystander unheard": bystander.answered < bystander.asked,
    "bystander waits": most !== undefined && bystander.longestMs > BYSTANDER_MS,
    "connection lost": lost > 0,
    memory: grownMiB > (most ?? Number.POSITIVE_INFINITY),
  };
  return Object.keys(misses).filter((miss) => misses[miss]);
}

function cellsOf({ asked, done, ends, bystander, ...figures }: Figures): string[] {
  const { lost = "", grownMiB, seconds, unacknowledged } = figures;
  const most = Object.entries(ends).toSorted(([, left], [, right]) => right - left);
  const shown = most.slice(0, 6).map(([end, count]) => `${count} ${end}`);
  const open = unacknowledged ? [`${unacknowledged} unacknowledged`] : [];
  const cells = [
    done,
    asked - done,
    bystander ? (bystander.longestMs / 1000).toFixed(2) : "",
    bystander ? bystander.asked - bystander.answered : "",
    lost,
    grownMiB?.toFixed(0) ?? "",
    seconds.toFixed(1),
    [...shown, ...open].join(", "),
  ];
  return cells.map((cell, index) => String(cell).padStart(CELLS[index]?.length ?? 0));
}

/** What the gateway logged beside how each request ended. */
function notable(log: string): string {
  const ends = /"msg":"(?:answered|request failed)"/;
  return log
    .split("\n")
    .filter((line) => !ends.test(line))
    .slice(-10)
    .join("\n");
}
