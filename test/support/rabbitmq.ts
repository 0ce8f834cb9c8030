import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { answers, freePort } from "./mosquitto.ts";
import { onceInCi } from "./picoclaw.ts";
import { temporaryFolder } from "./temporary.ts";
import { until } from "./until.ts";

/** A real RabbitMQ with its MQTT plugin, on a port and in a folder of its own. */
export interface Rabbitmq extends AsyncDisposable {
  readonly url: string;
  start(): Promise<void>;
  /** kill -9; resolves when the process is gone. */
  kill(): Promise<void>;
  /** What it has logged so far. */
  log(): string;
}

/** Debian's own `rabbitmq-server` writes into the system's folders, under a user of its own: this is what it runs. */
const SERVER = serverIn("/usr/lib/rabbitmq/lib");

function serverIn(folder: string): string | undefined {
  if (!existsSync(folder)) return undefined;
  const version = readdirSync(folder).find((name) => name.startsWith("rabbitmq_server-"));
  const server = join(folder, version ?? "", "sbin/rabbitmq-server");
  return existsSync(server) ? server : undefined;
}

/** For `it`: without RabbitMQ a test is left out on somebody's own machine, and fails in CI. */
const isMissing = SERVER === undefined && !process.env["CI"];
export const needsRabbitmq = { skip: isMissing || onceInCi.skip };
if (isMissing) {
  process.stderr.write("rabbitmq-server is not installed: tests with it are left out\n");
}

/** Erlang starts within seconds, on a machine that is shared. */
const START_MS = 40_000;

export async function startRabbitmq(): Promise<Rabbitmq> {
  if (SERVER === undefined) throw new Error("RabbitMQ is missing: apt-get install rabbitmq-server");
  const stack = new AsyncDisposableStack();
  const { path: folder } = stack.use(await temporaryFolder());
  const [port, names, distribution] = [await freePort(), await freePort(), await freePort()];
  await writeFiles(folder, port);
  const env = environmentOf(folder, { names, distribution });
  // Erlang would start one that outlives it.
  const registry = spawn("epmd", ["-port", String(names), "-address", "127.0.0.1"], {
    stdio: "ignore",
  });
  stack.defer(() => end(registry));
  await until("epmd answers", () => answers(names));
  let log = "";
  let server: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    if (server) await end(server);
  };
  stack.defer(kill);
  const start = async (): Promise<void> => {
    const from = log.length;
    const started = spawn(SERVER, [], { env, stdio: ["ignore", "pipe", "pipe"] });
    server = started;
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (data) => {
        log += String(data);
      });
    }
    await until(
      `RabbitMQ listens on ${port}`,
      () => {
        if (started.exitCode !== null) throw new Error(`RabbitMQ did not start: ${log}`);
        return log.slice(from).includes("Server startup complete");
      },
      START_MS,
    );
  };
  await start();
  return {
    url: `tcp://127.0.0.1:${port}`,
    start,
    kill,
    log: () => log,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

async function writeFiles(folder: string, port: number): Promise<void> {
  const lines = [
    "listeners.tcp = none",
    `mqtt.listeners.tcp.1 = 127.0.0.1:${port}`,
    "mqtt.allow_anonymous = true",
    "disk_free_limit.absolute = 1MB",
    "log.file = false",
    "log.console = true",
  ];
  await writeFile(join(folder, "rabbitmq.conf"), lines.join("\n"));
  await writeFile(join(folder, "enabled_plugins"), "[rabbitmq_mqtt].");
}

function environmentOf(
  folder: string,
  ports: { readonly names: number; readonly distribution: number },
): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: folder,
    // The shell gives way to Erlang, so that a signal reaches it.
    RABBITMQ_ALLOW_INPUT: "1",
    RABBITMQ_NODENAME: `picoclaw-${ports.distribution}@localhost`,
    RABBITMQ_CONF_ENV_FILE: join(folder, "none"),
    RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "enabled_plugins"),
    RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
    RABBITMQ_LOG_BASE: join(folder, "log"),
    RABBITMQ_DIST_PORT: String(ports.distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      "-noinput -kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 1:1",
    ERL_EPMD_PORT: String(ports.names),
    ERL_EPMD_ADDRESS: "127.0.0.1",
  };
}
