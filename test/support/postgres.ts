import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { appendFile, chown, readFile, readlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { freePort } from "./mosquitto.ts";
import { until } from "./until.ts";

/** A real PostgreSQL on a port and in a folder of its own; its user is `postgres`, without a password. */
export interface Postgres extends AsyncDisposable {
  readonly port: number;
  /** Holds its data, its socket and its configuration. */
  readonly folder: string;
  /** Of the process that accepts connections; undefined if it does not run. */
  readonly pid: number | undefined;
  /** With `database`, of that one, else of `postgres`. */
  url(database?: string): string;
  start(): Promise<void>;
  /** Ends it as its service does: no transaction is left open. */
  stop(): Promise<void>;
  /** kill -9 of it and all of its processes; resolves when they are gone. */
  crash(): Promise<void>;
  /** Stops and continues all of its processes, as a frozen machine does. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Runs SQL with psql and returns what it prints, without headings. */
  sql(text: string, database?: string): Promise<string>;
  /** An empty database of a name of its own. */
  createDatabase(): Promise<string>;
  /** Ends the connections to a database and empties it for the next one who needs one: that takes less than a new one. */
  clearDatabase(name: string): Promise<void>;
  /** Starts a standby that every commit waits for from now on. */
  startReplica(): Promise<Postgres>;
  /** Makes a standby the primary. */
  promote(): Promise<void>;
  /** What it has logged so far. */
  log(): string;
}

export interface PostgresOptions {
  /** Lines of postgresql.conf. */
  readonly lines?: readonly string[];
  /** Lines of pg_hba.conf; everyone from this machine is let in by default. */
  readonly access?: readonly string[];
  /** Further files in its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

const DEBIAN = "/usr/lib/postgresql";
const BIN = findPrograms();

/** Debian has a folder for each version: the newest one. */
function findPrograms(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : [];
  const folders = versions
    .toSorted((a, b) => Number(b) - Number(a))
    .map((version) => join(DEBIAN, version, "bin"));
  return [...folders, "/usr/local/pgsql/bin", "/opt/homebrew/bin"].find((folder) =>
    existsSync(join(folder, "initdb")),
  );
}

/**
 * For `it`: without PostgreSQL a test is left out on somebody's own machine, and fails in CI. Bun and Deno run these
 * tests; under node they are left out, because they take minutes.
 */
export const needsPostgres = {
  skip: process.env["PICOCLAW_UNDER_TEST"] === "node" || (BIN === undefined && !process.env["CI"]),
};

const run = promisify(execFile);

/** The server of all tests of this process that leave it as it is; it ends with the process. */
export function sharedPostgres(): Promise<Postgres> {
  shared ??= startShared();
  return shared;
}
let shared: Promise<Postgres> | undefined;

async function startShared(): Promise<Postgres> {
  const server = await start({});
  process.once("exit", () => {
    if (server.pid !== undefined) process.kill(server.pid, "SIGQUIT");
    removeWhileItEnds(server.folder);
  });
  server.unref();
  return server;
}

/** Its processes write for a moment. */
function removeWhileItEnds(folder: string): void {
  for (let tries = 0; tries < 50 && existsSync(folder); tries += 1) {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

export function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  return start(options);
}

/** A server that need not keep this process alive. */
interface UnrefPostgres extends Postgres {
  unref(): void;
}

async function start(options: PostgresOptions): Promise<UnrefPostgres> {
  const { lines = [], access = ["local all all trust", "host all all 127.0.0.1/32 trust"] } =
    options;
  const { path: folder } = await createFolder();
  const data = join(folder, "data");
  await as(folder, await asPostgres("cp", ["-a", await template(), data]));
  for (const [name, content] of Object.entries(options.files ?? {})) {
    await writeOwn(join(folder, name), content);
  }
  const port = await freePort();
  const settings = [
    `port = ${port}`,
    "listen_addresses = '127.0.0.1'",
    `unix_socket_directories = '${folder}'`,
    "max_connections = 60",
    "shared_buffers = 8MB",
    // Its processes are killed here, never the machine: what they wrote stays.
    "fsync = off",
    ...lines.map((line) => line.replaceAll("{folder}", folder)),
  ];
  await appendFile(join(data, "postgresql.conf"), settings.join("\n"));
  await writeFile(
    join(data, "pg_hba.conf"),
    [...access, "local replication all trust", ""].join("\n"),
  );
  return startIn(folder, port);
}

/** A server of which `folder` holds the data. */
async function startIn(folder: string, port: number): Promise<UnrefPostgres> {
  const data = join(folder, "data");
  let child: ChildProcess | undefined;
  // A pipe of it would keep this process alive.
  const logFile = join(folder, "log");
  const log = (): string => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  let databases = 0;
  const free: string[] = [];
  const isRunning = (): boolean => child?.exitCode === null && child.signalCode === null;
  const pid = (): number | undefined => (isRunning() ? child?.pid : undefined);
  const url = (database = "postgres"): string =>
    `postgres://postgres@127.0.0.1:${port}/${database}`;
  const sql = async (text: string, database = "postgres"): Promise<string> => {
    const words = ["-h", folder, "-p", `${port}`, "-U", "postgres", "-d", database];
    const { stdout } = await run(program("psql"), [...words, "-XAtqc", text]);
    return stdout.trimEnd();
  };
  const startAgain = async (): Promise<void> => {
    const [file, ...words] = await asPostgres(program("postgres"), ["-D", data]);
    const from = log().length;
    const output = openSync(logFile, "a");
    child = spawn(file, words, { cwd: folder, stdio: ["ignore", "ignore", output] });
    closeSync(output);
    await until(`PostgreSQL accepts connections on ${port}`, () => {
      if (!isRunning()) throw new Error(`PostgreSQL did not start: ${log().slice(from)}`);
      return log().slice(from).includes("ready to accept");
    });
  };
  /** The server first: it starts no other process then. */
  const signalAll = async (signal: NodeJS.Signals): Promise<void> => {
    const parent = pid();
    if (parent !== undefined) send(parent, signal);
    for (const each of await processesIn(data)) send(each, signal);
  };
  const crash = async (): Promise<void> => {
    const target = child;
    const gone = target !== undefined && isRunning() ? once(target, "exit") : undefined;
    await until("all processes of PostgreSQL are gone", async () => {
      await signalAll("SIGKILL");
      return (await processesIn(data)).length === 0;
    });
    await gone;
  };
  await startAgain();
  return {
    port,
    folder,
    get pid() {
      return pid();
    },
    url,
    start: startAgain,
    async stop() {
      const target = child;
      if (target === undefined || !isRunning()) return;
      const gone = once(target, "exit");
      target.kill("SIGINT");
      await gone;
    },
    crash,
    freeze: () => signalAll("SIGSTOP"),
    thaw: () => signalAll("SIGCONT"),
    sql,
    async createDatabase() {
      const cleared = free.pop();
      if (cleared !== undefined) return cleared;
      databases += 1;
      const name = `test_${process.pid}_${databases}`;
      await sql(`CREATE DATABASE ${name}`);
      return name;
    },
    async clearDatabase(name) {
      await sql(CLEAR, name);
      free.push(name);
    },
    async startReplica() {
      const replica = await copyOf(folder, port);
      await sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
      await sql("SELECT pg_reload_conf()");
      const isSync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
      await until("commits wait for the standby", async () => (await sql(isSync)) === "1");
      return replica;
    },
    async promote() {
      await sql("SELECT pg_promote()");
      // It waits for no standby of its own.
      await sql("ALTER SYSTEM RESET synchronous_standby_names");
      await sql("SELECT pg_reload_conf()");
    },
    log,
    unref: () => child?.unref(),
    async [Symbol.asyncDispose]() {
      await crash();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const CLEAR = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid();
  DO $$ DECLARE made text; BEGIN
    FOR made IN SELECT nspname FROM pg_namespace
      WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', made); END LOOP;
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
  END $$`;

/** A standby of the server in `folder`. */
async function copyOf(primary: string, primaryPort: number): Promise<Postgres> {
  const { path: folder } = await createFolder();
  const data = join(folder, "data");
  const words = ["-h", primary, "-p", `${primaryPort}`, "-U", "postgres", "-D", data];
  const backup = [...words, "-R", "-X", "stream", "-c", "fast", "--no-sync"];
  await as(folder, await asPostgres(program("pg_basebackup"), backup));
  const port = await freePort();
  const settings = [`port = ${port}`, `unix_socket_directories = '${folder}'`, ""];
  await appendFile(join(data, "postgresql.conf"), `\n${settings.join("\n")}`);
  return startIn(folder, port);
}

/** An empty cluster, made once for this process, and copied for each server. */
function template(): Promise<string> {
  made ??= (async () => {
    const { path: folder } = await createFolder();
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    const data = join(folder, "data");
    const words = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"];
    const quick = ["--locale=C", "--no-sync", "--no-instructions"];
    await as(folder, await asPostgres(program("initdb"), [...words, ...quick]));
    return data;
  })();
  return made;
}
let made: Promise<string> | undefined;

function program(name: string): string {
  if (BIN === undefined) throw new Error("PostgreSQL is missing: apt-get install postgresql");
  return join(BIN, name);
}

/** PostgreSQL refuses to run as root: there it runs as the user that its package made. */
export async function asPostgres(
  file: string,
  words: readonly string[],
): Promise<readonly [string, ...string[]]> {
  if (process.getuid?.() !== 0) return [file, ...words];
  const { uid, gid } = await userOf();
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", file, ...words];
}

async function userOf(): Promise<{ readonly uid: number; readonly gid: number }> {
  const line = (await readFile("/etc/passwd", "utf8"))
    .split("\n")
    .find((each) => each.startsWith("postgres:"));
  const [, , uid, gid] = line?.split(":") ?? [];
  if (uid === undefined) throw new Error("there is no user postgres: apt-get install postgresql");
  return { uid: Number(uid), gid: Number(gid) };
}

async function as(cwd: string, [file, ...words]: readonly [string, ...string[]]): Promise<void> {
  await run(file, words, { cwd });
}

/** The path of a socket is at most 107 bytes, so the name is short; it begins with the process that made it. */
export async function createFolder(): Promise<{ path: string } & AsyncDisposable> {
  swept ??= removeLeftOver();
  await swept;
  const path = mkdtempSync(join(tmpdir(), `pg-${process.pid}-`));
  await own(path);
  return {
    path,
    async [Symbol.asyncDispose]() {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
let swept: Promise<void> | undefined;

/** Ends the servers of processes that were killed, and removes their folders. */
async function removeLeftOver(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const [, owner] = /^pg-(\d+)-/.exec(name) ?? [];
    if (owner === undefined || existsSync(`/proc/${owner}`) || !existsSync("/proc/self")) continue;
    const folder = join(tmpdir(), name);
    for (const pid of await processesIn(join(folder, "data"))) send(pid, "SIGKILL");
    removeWhileItEnds(folder);
  }
}

async function writeOwn(file: string, content: string): Promise<void> {
  await writeFile(file, content, { mode: 0o600 });
  await own(file);
}

async function own(file: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await userOf();
  await chown(file, uid, gid);
}

/** The processes that work in a folder: all of a server do in that of its data. */
async function processesIn(folder: string): Promise<readonly number[]> {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const folders = await Promise.all(
    all.map((each) => readlink(`/proc/${each}/cwd`).catch(() => "")),
  );
  return all.filter((_, index) => folders[index] === folder).map(Number);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}
