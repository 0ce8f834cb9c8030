import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/**
 * The main job, end to end, with the compiled binary: a configuration file, the gateway, a question
 * over MQTT and its answer. The broker is mosquitto where it is installed, else the built-in one.
 */
const binary = join(import.meta.dirname, "../dist/picoclaw");
const home = mkdtempSync(join(tmpdir(), "picoclaw-demo-"));
const env = { ...process.env, PICOCLAW_HOME: home, PICOCLAW_GATEWAY_PORT: "0" };
const running: ChildProcess[] = [];

try {
  await demo();
} finally {
  for (const child of running) child.kill();
  rmSync(home, { recursive: true, force: true });
}

async function demo(): Promise<void> {
  const port = await freePort();
  const mosquitto = spawnSync("mosquitto", ["-h"]).error === undefined;
  const settings = {
    broker: mosquitto ? `tcp://localhost:${port}` : `embedded://127.0.0.1:${port}`,
    agent_id: "assistant",
  };
  const config = { channel_list: { mqtt: { enabled: true, type: "mqtt", settings } } };
  if (mosquitto) running.push(spawn("mosquitto", ["-p", String(port)], { stdio: "ignore" }));
  writeFileSync(join(home, "config.json"), JSON.stringify(config, null, 2));
  say(`$ cat config.json\n${JSON.stringify(config)}`);

  say(`$ picoclaw gateway        # broker: ${mosquitto ? "mosquitto" : "built in"}`);
  const gateway = spawn(binary, ["gateway"], { env, stdio: ["ignore", "ignore", "pipe"] });
  running.push(gateway);
  await logged(gateway, '"msg":"connected"');

  ask("device1", "What is the CPU usage?");
  ask("device1", "How much memory is free, and how long has it been up?");
  gateway.kill("SIGTERM");
  const [code] = await Promise.race([once(gateway, "exit"), pause(10_000, ["no end"])]);
  if (code !== 0) throw new Error(`the gateway ended with ${code}`);
  say("the gateway drained and ended with 0");
}

function ask(client: string, text: string): void {
  say(`$ picoclaw send ${client} "${text}"`);
  const begun = performance.now();
  const { status, stdout, stderr } = spawnSync(binary, ["send", client, text], {
    env,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`send ended with ${status}: ${stderr}`);
  say(`${stdout.trimEnd()}\n(${Math.round(performance.now() - begun)} ms)`);
}

async function logged(child: ChildProcess, words: string): Promise<void> {
  let seen = "";
  const deadline = pause(10_000, "late" as const, { ref: false });
  const found = new Promise<"found">((resolve) => {
    child.stderr?.on("data", (data) => {
      seen += String(data);
      if (seen.includes(words)) resolve("found");
    });
  });
  if ((await Promise.race([found, deadline])) === "late")
    throw new Error(`no ${words} in: ${seen}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

function say(text: string): void {
  console.log(text);
}
