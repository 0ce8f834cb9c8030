import { existsSync } from "node:fs";

const LIBRARY = ["x86_64", "aarch64"]
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
  .find((file) => existsSync(file));

/** For `it`: skipped on a machine without libfaketime; CI installs it. */
export const needsFaketime = { skip: LIBRARY === undefined && !process.env["CI"] };

/** Environment of a process with another wall clock; its timers are not affected. */
export function clockEnvironment(more: Readonly<Record<string, string>>) {
  return { LD_PRELOAD: LIBRARY ?? "", FAKETIME_DONT_FAKE_MONOTONIC: "1", ...more };
}
