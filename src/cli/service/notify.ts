import { onAbort } from "../../base/async.ts";
import type { Log } from "../../base/log.ts";
import type { Context } from "../context.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { runProgram } from "./program.ts";

/**
 * Tells systemd that the gateway is ready when all channels are subscribed, and that it stops, if systemd waits for
 * that (sd_notify(3)). Returns at once.
 */
export function reportToSystemd(
  { dialled, subscribed }: Pick<Runtime, "dialled" | "subscribed">,
  { host, signal }: Context,
  log: Log,
): void {
  // The socket takes datagrams, which no runtime can send, so a program of systemd does it.
  const tell = async (state: string): Promise<void> => {
    const words = ["systemd-notify", `--pid=${host.pid}`, state];
    const { code, error } = await runProgram(words, host.env);
    if (code !== 0) log.warn("systemd was not told", { state, error });
  };
  onAbort(signal, () => void tell("STOPPING=1"));
  // A channel that failed for good has said so by itself.
  Promise.all(dialled.map(({ name }) => subscribed(name))).then(
    () => (signal.aborted ? undefined : tell("READY=1")),
    () => {},
  );
}
