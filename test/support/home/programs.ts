import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { until } from "../until.ts";

type Program = "zigbee-lamp" | "tasmota-relay" | "esphome-sensor";

/** Starts a program that announces devices, in a process of its own; resolves when it has announced them. */
export async function startProgram(program: Program, port: number, ...words: readonly string[]) {
  const file = join(import.meta.dirname, `${program}.ts`);
  const runner = "Deno" in globalThis ? ["run", "-A", "--quiet"] : [];
  const child = spawn(process.execPath, [...runner, file, String(port), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (data) => {
    output += String(data);
  });
  await until(`${program} is ready`, () => output.includes("ready"));
  return {
    async [Symbol.asyncDispose]() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await gone;
    },
  };
}
