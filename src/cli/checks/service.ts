import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Diagnosis } from "../../base/contract.ts";
import { userId } from "../../base/host.ts";
import { UNIT } from "../service/unit.ts";

export interface ServicePlaces {
  /** The folders of units of the system. */
  readonly system?: readonly string[];
  /** Where systemd notes the users whose services run without a login. */
  readonly linger?: string;
}

/**
 * Whether a unit of systemd starts a program that exists, and whether the one in the folder of this user's units runs
 * without a login; nothing if there is none.
 */
export async function serviceChecks(
  unitFolder: string,
  user: string,
  places: ServicePlaces = {},
): Promise<readonly Diagnosis[]> {
  const { system = ["/etc/systemd/system", "/usr/lib/systemd/system"] } = places;
  const { linger = "/var/lib/systemd/linger" } = places;
  const found = await Promise.all([unitFolder, ...system].map((folder) => unitIn(folder)));
  const units = found.filter((unit) => unit !== undefined);
  const checks = await Promise.all(units.map((unit) => unitCheck(unit)));
  if (found[0] === undefined || userId() === 0 || user === "") return checks;
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
  const program = programIn(text);
  const isThere = await stat(program).then(
    (found) => found.isFile(),
    () => false,
  );
  if (isThere) return { ...facts, result: "ok", message: `${file} starts ${program}` };
  const message = `${file} starts ${program}, which is not there`;
  return { ...facts, result: "fail", message, remedy: `correct ExecStart in ${file}` };
}

/** The program of ExecStart, without the quotes and escapes that `unitText` writes. */
function programIn(text: string): string {
  const found = /^ExecStart\s*=\s*[-@:+!]*(?:"((?:\\.|[^"\\])*)"|(\S+))/m.exec(text);
  const [, quoted, plain = ""] = found ?? [];
  return (quoted?.replaceAll(/\\(["\\])/g, "$1") ?? plain).replaceAll("%%", "%");
}
