import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { connectAsync } from "mqtt";
import { CLIENT_KITS, type StartKit } from "../support/client-kits.ts";
import type { Ended, Running } from "../support/picoclaw.ts";
import { partOf, topicOf } from "./devices.ts";
import type { Asked, Heard } from "./invariants.ts";
import { answerTo } from "./model.ts";

/** A device that runs a client of `examples/`: one process for each question. */
export interface Kit {
  readonly client: string;
  readonly start: StartKit;
  /** Whether it still knows the id of its question after its power was cut; otherwise it asks anew. */
  readonly keepsId: boolean;
}

export const KITS: readonly Kit[] = Object.entries(CLIENT_KITS).flatMap(([name, start]) => [
  { client: `${name}-flash`, start, keepsId: true },
  { client: `${name}-ram`, start, keepsId: false },
]);

/** Devices that are these processes, some of which are killed while they wait for an answer. */
export interface Kits extends AsyncDisposable {
  /** Each asks one question after another until `end`. Resolves when the last ones are answered. */
  run(end: number, random: () => number): Promise<void>;
  readonly asked: readonly Asked[];
  readonly heard: readonly Heard[];
  /** What a kit printed that is not the answer. */
  readonly broken: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}

/** How often the power is cut, the longest time from a question to that, and from an answer to the next question. */
const CUT_SHARE = 0.4;
const CUT_MS = 400;
const REST_MS = 2000;
/** A kit that gets no answer for so long after the last question is broken. */
const PATIENCE_MS = 150_000;

interface Question {
  readonly client: string;
  readonly id: string;
  readonly from: number;
  readonly text: string;
  readonly expected: string;
  /** Whether its kit ended by itself. */
  isOver: boolean;
}

interface Asking {
  readonly end: number;
  readonly random: () => number;
}

export async function openKits(port: number, kits: readonly Kit[]): Promise<Kits> {
  const wire = await openObserver(port, kits);
  const questions: Question[] = [];
  const broken: string[] = [];
  const counts: Record<string, number> = {};
  const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);
  const begin = (client: string, id: string): Question => {
    const text = `${client} ${id}`;
    const from = performance.now();
    const question = { client, id, from, text, expected: answerTo(text), isOver: false };
    questions.push(question);
    return question;
  };
  /** One process; whether the question has to be asked again. */
  const runOnce = async (running: Running, kit: Kit, question: Question, asking: Asking) => {
    const { end, random } = asking;
    const isCut = performance.now() < end && random() < CUT_SHARE;
    if (isCut) await cutPower(running, wire.asks(question), random() * CUT_MS);
    const ended = await running.ended;
    const isOff = ended.signal === "SIGKILL";
    const isInVain = ended.stderr.includes("no answer in time") && kit.keepsId;
    if (isOff || (isInVain && performance.now() < end + PATIENCE_MS)) {
      const how = kit.keepsId ? "under its id" : "anew";
      count(isOff ? `kit killed, which asks ${how}` : `kit without an answer in time`);
      return true;
    }
    question.isOver = true;
    count("answer of a kit");
    const wrong = wrongIn(ended, question);
    if (wrong !== undefined) broken.push(wrong);
    return false;
  };
  const ask = async (kit: Kit, name: string, asking: Asking): Promise<void> => {
    const id = kit.keepsId ? randomUUID() : undefined;
    let isOpen = true;
    let question: Question | undefined;
    for (let attempt = 1; isOpen; attempt += 1) {
      if (!kit.keepsId || !question) question = begin(kit.client, `${name}.${attempt}`);
      await using running = kit.start(kit.client, question.text, port, id);
      isOpen = await runOnce(running, kit, question, asking);
    }
  };
  const each = async (kit: Kit, asking: Asking): Promise<void> => {
    for (let number = 1; performance.now() < asking.end; number += 1) {
      await ask(kit, `k${number}`, asking);
      await pause(asking.random() * REST_MS);
    }
  };
  return {
    async run(end, random) {
      await Promise.all(kits.map((kit) => each(kit, { end, random })));
    },
    get asked() {
      const last = wire.heard.filter(({ done }) => done);
      const answered = new Set(last.map(({ client, id }) => `${client} ${id}`));
      // What was asked before a kit lost its id may have been lost, too.
      return questions.map((question) =>
        Object.assign(question, { isAcknowledged: question.isOver || answered.has(question.text) }),
      );
    },
    heard: wire.heard,
    broken,
    counts,
    [Symbol.asyncDispose]: () => wire[Symbol.asyncDispose](),
  };
}

/** What a kit printed that is not the answer. */
function wrongIn({ code, stdout, stderr }: Ended, { text, expected }: Question) {
  // Whether that error was right is seen from what the broker sent.
  const isRight = stdout === `${expected}\n` && code === 0;
  if (isRight || stderr.endsWith("(internal)\n")) return undefined;
  return `${text}: the kit printed ${stdout || stderr}`;
}

/** kill -9 so long after its question was seen, unless it has ended before. */
async function cutPower(running: Running, asked: Promise<void>, after: number): Promise<void> {
  await Promise.race([running.ended, asked.then(() => pause(after))]);
  running.kill("SIGKILL");
}

interface Observer extends AsyncDisposable {
  /** Resolves when the broker sends the question on, or sends it on again. */
  asks(question: Question): Promise<void>;
  /** The parts of all answers, under the names of their questions in place of the ids. */
  readonly heard: readonly Heard[];
}

/** Receives what kits ask and what they are answered. Only the question tells which id a kit gave it. */
async function openObserver(port: number, kits: readonly Kit[]): Promise<Observer> {
  const names = new Map<string, string>();
  const heard: Heard[] = [];
  const asking = new EventEmitter();
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
    clientId: "observer-of-kits",
    clean: false,
    reconnectPeriod: 200,
    protocolVersion: 4,
  });
  client.on("error", () => {});
  client.on("message", (topic, payload) => {
    if (topic.endsWith("/response")) {
      const { id, ...part } = partOf(String(payload));
      const name = names.get(id) ?? id;
      const from = topic.split("/")[3] ?? "";
      heard.push({ client: from, id: name, ...part, when: performance.now() });
      return;
    }
    const { text, id }: { text: string; id: string } = JSON.parse(String(payload));
    names.set(id, text.split(" ")[1] ?? "");
    asking.emit(text);
  });
  const topics = kits.flatMap((kit) => [
    topicOf(kit.client, "request"),
    topicOf(kit.client, "response"),
  ]);
  const subscribe = async (): Promise<void> => {
    if (topics.length > 0) await client.subscribeAsync(topics, { qos: 1 });
  };
  client.on("connect", () => void subscribe().catch(() => {}));
  await subscribe();
  return {
    async asks(question) {
      await once(asking, question.text);
    },
    heard,
    [Symbol.asyncDispose]: () => client.endAsync(true),
  };
}
