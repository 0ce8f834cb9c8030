import { checkedClientId } from "../client.ts";
import { createPaint, isColoured } from "../colour.ts";
import { loadChannel } from "../connection.ts";
import type { Context } from "../context.ts";
import { createCommandLog } from "../diagnostics.ts";
import { printedForm } from "../line/flags.ts";
import { createWatchPrinter, watch } from "../watch.ts";

/** `picoclaw listen [client…]`: requests and responses as they pass. */
export async function run(context: Context): Promise<number> {
  const { host, words, flags, signal } = context;
  const form = printedForm(flags);
  const only = flags.choice("only");
  const what = {
    clients: words.map(checkedClientId),
    requests: only !== "responses",
    responses: only !== "requests",
  };
  const log = await createCommandLog(context);
  const channel = await loadChannel(context, log);
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  const device = await openRequester({
    channel,
    connectTimeoutMs: flags.duration("connect-timeout"),
    log,
    signal,
  });
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  try {
    await watch({
      device,
      what,
      count: flags.count("count"),
      forMs: flags.limit("for"),
      print: createWatchPrinter(form, { stdout: host.stdout, stderr: host.stderr, paint }),
      signal,
    });
  } finally {
    await device.close();
  }
  return 0;
}
