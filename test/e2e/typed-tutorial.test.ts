import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { needsMosquitto } from "../support/mosquitto.ts";
import { onceInCi, startClient, startShell, type Running } from "../support/picoclaw.ts";
import { withBubblewrap } from "../support/sandbox.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { PROMPT, typeAll, typedIn } from "../support/typed-tutorial.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");
const PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin";
const skip = needsMosquitto.skip || onceInCi.skip || (await withBubblewrap()).skip;

/** The machine of somebody called pi: an empty home, an empty network, no program of its own, and nothing of systemd. */
async function openMachine(stack: AsyncDisposableStack) {
  const { path } = stack.use(await temporaryFolder());
  const [home, programs] = [join(path, "home"), join(path, "programs")];
  await mkdir(home);
  await mkdir(programs);
  for (const name of ["systemctl", "loginctl"]) {
    await writeFile(
      join(programs, name),
      "#!/bin/sh\n[ $0 = /usr/local/bin/systemctl ] || echo no\n",
    );
    await chmod(join(programs, name), 0o755);
  }
  const users = join(path, "passwd");
  const others = (await readFile("/etc/passwd", "utf8")).replaceAll(/^[^:]*:[^:]*:1000:.*\n/gm, "");
  await writeFile(users, `${others}pi:x:1000:1000::/home/pi:/bin/sh\n`);
  const mounts = [
    ["--dev-bind", "/", "/"],
    ["--ro-bind", users, "/etc/passwd"],
    ["--tmpfs", "/home", "--ro-bind", root, root, "--bind", home, "/home/pi"],
    ["--bind", programs, "/usr/local/bin"],
    ["--tmpfs", "/run", "--dir", "/run/systemd/system"],
  ].flat();
  const rights = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-net"];
  const wait = ["sh", "-c", "echo $$; exec sleep infinity"];
  const held = startClient("bwrap", ["--die-with-parent", ...rights, ...mounts, ...wait]);
  stack.use(held);
  await held.said(/\d+\n/);
  const inside = [
    "nsenter",
    "-t",
    held.stdout().trim(),
    "--preserve-credentials",
    "-U",
    "-m",
    "-n",
  ];
  return { path, inside };
}

/** A release with one archive, whose program is the one under test. */
async function makeRelease(folder: string): Promise<void> {
  const name = "picoclaw-linux-any";
  await mkdir(join(folder, name));
  await symlink(join(root, "dist/picoclaw"), join(folder, name, "picoclaw"));
  const archive = join(folder, `${name}.tar.gz`);
  await using tar = startClient("tar", ["-czf", archive, "-C", folder, name]);
  assert.equal((await tar.ended).code, 0);
  const sum = createHash("sha256").update(await readFile(archive));
  await writeFile(join(folder, "SHA256SUMS"), `${sum.digest("hex")}  ${name}.tar.gz\n`);
  const script = await readFile(join(root, "scripts/release/install.sh"), "utf8");
  await writeFile(join(folder, "install.sh"), script.replace("@URL@", `file://${folder}`));
}

async function openTerminal(within: readonly string[]): Promise<Running> {
  const settings = { TERM: "dumb", LANG: "C.UTF-8", PICOCLAW_GATEWAY_PORT: "" };
  const env = { HOME: "/home/pi", USER: "pi", PATH, ...settings };
  const terminal = startShell(500, { home: "", env, within });
  // apt has done its work: mosquitto runs.
  terminal.type(`cd; sudo() { [ "$1" = apt ] || "$@"; }; PS1='@''@'\r`);
  await until("the prompt is there", () => terminal.stdout().includes(PROMPT));
  return terminal;
}

/** Keys and seconds of each row of the table at the end of the page. */
async function rowsOf(document: string): Promise<{ keys: number; seconds: number }[]> {
  const text = await readFile(join(root, "docs/tutorials", document), "utf8");
  const rows = text.matchAll(/^\|.*\| +(\d+) +\| +([\d.]+) +\|$/gm);
  return [...rows].map(([, keys, seconds]) => ({ keys: Number(keys), seconds: Number(seconds) }));
}

/** Forty words a minute. */
const KEYS_PER_SECOND = (40 * 5) / 60;

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

describe("the quick start", { skip }, () => {
  it("shows on two terminals of an empty home what the page shows", async () => {
    await using stack = new AsyncDisposableStack();
    const { path, inside } = await openMachine(stack);
    const [enter = "", ...words] = inside;
    const broker = stack.use(startClient(enter, [...words, "/usr/sbin/mosquitto", "-p", "1883"]));
    await broker.said("running");
    await makeRelease(path);
    const first = stack.use(await openTerminal(inside));
    const second = stack.use(await openTerminal(inside));
    await typeAll(await typedIn("quick-start.md"), {
      terminals: { first, second },
      replaced: [
        ["| sudo sh", "| sh -s -- --target linux-any --to /usr/local/bin"],
        ["https://picoclaw.example", `file://${path}`],
        ["linux-arm64", "linux-any"],
      ],
    });
  });

  it("says what embedded is where no broker is", async () => {
    await using stack = new AsyncDisposableStack();
    const { inside } = await openMachine(stack);
    const terminal = stack.use(await openTerminal(inside));
    terminal.type(`'${join(root, "dist/picoclaw")}' onboard\r`);
    await terminal.said(/^Found no broker .* embedded is .*\r\nMQTT broker \[embedded\] /m);
  });

  it("takes less than two minutes, by the table of the page", async () => {
    const rows = await rowsOf("quick-start.md");
    const total = rows.pop();
    const typed = await typedIn("quick-start.md");
    const answered = typed.findIndex(({ shown }) => shown.includes('"done":true'));
    const keys = typed.slice(0, answered + 1).map((one) => one.keys);
    assert.deepEqual(
      rows.map((row) => row.keys),
      keys,
    );
    const seconds = sum(rows.map((row) => row.seconds));
    assert.deepEqual(total, { keys: sum(keys), seconds: Number(seconds.toFixed(1)) });
    assert.ok(sum(keys) / KEYS_PER_SECOND + seconds < 120);
  });
});
