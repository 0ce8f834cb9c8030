import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { answers, freePort } from "./mosquitto.ts";
import { asPostgres, createFolder, type Postgres } from "./postgres.ts";
import { until } from "./until.ts";

const PROGRAM = "/usr/sbin/pgbouncer";

/** For `it`: without pgbouncer a test is left out on somebody's own machine, and fails in CI. */
export const needsPgbouncer = { skip: !existsSync(PROGRAM) && !process.env["CI"] };

/** A pgbouncer that gives each transaction another of two connections to the server; returns its port. */
export async function startPgbouncer(
  server: Postgres,
): Promise<{ port: number } & AsyncDisposable> {
  const folder = await createFolder();
  const port = await freePort();
  const lines = [
    "[databases]",
    `* = host=127.0.0.1 port=${server.port} user=postgres`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${port}`,
    "auth_type = any",
    "pool_mode = transaction",
    "server_round_robin = 1",
    "default_pool_size = 2",
    "min_pool_size = 2",
    "unix_socket_dir =",
  ];
  const file = join(folder.path, "pgbouncer.ini");
  await writeFile(file, lines.join("\n"));
  const [program, ...words] = await asPostgres(PROGRAM, [file]);
  const child = spawn(program, words, { stdio: "ignore" });
  await until("pgbouncer answers", () => answers(port));
  return {
    port,
    async [Symbol.asyncDispose]() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
      await folder[Symbol.asyncDispose]();
    },
  };
}
