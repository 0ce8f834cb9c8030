import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Diagnosis } from "../../base/contract.ts";
import { userId } from "../../base/host.ts";

const UNIT = "picoclaw.service";

export interface ServicePlaces {
  /** The folders of units of the system. */
  readonly system?: readonly string[];
  /** Where systemd notes the users whose services run without a login. */
  readonly linger?: string;
}

/** Whether a unit of systemd starts this program, and whether it runs without a login; nothing if there is none. */
export async function serviceChecks(
  userHome: string,
  user: string,
  places: ServicePlaces = {},
): Promise<readonly Diagnosis[]> {
  const { system = ["/etc/systemd/system", "/usr/lib/systemd/system"] } = places;
  const { linger = "/var/lib/systemd/linger" } = places;
  const own = join(userHome, ".config/systemd/user");
  const found = await Promise.all([own, ...system].map((folder) => unitIn(folder)));
  const units = found.filter((unit) => unit !== undefined);
  const checks = await Promise.all(units.map((unit) => unitCheck(unit)));
  if (found[0] === undefined || userId() === 0) return checks;
  const isKept = await stat(join(linger, user)).then(
    () => true,
    () => false,
  );
  const facts = { code: "service.linger", name: "service" } as const;
  if (isKept) return [...checks, { ...facts, result: "ok", message: "it runs without a login" }];
  const message = `it ends when ${user} logs out, and does not start with the machine`;
  const remedy = `sudo loginctl enable-linger ${user}`;
  return [...checks, { ...facts, result: "warn", message, remedy }];
}

interface Unit {
  readonly file: string;
  readonly text: string;
}

async function unitIn(folder: string): Promise<Unit | undefined> {
  const file = join(folder, UNIT);
  const text = await readFile(file, "utf8").catch(() => undefined);
  return text === undefined ? undefined : { file, text };
}

async function unitCheck({ file, text }: Unit): Promise<Diagnosis> {
  const facts = { code: "service.unit", name: "service" } as const;
  const program = /^ExecStart\s*=\s*[-@:+!]*"?([^\s"]+)/m.exec(text)?.[1] ?? "";
  const isThere = await stat(program).then(
    (found) => found.isFile(),
    () => false,
  );
  if (isThere) return { ...facts, result: "ok", message: `${file} starts ${program}` };
  const message = `${file} starts ${program}, which is not there`;
  return { ...facts, result: "fail", message, remedy: `correct ExecStart in ${file}` };
}

const LOG_MS = 2_000;

/** The last lines of the unit's log, of the user's and of the system's; "" where there are none. */
export async function lastLogLines(): Promise<string> {
  const scopes = [
    ["--user-unit", UNIT],
    ["--unit", UNIT],
  ];
  const texts = await Promise.all(scopes.map((scope) => unitLog(scope)));
  return texts.join("").trim();
}

function unitLog(scope: readonly string[]): Promise<string> {
  const words = ["--no-pager", "--quiet", "--lines=200", ...scope];
  return new Promise((resolve) => {
    execFile("journalctl", words, { timeout: LOG_MS }, (error, stdout) => {
      resolve(error === null ? stdout : "");
    });
  });
}
