import type { RequestExtras } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { dataUrl } from "../../base/images.ts";
import { SILENT } from "../../base/log.ts";
import { Secret } from "../../base/secret.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { agentAddressOf, requestTopic } from "../../mqtt/protocol/topics.ts";
import { readFormat } from "../answer-format.ts";
import { outputFormat } from "../args/flags.ts";
import { askChannel, DEFAULT_QUESTION, type Outcome, reportOutcome } from "../ask.ts";
import { loadUsable } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { MAX_IMAGE_BYTES, readImages, requestExtras } from "../image-files.ts";
import { openTemporaryRuntime } from "../runtime/runtime.ts";
import { modelName } from "../terminal/spinner.ts";

const CLIENT = "try";
const ADDRESS = { topic_prefix: "/picoclaw", agent_id: "assistant" };
const CONNECT_TIMEOUT_MS = 5_000;

/** `picoclaw try`: broker, gateway and client in one process, over real sockets; writes nothing to disk. */
export async function run(context: Context): Promise<number> {
  const id = crypto.randomUUID();
  return await reportOutcome(tryOnce(context, id), id, context);
}

async function tryOnce(context: Context, id: string): Promise<Outcome> {
  const { host, words, flags } = context;
  const format = await readFormat(context);
  const images = await readImages(context, { text: "", maxBytes: MAX_IMAGE_BYTES });
  const extras = requestExtras(format, images);
  const text = words.join(" ").trim() === "" ? DEFAULT_QUESTION : words.join(" ");
  const given = { broker: "embedded://127.0.0.1:0", agent: "assistant" };
  const loaded = await loadUsable(context, given);
  const { config } = loaded;
  const connectTimeoutMs = CONNECT_TIMEOUT_MS;
  const { runtime, dialled: channel } = await openTemporaryRuntime(context, loaded, {
    channel: channelFor(config),
    connectTimeoutMs,
    log: flags.has("debug") ? await createCommandLog(context) : SILENT,
  });
  try {
    const form = outputFormat(flags);
    if (form === "text") {
      await host.stderr.write(`${pathOf(channel, { text, ...shownExtras(extras) })}\n`);
    }
    const question = { client: CLIENT, text, id, ...(extras && { extras }) };
    const model = modelName(config);
    return await askChannel({ channel, connectTimeoutMs, question, form, model }, context);
  } finally {
    await runtime.stop(0);
  }
}

/**
 * The configured limits and streaming, on a built-in broker. A random password keeps out other users of the
 * machine, who could pose as a client that may run commands.
 */
function channelFor({ channels }: Config): MqttChannel {
  const [configured] = channels;
  if (configured === undefined) throw new Failure("internal", "there is no channel to try");
  return {
    name: "try",
    allow_from: [],
    deny_from: [],
    admin_from: [],
    settings: {
      ...configured.settings,
      ...ADDRESS,
      username: new Secret(CLIENT),
      password: new Secret(crypto.randomUUID()),
      broker: ["embedded://127.0.0.1:0"],
      client_id: "",
      qos: 1,
      protocol_version: 4,
      tls: { verify: false },
    },
  };
}

/** The extras in a payload for people, in which an image is only begun. */
function shownExtras({ format, images }: RequestExtras = {}): object {
  const shown = images?.map((image) => `${dataUrl(image).slice(0, 40)}…`);
  return { ...(format && { format }), ...(shown && { images: shown }) };
}

/** The broker, topic and payload with which a device would ask the same. */
function pathOf({ settings }: MqttChannel, payload: object): string {
  const topic = requestTopic(agentAddressOf(settings), CLIENT);
  const broker = settings.broker.join().replace("embedded://", "");
  return `broker ${broker} (built in)\n${topic} ${JSON.stringify(payload)}`;
}
