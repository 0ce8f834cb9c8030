import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Requester } from "../mqtt/contract.ts";
import { MAX_ID_LENGTH } from "../mqtt/protocol/wire.ts";
import { readFormat } from "./answer-format.ts";
import { loadAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { readImages, requestExtras } from "./image-files.ts";
import { type MessageSource, messageSource, readMessage } from "./message.ts";

/** Where the message comes from. Throws a usage `Failure` if there is none. */
export function checkedSource({ host, words, flags }: Context): MessageSource {
  const [client = "", ...message] = words;
  const id = flags.text("id") ?? "";
  if (id.length > MAX_ID_LENGTH) {
    throw new Failure("usage", `--id is longer than ${MAX_ID_LENGTH} characters`);
  }
  const file = flags.text("file");
  // What stands alone and has blanks is more likely a message, for which a pipe would be read in vain.
  if (/\s/.test(client) && message.length === 0 && file === undefined) {
    throw new Failure("usage", `"${client}" would be the client, and there is no message`, {
      remedy: "write the client first; for a client of that name add the message, or - for a pipe",
    });
  }
  return messageSource({ words: message, file }, host);
}

/** Loads the way to the agent, and reads what is to be asked. */
export async function readRequest(context: Context, log: Log, source: MessageSource) {
  const { host, signal } = context;
  const format = await readFormat(context);
  const route = await loadAgent(context, log);
  const { name, settings } = route.channel;
  const maxBytes = settings.max_payload_bytes;
  const setBy = `max_payload_bytes of channel ${name}`;
  const text = await readMessage(source, host, { maxBytes, setBy, signal });
  const extras = requestExtras(format, await readImages(context, { text, maxBytes }));
  return { ...route, text, extras };
}

/** An answer in one piece comes at the end of the turn; the error of a silent model comes before this. */
const ONE_PIECE_MS = 600_000;

/** How the flags want it to be answered, and how long that may take. */
export function answerOptions(flags: Context["flags"]) {
  const isOnePiece = flags.has("no-stream");
  const firstPartMs = flags.duration("timeout", isOnePiece ? ONE_PIECE_MS : undefined);
  return { firstPartMs, ...(isOnePiece ? { stream: false } : {}) };
}

/** How long the broker may take to accept `/stop`. */
const STOP_MS = 3000;

/** Asks the agent to cancel what the client asked. Returns false if the broker did not take it; does not reject. */
export async function stopTurn(
  requester: Pick<Requester, "publishRequest">,
  client: string,
  agent?: string,
): Promise<boolean> {
  const stop = { agent, client, text: "/stop", id: crypto.randomUUID(), firstPartMs: STOP_MS };
  const { signal } = new AbortController();
  return await requester.publishRequest({ ...stop, signal }).then(
    () => true,
    () => false,
  );
}
