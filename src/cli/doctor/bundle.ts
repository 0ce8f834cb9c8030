import { open, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import type { ParseError } from "jsonc-parser";
import type { Diagnosis } from "../../base/contract.ts";
import { codeOf, Failure, messageOf } from "../../base/failure.ts";
import type { Host } from "../../base/host.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { VERSION } from "../../base/version.ts";
import { runProgram } from "../service/program.ts";
import { UNIT } from "../service/unit.ts";

export interface BundleOptions {
  readonly host: Pick<Host, "env" | "platform" | "runtime">;
  readonly redactor: Pick<Redactor, "redact">;
  readonly found: readonly Diagnosis[];
  /** The configuration file; undefined if it is not known which. */
  readonly configFile: string | undefined;
}

/**
 * Writes a tar archive in gzip for a bug report: what was found, the version, the configuration and the last lines of
 * the log, without secrets. Only the owner can read it. Throws a `Failure` if the file exists.
 */
export async function writeBundle(file: string, options: BundleOptions): Promise<void> {
  const { host, found, configFile } = options;
  const redact = (text: string): string => options.redactor.redact(text);
  const checks = found.map(({ code, name, result, message, remedy }) =>
    JSON.stringify({ code, name, result, message, remedy }),
  );
  const names = Object.keys(host.env).filter((name) => name.startsWith("PICOCLAW_"));
  const about = { version: VERSION, runtime: host.runtime, platform: host.platform };
  const log = await lastLogLines(host.env);
  const entries: readonly (readonly [string, string])[] = [
    ["version.json", JSON.stringify({ ...about, at: new Date().toISOString() })],
    ["doctor.jsonl", checks.join("\n")],
    ["environment.txt", names.toSorted().join("\n")],
    ...(configFile === undefined ? [] : [["config.json", await maskedConfig(configFile)] as const]),
    ...(log === "" ? [] : [["log.txt", log] as const]),
  ];
  const texts = entries.map(([name, text]) => [name, redact(`${text}\n`)] as const);
  await writeNew(file, gzipSync(tarOf(texts)));
}

const LOG_MS = 2_000;

/** The last lines of the service's log, of the user's and of the machine's; "" where there are none. */
async function lastLogLines(env: Host["env"]): Promise<string> {
  const texts = ["--user-unit", "--unit"].map(async (scope) => {
    const words = ["journalctl", "--no-pager", "--quiet", "--lines=200", scope, UNIT];
    const { code, stdout } = await runProgram(words, env, LOG_MS);
    return code === 0 ? stdout : "";
  });
  return (await Promise.all(texts)).join("").trim();
}

async function writeNew(file: string, bytes: Uint8Array): Promise<void> {
  try {
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(bytes);
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    const isThere = codeOf(thrown) === "EEXIST";
    throw new Failure("failed", `--bundle: ${file} cannot be written`, {
      why: isThere ? "the file exists" : messageOf(thrown),
      remedy: "name a new file in a folder that can be written",
      cause: thrown,
    });
  }
}

/** Values of keys with such a name are masked, whatever they are. */
const SECRET_KEY =
  /key|token|secret|pass|credential|auth|headers|cookie|env$|^env|signature|private|webhook/i;
/** `--token=…`, `-e API_KEY=…`, `?key=…` and `Authorization: …` within a text. */
const NAMED_SECRET =
  /([\w.-]*(?:key|token|secret|pass|credential|auth|cookie|signature)[\w.-]*\s*[=:]\s*)[^&"'\n]+/gi;
/** A word of a command whose secret is the next one. */
const SECRET_FLAG = /^-+[\w-]*(?:key|token|secret|pass|credential|auth|header|cookie)[\w-]*$/i;

async function maskedConfig(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    return messageOf(thrown);
  }
  const { parse } = await import("jsonc-parser");
  const errors: ParseError[] = [];
  const found: unknown = parse(text, errors, { allowTrailingComma: true });
  if (errors.length > 0) return `it is no JSON (${errors.length} errors), and left out`;
  return JSON.stringify(masked(found), null, 2);
}

function masked(value: unknown): unknown {
  if (typeof value === "string") return withoutUserInfo(value).replaceAll(NAMED_SECRET, "$1***");
  if (Array.isArray(value)) {
    const isNamed = (index: number): boolean => SECRET_FLAG.test(String(value[index - 1] ?? ""));
    return value.map((one, index) => (isNamed(index) ? maskOf(one) : masked(one)));
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, one]): readonly [string, unknown] => {
    const isSecret = SECRET_KEY.test(key) && key !== "keep_alive";
    return [key, isSecret ? maskOf(one) : masked(one)];
  });
  return Object.fromEntries(entries);
}

/** Shows only whether there is something: numbers and switches are no secrets. */
function maskOf(value: unknown): unknown {
  if (typeof value === "boolean" || value === null || value === "") return value;
  return "***";
}

/** `scheme://user:password@host`, wherever it stands; a password may have an `@`. */
function withoutUserInfo(text: string): string {
  return text.replaceAll(/(:\/\/)[^\s/]*@/g, "$1***@");
}

const BLOCK = 512;

/** POSIX ustar: a header of 512 bytes and the content in blocks of as many, then two empty ones. */
function tarOf(entries: readonly (readonly [name: string, text: string])[]): Uint8Array {
  const blocks = entries.flatMap(([name, text]) => {
    const content = Buffer.from(text);
    const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK);
    return [headerOf(name, content.length), content, padding];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

function headerOf(name: string, bytes: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(`picoclaw/${name}`, 0);
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(bytes, 11), 124);
  header.write(octal(Math.floor(Date.now() / 1000), 11), 136);
  // The checksum counts itself as blanks.
  header.fill(0x20, 148, 156);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)}\u0000 `, 148);
  return header;
}
