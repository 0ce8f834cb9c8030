import type { MqttSettings } from "../../src/config/contract.ts";
import type { AnswerPart, Requester, RequestOptions, Watched } from "../../src/mqtt/contract.ts";
import { openRequester } from "../../src/mqtt/requester/requester.ts";
import { channelFor } from "./channel.ts";
import { createMemoryLog } from "./memory-log.ts";

/** The asking side of the program, connected. */
export async function openTestRequester(
  broker: string | readonly string[],
  settings: Partial<MqttSettings> = {},
  connectTimeoutMs = 2_000,
): Promise<Requester & AsyncDisposable> {
  const device = await openRequester({
    channel: channelFor(broker, settings),
    connectTimeoutMs,
    log: createMemoryLog(),
    signal: new AbortController().signal,
  });
  return { ...device, [Symbol.asyncDispose]: () => device.close() };
}

export function requestOptions(more: Partial<RequestOptions> = {}): RequestOptions {
  return {
    client: "c1",
    text: "hi",
    id: "r-1",
    firstPartMs: 3_000,
    nextPartMs: 1_000,
    signal: new AbortController().signal,
    ...more,
  };
}

/** Asks and collects the parts as a person would: a restart forgets what came before. */
export async function collect(device: Requester, question: RequestOptions): Promise<AnswerPart[]> {
  const parts: AnswerPart[] = [];
  for await (const part of device.request(question)) {
    if (part.restart) parts.length = 0;
    parts.push(part);
  }
  return parts;
}

export async function answerOf(device: Requester, question = requestOptions()): Promise<string> {
  return (await collect(device, question)).map(({ text }) => text).join("");
}

/** What a watch has seen so far, while it goes on. */
export function watchAll(device: Requester, clients: readonly string[] = []) {
  const seen: Watched[] = [];
  const stop = new AbortController();
  const done = (async () => {
    const what = { clients, requests: true, responses: true, signal: stop.signal };
    for await (const one of device.watch(what)) seen.push(one);
  })();
  return {
    seen,
    async end(): Promise<void> {
      stop.abort();
      await done;
    },
  };
}
