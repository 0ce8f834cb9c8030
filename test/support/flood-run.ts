import {
  endsOf,
  openAsker,
  requestOf,
  startBystander,
  tallyOf,
  type Asker,
  type BystanderFigures,
} from "./flood.ts";
import { freePort, startMosquitto, type Mosquitto } from "./mosquitto.ts";
import { quickConfig, startPicoclaw, writeConfig, type Running } from "./picoclaw.ts";
import { forgetPeak, memoryOf } from "./proc.ts";
import { temporaryFolder } from "./temporary.ts";

/** One flood against a real gateway behind a real broker. */
export interface FloodCase {
  readonly count: number;
  /** How many clients ask in turns; one where it is left out. */
  readonly clients?: number;
  /** Bytes of each payload. */
  readonly bytes?: number;
  readonly qos: 0 | 1 | 2;
  readonly version: 4 | 5;
  /** The gateway is away while the requests are published. */
  readonly away?: boolean;
  readonly broker: keyof typeof BROKERS;
}

export interface FloodFigures {
  readonly asked: number;
  /** Requests that heard a last part. */
  readonly done: number;
  /** Requests by how they ended: `ok`, a code, or several of them in order. */
  readonly ends: Readonly<Record<string, number>>;
  readonly bystander: BystanderFigures;
  /** Connections of the gateway that ended before the gateway did, and those of the devices. */
  readonly lost: number;
  /** MiB above what the gateway held before. */
  readonly grownMiB: number;
  readonly seconds: number;
  readonly log: string;
}

const OPEN = ["log_type none", "log_type notice", "listener {port} 127.0.0.1"];
const ANYONE = [...OPEN, "allow_anonymous true"];

/** Ways to run the broker; mosquitto unless it is the built-in one. */
export const BROKERS = {
  default: ANYONE,
  raised: [...ANYONE, "max_queued_messages 100000"],
  inflight0: [...ANYONE, "max_queued_messages 100000", "max_inflight_messages 0"],
  embedded: undefined,
} as const;

/** Publishes a flood and measures until every request has ended, or none did for `stallMs`. */
export async function runFlood(flood: FloodCase, stallMs: number): Promise<FloodFigures> {
  const { count, clients = 1, bytes = 0, qos, version, away = false } = flood;
  await using place = await openPlace(flood);
  let gateway = await place.start();
  const { rss: atStart } = await warm(place, gateway, flood);
  if (away) {
    gateway.kill("SIGTERM");
    await gateway.ended;
  } else await forgetPeak(gateway.pid);

  const client = clients === 1 ? "flood" : "+";
  // The built-in broker has to bear a client that waits for nothing.
  const patience = flood.broker === "embedded" ? { atOnce: count } : {};
  await using asker = await openAsker(place.url, { client, qos, version, ...patience });
  const bystanders = () => startBystander(place.url, { version, qos: qos === 0 ? 0 : 1 });
  let bystander = away ? undefined : await bystanders();
  const begun = performance.now();
  const text = "How warm is it? ";
  const taken = askAll(asker, count, (index) => {
    const id = `r${index}`;
    return [clients === 1 ? "flood" : `flood${index % clients}`, id, requestOf(id, text, bytes)];
  });
  if (away) {
    await taken;
    gateway = await place.start("gateway started");
    bystander = await bystanders();
  }
  await endsOf(asker, count, stallMs);
  const seconds = (performance.now() - begun) / 1000;
  const standing = await bystander?.stop();
  const { peak } = await memoryOf(gateway.pid);
  return {
    asked: count,
    done: asker.ends.size,
    ends: tallyOf(asker),
    bystander: standing ?? { asked: 0, answered: 0, longestMs: 0 },
    lost: place.lost() + asker.lost(),
    grownMiB: peak - atStart,
    seconds,
    log: gateway.stderr(),
  };
}

