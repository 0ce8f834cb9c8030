import { statSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../base/failure.ts";
import { absolutePath, readText } from "../files.ts";
import type { Surroundings } from "../files.ts";

/** libpq's file of passwords (PostgreSQL's documentation, section 34.16). */
export interface PasswordFile {
  readonly file: string;
  /** Why it is not used; undefined if it is. */
  readonly fault?: string;
  /** The password for a connection; undefined if no line is for it. */
  passwordOf(to: ConnectionName): string | undefined;
}

interface ConnectionName {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/** The file that `PGPASSFILE` names, else `~/.pgpass`; undefined if there is none. */
export function passwordFile({ env, userHome, cwd }: Surroundings): PasswordFile | undefined {
  const named = env["PGPASSFILE"];
  const file = named ? absolutePath(named, { folder: cwd, userHome }) : join(userHome, ".pgpass");
  const unused = (fault: string): PasswordFile => ({ file, fault, passwordOf: () => undefined });
  const text = readText(file);
  if (text === undefined) return named ? unused("does not exist") : undefined;
  if (text instanceof Failure) return unused(`cannot be read: ${text.why ?? text.message}`);
  if ((statSync(file).mode & 0o077) !== 0) {
    return unused("is not used, because other users may read it");
  }
  const lines = text
    .split(/\r?\n/)
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map(fieldsOf);
  return {
    file,
    passwordOf({ host, port, database, user }) {
      // A socket in the usual folder is that of localhost.
      const words = [SOCKET_FOLDERS.has(host) ? "localhost" : host, `${port}`, database, user];
      const line = lines.find((fields) =>
        words.every((word, index) => fields[index] === word || fields[index] === "*"),
      );
      return line?.[4];
    },
  };
}

const SOCKET_FOLDERS: ReadonlySet<string> = new Set([
  "/var/run/postgresql",
  "/run/postgresql",
  "/tmp",
]);

/** The five fields of a line; `\:` and `\\` stand for the characters. */
function fieldsOf(line: string): readonly string[] {
  return [...line.matchAll(/((?:\\.|[^:\\])*)(?::|$)/g)].map(([, field = ""]) =>
    field.replaceAll(/\\(.)/g, "$1"),
  );
}
