import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

/** A real mosquitto on a port of its own that can be killed, frozen and started again. */
export interface Mosquitto extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly folder: string;
  start(): Promise<void>;
  /** kill -9, or another signal; resolves when the process is gone (at once for SIGSTOP and SIGCONT). */
  kill(signal?: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<void>;
  /** What it has logged so far. */
  log(): string;
}

export interface MosquittoOptions {
  /** Lines of mosquitto.conf; `{port}` and `{folder}` are replaced. The default is `OPEN`. */
  readonly lines?: readonly string[];
  /** Further files in its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Lines that let everyone in. */
export const OPEN = ["listener {port} 127.0.0.1", "allow_anonymous true"];

/** A broker with these lines of an access list: only what they say is allowed. */
export function withAcl(...acl: readonly string[]): MosquittoOptions {
  return {
    lines: [...OPEN, "acl_file {folder}/acl"],
    files: { acl: `${acl.join("\n")}\n` },
  };
}

/** A broker whose access list lets everyone do what a gateway needs, but read `info`. */
export const HIDES_INFO = withAcl(
  "topic readwrite /picoclaw/assistant/+/request",
  "topic readwrite /picoclaw/assistant/+/response",
  "topic readwrite /picoclaw/assistant/status",
  "topic write /picoclaw/assistant/info",
);

const PLACES = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];

/** Where mosquitto is; undefined where it is not installed. */
const MOSQUITTO = PLACES.find((place) => existsSync(place));

/** For `it`: without mosquitto a test is left out on somebody's own machine, and fails in CI. */
export const needsMosquitto = { skip: MOSQUITTO === undefined && !process.env["CI"] };

export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const folder = await mkdtemp(join(tmpdir(), "picoclaw-mosquitto-"));
  const port = await freePort();
  const lines = options.lines ?? OPEN;
  const text = ["log_type all", "log_dest stderr", "user root", ...lines].join("\n");
  await writeFile(join(folder, "mosquitto.conf"), fill(text, port, folder));
  for (const [name, content] of Object.entries(options.files ?? {})) {
    await writeFile(join(folder, name), content, { mode: 0o600 });
  }
  let child: ChildProcess | undefined;
  let log = "";
  const start = async (): Promise<void> => {
    if (MOSQUITTO === undefined)
      throw new Error("mosquitto is not installed: apt-get install mosquitto");
    const started = spawn(MOSQUITTO, ["-c", join(folder, "mosquitto.conf")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    child = started;
    started.stderr.on("data", (data) => {
      log += String(data);
    });
    await until(`mosquitto listens on ${port}`, () => {
      // Somebody else may have taken the port meanwhile, and would answer in its place.
      const { exitCode, signalCode } = started;
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`mosquitto did not start (${exitCode ?? signalCode}): ${log}`);
      }
      return answers(port);
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}; its log: ${log}`);
    });
  };
  const kill: Mosquitto["kill"] = async (signal = "SIGKILL") => {
    const target = child;
    if (!target?.pid || target.exitCode !== null || target.signalCode !== null) return;
    const ends = signal === "SIGKILL" || signal === "SIGTERM";
    const gone = ends ? once(target, "exit") : undefined;
    process.kill(target.pid, signal);
    await gone;
  };
  await start();
  return {
    port,
    url: `tcp://127.0.0.1:${port}`,
    folder,
    start,
    kill,
    log: () => log,
    async [Symbol.asyncDispose]() {
      await kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function fill(text: string, port: number, folder: string): string {
  return text.replaceAll("{port}", String(port)).replaceAll("{folder}", folder);
}

/**
 * A port that nothing listens on now, below the range that outgoing connections take theirs from: a client
 * that dials a dead local port of that range again and again can meet itself and keep the port.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => server.close(resolve));
    if (free) return port;
  }
}

/** Whether something accepts connections there. */
export function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