/** All at once; a broker that cuts the connection under way makes the rest fail, which counts as silent. */
async function askAll(
  asker: Asker,
  count: number,
  of: (index: number) => readonly [client: string, id: string, payload: string],
): Promise<void> {
  const all: Promise<unknown>[] = [];
  for (let index = 0; index < count; index += 1) {
    const [client, id, payload] = of(index);
    all.push(asker.ask(client, id, payload).catch(() => {}));
  }
  await Promise.all(all);
}

const WARM = 200;

/** What any work costs at first (code is compiled, buffers are made) is none of the flood's. */
async function warm(place: Place, gateway: Running, { qos, version }: FloodCase) {
  await using asker = await openAsker(place.url, { client: "+", qos, version });
  for (let round = 0; round < WARM; round += 20) {
    const ids = Array.from({ length: 20 }, (_, index) => `warm-${round + index}`);
    await Promise.all(ids.map((id) => asker.ask(id, id)));
    await endsOf(asker, round + 20, 5_000);
  }
  return await memoryOf(gateway.pid);
}

export interface Place extends AsyncDisposable {
  readonly url: string;
  readonly home: string;
  readonly mosquitto: Mosquitto | undefined;
  /** Starts a gateway; resolves when it says `connected`, or another of its messages. */
  start(message?: string): Promise<Running>;
  /** Connections of gateways that ended before their gateway did. */
  lost(): number;
}

export interface PlaceOptions {
  readonly broker: keyof typeof BROKERS;
  readonly qos: 0 | 1 | 2;
  readonly version: 4 | 5;
  /** Lines of mosquitto.conf in place of those of `broker`. */
  readonly lines?: readonly string[];
  /** Where the gateway connects to, where it is not the broker itself. */
  readonly way?: (broker: Mosquitto) => Promise<{ readonly url: string } & AsyncDisposable>;
  readonly settings?: object;
  /** `agents.defaults`. */
  readonly defaults?: object;
  /** Base address of a model; the agent without one where it is left out. */
  readonly model?: string;
}

/** A broker, and a home of a gateway with default limits that connects to it. */
export async function openPlace(options: PlaceOptions): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const { path: home } = stack.use(await temporaryFolder());
  const lines = options.lines ?? BROKERS[options.broker];
  const mosquitto = lines && stack.use(await startMosquitto({ lines }));
  const port = mosquitto?.port ?? (await freePort());
  const url = `tcp://127.0.0.1:${port}`;
  const way = mosquitto && options.way && stack.use(await options.way(mosquitto));
  const address = way?.url ?? (mosquitto ? url : `embedded://127.0.0.1:${port}`);
  await writeConfig(home, configFor(address, home, options));
  const gateways: Running[] = [];
  stack.defer(async () => {
    for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
  });
  return {
    url,
    home,
    mosquitto,
    async start(message = "connected") {
      const gateway = startPicoclaw(["gateway"], { home });
      gateways.push(gateway);
      await gateway.said(`"msg":"${message}"`);
      return gateway;
    },
    lost: () =>
      gateways.reduce((sum, gateway) => {
        const logged = gateway.stderr().split('"again_in_s"').length - 1;
        return sum + Math.max(logged, gateway.stderr().split('"msg":"connected"').length - 2);
      }, 0),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function configFor(address: string, home: string, options: PlaceOptions): object {
  const { qos, version, broker, settings, defaults, model } = options;
  const protocol_version = broker === "embedded" ? "auto" : version;
  const all = { qos, protocol_version, ...settings };
  const workspace = `${home}/workspace`;
  const named = model === undefined ? {} : { model_name: "m" };
  const agents = { defaults: { workspace, ...named, ...defaults } };
  const entry = { model_name: "m", provider: "openai", model: "m-1", api_base: model };
  const model_list = model === undefined ? [] : [{ ...entry, api_key: "sk-flood" }];
  return quickConfig(address, all, { agents, model_list });
}
