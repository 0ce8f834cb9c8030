import { settlesWithin } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { GRANT_RIGHTS } from "../client/reasons.ts";
import type { Session } from "../client/session.ts";
import type { AgentUsage, ChannelOptions } from "../contract.ts";
import { decodeInfo, processOf, type GatewayFacts, type GatewayInfo } from "../protocol/info.ts";
import { ConnectionLost, type Incoming, type Outgoing } from "../protocol/message.ts";
import {
  infoTopic,
  statusTopic,
  type AgentAddress,
  type PublishTopic,
} from "../protocol/topics.ts";
import { utf8Of } from "../protocol/wire.ts";
import type { ExclusiveStart } from "./exclusive-start.ts";
import type { Discovery } from "./home-assistant.ts";
import { OtherGateways } from "./other-gateways.ts";

/** An answer to another gateway waits so long, so that several do not answer at once. */
const JITTER_MS = { least: 50, most: 250 };
/** So many infos in a minute are sent without a further wait; then it doubles from a second to a minute. */
const FREE = 8;
const MINUTE_MS = 60_000;
/** The longest further wait for an answer to a gateway that waits for it. */
const URGENT_MS = 500;
/** A gateway that is not heard for so long, when it should answer, is gone. */
const SETTLE_MS = 5_000;
/** A gateway that ends waits so long for another one to say that it still serves. */
const HANDOVER_MS = 700;

interface PresenceDeps {
  /** Names the channel. */
  readonly log: Log;
  readonly sessionsLost: () => number;
  /** Ends the channel with this failure. */
  readonly refuse: (failure: Failure) => void;
}

const MOST_CUT_STARTS = 3;
/** A gateway that has served for less ends before one that wants to be the only one. */
const NEW_MS = 5_000;

/**
 * The retained topics by which others see whether the gateway runs. Publishes `online` and `info` at every
 * connect, and `online` once more later: until then a broker can still publish the will of a predecessor that
 * lost its power. Unless `probe_secs` is 0 both topics are read as well: what others write there is written anew,
 * within bounds, and other gateways of the same agent id are found by it.
 */
export class Presence {
  readonly #options: ChannelOptions;
  readonly #log: Log;
  readonly #status: PublishTopic;
  readonly #info: PublishTopic;
  readonly #self: GatewayFacts;
  readonly #others: OtherGateways;
  /** What the broker refuses is not tried again, because some brokers end the connection as well. */
  readonly #refused = new Set<string>();
  /** When infos were published in the last minute. */
  #published: number[] = [];
  #session: Session | undefined;
  #isOnline = false;
  #isEnding = false;
  /** Connections that ended before our subscription was acknowledged. */
  #cuts = 0;
  /** `status` is published with the next info. */
  #owesStatus = false;
  /** The other gateways, the load and the usage that the last info named. */
  #announced = { others: "", load: 0, usage: "" };
  #next: { readonly at: number; readonly timer: ReturnType<typeof setTimeout> } | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #repeating: ReturnType<typeof setTimeout> | undefined;
  #refreshing: ReturnType<typeof setInterval> | undefined;
  /** Resolves when another gateway is heard after we said that we end. */
  readonly #handover = Promise.withResolvers<void>();

  readonly #deps: PresenceDeps;
  readonly #agent: string;
  /** While this gateway finds out whether it may serve. */
  #start: ExclusiveStart | undefined;
  /** Resolves when it may serve; undefined if it may. */
  #joined: PromiseWithResolvers<void> | undefined;
  /** Connections in a row that ended while it was finding out. */
  #cutStarts = 0;
  /** When this process has served first. */
  #servedAt: number | undefined;
  /** Undefined while the channel has nothing to do with Home Assistant. */
  #discovery: Discovery | undefined;

  constructor(options: ChannelOptions, address: AgentAddress, deps: PresenceDeps) {
    const { version, instance, since = new Date().toISOString(), gateways } = options.info;
    this.#options = options;
    this.#log = deps.log;
    this.#deps = deps;
    this.#agent = address.agent;
    this.#joined = this.#gate();
    this.#status = statusTopic(address);
    this.#info = infoTopic(address);
    this.#self = { instance, version, since };
    this.#others = new OtherGateways(
      this.#self,
      (name) => gateways?.().some((one) => processOf(one) === name) ?? false,
    );
  }

  /** The gateways of other clusters that serve the same agent id. */
  others(): readonly GatewayFacts[] {
    return this.#others.serving();
  }

  /**
   * With `exclusive`: resolves when it is known, or cannot be known, that no other gateway serves. Rejects with
   * `ConnectionLost`. If another one serves, the channel is refused, and this never resolves.
   */
  async join(session: Session): Promise<void> {
    if (this.#options.exclusive !== true) return;
    const { ExclusiveStart } = await import("./exclusive-start.ts");
    const start = new ExclusiveStart(this.#self, this.#log);
    // Some brokers end the connection for what the access list forbids.
    if (this.#cutStarts === MOST_CUT_STARTS) {
      start.warn("the broker ends the connection when we ask");
      return this.#open();
    }
    this.#cutStarts += 1;
    this.#session = session;
    this.#start = start;
    this.#others.expectAll();
    const gone = new AbortController();
    void session.lost.then(() => gone.abort(new ConnectionLost("the connection was lost")));
    const ask = async (): Promise<void> => {
      const filters = [this.#status, this.#info];
      await session.subscribe(filters, this.#options.channel.settings.qos, { retained: true });
      await this.#publishInfo(session);
    };
    const rival = await start.findRival(ask, gone.signal);
    if (rival !== undefined) {
      await this.#publishInfo(session, "ended");
      await this.#refuse(rival);
      await new Promise(() => {});
    }
    this.#cutStarts = 0;
    this.#open();
  }

  #open(): void {
    this.#start = undefined;
    this.#joined?.resolve();
    this.#joined = undefined;
  }

  /** Resolves when requests may be taken; undefined if they may be taken now. */
  joined(): Promise<void> | undefined {
    return this.#joined?.promise;
  }

  #gate(): PromiseWithResolvers<void> | undefined {
    return this.#options.exclusive === true ? Promise.withResolvers<void>() : undefined;
  }

  /** Publishes `online` and `info`, and reads what others say. Rejects with `ConnectionLost`. */
  async online(session: Session): Promise<void> {
    this.#session = session;
    this.#expectAll();
    const watching = this.#watch(session);
    watching.catch(() => {});
    await this.#publishStatus(session, "online");
    this.#isOnline = true;
    this.#servedAt ??= performance.now();
    await this.#publishInfo(session);
    this.#startTimers();
    await watching;
    await this.#discover(session);
  }

  /** Publishes the agent as a device of Home Assistant, or removes it. */
  async #discover(session: Session): Promise<void> {
    const { channel, discoveryNotes } = this.#options;
    const { enabled } = channel.settings.homeassistant;
    if (!enabled && discoveryNotes?.read() === undefined) return;
    const { Discovery } = await import("./home-assistant.ts");
    this.#discovery ??= new Discovery(this.#options, this.#log);
    await this.#discovery.online(session);
  }

  /** Publishes `info` anew soon: the gateways of the cluster are other ones. */
  refresh(): void {
    this.#announceSoon();
  }

  /** Publishes `offline`, but not over the `online` of another gateway. Never rejects. */
  async offline(session: Session): Promise<void> {
    this.stop();
    this.#isEnding = true;
    try {
      if (this.#others.isAnyHeard()) {
        await this.#publishInfo(session, "ended");
        if (await settlesWithin(this.#handover.promise, HANDOVER_MS)) return;
      }
      await this.#publishStatus(session, "offline");
    } catch {
      // The connection is lost: the broker publishes the will.
    }
  }

  /** Ends all timers; the next session starts them again. */
  stop(): void {
    this.#discovery?.stop();
    this.#session = undefined;
    this.#start = undefined;
    this.#joined = this.#gate();
    this.#isOnline = false;
    clearTimeout(this.#next?.timer);
    this.#next = undefined;
    clearTimeout(this.#settling);
    this.#settling = undefined;
    clearTimeout(this.#repeating);
    clearInterval(this.#refreshing);
  }

  /** Takes note of any message. */
  received(message: Incoming): void {
    const { topic, payload, retain } = message;
    if (topic === this.#status) this.#readStatus(utf8Of(payload), retain);
    if (topic === this.#info) this.#readInfo(decodeInfo(payload), retain);
    this.#discovery?.received(message);
  }

  /** Another gateway ended, or a will of ours came late. */
  #readStatus(status: string | undefined, retain: boolean): void {
    if (retain) this.#start?.readStatus(status);
    if (status === "online" || (retain && !this.#isOnline)) return;
    // The other gateways read it, too, and tell that they are there.
    this.#expectAll();
    this.#announceSoon({ status: true });
  }

  #readInfo(info: GatewayInfo | undefined, retain: boolean): void {
    if (info !== undefined && this.#others.isOurs(info)) {
      if (processOf(info) === processOf(this.#self)) this.#start?.readOwn();
    } else if (retain) {
      if (info !== undefined) this.#start?.readKept(info);
    } else if (info === undefined) this.#announceSoon();
    else this.#readOther(info);
  }

  #readOther(info: GatewayInfo): void {
    if (this.#isEnding && info.state === undefined) this.#handover.resolve();
    const { isProof, mustAnswer, isFound, isGone } = this.#others.take(info);
    if (isProof) this.#start?.readAnswer(info);
    if (isFound) this.#foundOther(info);
    if (isGone) this.#logGone(info);
    if (mustAnswer || this.#named() !== this.#announced.others) {
      const hurries = info.state !== undefined || this.#start !== undefined;
      this.#announceSoon({ hurries, status: info.state === "ended" });
    }
    this.#settle();
  }

  /** Publishes our info soon; with `status` also `online`. */
  #announceSoon({ status = false, hurries = false } = {}): void {
    this.#owesStatus ||= status;
    const now = performance.now();
    const { least, most } = JITTER_MS;
    const further = hurries ? Math.min(this.#penalty(now), URGENT_MS) : this.#penalty(now);
    const at = now + least + Math.random() * (most - least) + further;
    if (this.#session === undefined || (this.#next !== undefined && this.#next.at <= at)) return;
    clearTimeout(this.#next?.timer);
    const timer = setTimeout(() => void this.#announceNow(), at - now);
    timer.unref();
    this.#next = { at, timer };
  }

  /** So that no two programs that do not understand each other publish for ever without a pause. */
  #penalty(now: number): number {
    this.#published = this.#published.filter((at) => now - at < MINUTE_MS);
    const over = this.#published.length - FREE;
    return over < 0 ? 0 : Math.min(1000 * 2 ** over, MINUTE_MS);
  }

  async #announceNow(): Promise<void> {
    this.#next = undefined;
    const session = this.#session;
    if (session === undefined) return;
    try {
      if (this.#owesStatus && !this.#start) await this.#publishStatus(session, "online");
      await this.#publishInfo(session);
    } catch {
      // The connection is lost: the next session says it.
    }
  }

  #expectAll(): void {
    this.#others.expectAll();
    clearTimeout(this.#settling);
    this.#settling = undefined;
    this.#settle();
  }

  /** Forgets in a while those that should have answered by then. */
  #settle(): void {
    if (this.#settling !== undefined || this.#session === undefined) return;
    this.#settling = setTimeout(() => {
      this.#settling = undefined;
      for (const gone of this.#others.forgetSilent()) this.#logGone(gone);
      if (this.#named() !== this.#announced.others) this.#announceSoon();
    }, SETTLE_MS);
    this.#settling.unref();
  }

  #startTimers(): void {
    const { keep_alive } = this.#options.channel.settings;
    clearTimeout(this.#repeating);
    clearInterval(this.#refreshing);
    this.#repeating = setTimeout(() => {
      const session = this.#session;
      if (session) void this.#publishStatus(session, "online").catch(() => {});
    }, keep_alive * 2000);
    this.#repeating.unref();
    this.#refreshing = setInterval(() => {
      const isAlone = this.#others.serving().length === 0;
      const { load, usage } = this.#announced;
      const isNew = this.#load() !== load || JSON.stringify(this.#usage()) !== usage;
      if (isAlone && isNew) this.#announceSoon();
      this.#discovery?.refresh();
    }, this.#options.refreshMs ?? MINUTE_MS);
    this.#refreshing.unref();
  }

  /** Reads `info`, as the probe reads `status`. Some access lists forbid it: then others are not noticed. */
  async #watch(session: Session): Promise<void> {
    const { probe_secs: seconds } = this.#options.channel.settings;
    if (seconds === 0 || this.#refused.has("watch")) return;
    try {
      // At QoS 0 the broker keeps nothing for a session that is away.
      await session.subscribe([this.#info], 0, { retained: false });
      this.#cuts = 0;
    } catch (error) {
      this.#cuts += 1;
      const isLost = error instanceof ConnectionLost;
      if (isLost && this.#cuts < 2) throw error;
      this.#refused.add("watch");
      const { message: why } = isLost ? error : asFailure(error);
      this.#log.info("other gateways of this agent id cannot be noticed", { why });
      if (isLost) throw error;
    }
  }

  async #publishStatus(session: Session, status: "online" | "offline"): Promise<void> {
    this.#owesStatus = false;
    const message = { topic: this.#status, payload: status, qos: 1, retain: true } as const;
    await this.#unlessRefused("status", session, message);
  }

  async #publishInfo(
    session: Session,
    state: GatewayInfo["state"] = this.#start && "starting",
  ): Promise<void> {
    const { settings } = this.#options.channel;
    const { gateways, load } = this.#options.info;
    const others = this.#others.named();
    const usage = this.#usage();
    this.#announced = {
      others: this.#named(),
      load: this.#load(),
      usage: JSON.stringify(usage),
    };
    const { instance, version, since } = this.#self;
    const host = this.#options.info.host?.();
    const payload = JSON.stringify({
      version,
      instance,
      since,
      host,
      protocol: session.protocol,
      limits: {
        max_payload_bytes: settings.max_payload_bytes,
        max_message_bytes: settings.max_message_bytes,
      },
      // At QoS 0 the broker keeps no session.
      ...(settings.qos > 0 && { sessions_lost: this.#deps.sessionsLost() }),
      gateways: gateways?.() ?? [
        { ...this.#self, host, ...(load && { load: this.#announced.load }) },
      ],
      usage,
      ...(others.length > 0 && { others }),
      ...(this.#options.exclusive === true && { exclusive: true }),
      state,
    });
    const message = { topic: this.#info, payload, qos: 1, retain: state === undefined } as const;
    this.#published.push(performance.now());
    const what = state === undefined ? "info" : `info (${state})`;
    await this.#unlessRefused(what, session, message);
  }

  /** If the broker refuses these topics, we can still answer: that is only a warning. */
  async #unlessRefused(what: string, session: Session, message: Outgoing): Promise<void> {
    if (this.#refused.has(what)) return;
    try {
      await session.publish(message);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#refused.add(what);
      this.#log.warn(`${what} could not be published`, {
        topic: message.topic,
        error: error.message,
        try: GRANT_RIGHTS,
      });
    }
  }

  #named(): string {
    return this.#others.named().map(processOf).join("\n");
  }

  #load(): number {
    return this.#options.info.load?.() ?? 0;
  }

  /** Whoever may read `info` sees it: only an agent that is a device in Home Assistant tells. */
  #usage(): AgentUsage | undefined {
    const { channel, info } = this.#options;
    return channel.settings.homeassistant.enabled ? info.usage?.() : undefined;
  }

  #foundOther(info: GatewayInfo): void {
    if (this.#start !== undefined) return;
    this.#logFound(info);
    const isNew = performance.now() - (this.#servedAt ?? 0) < NEW_MS;
    if (!info.exclusive || this.#options.exclusive === true || !isNew) return;
    void this.#refuse(info);
  }

  async #refuse(info: GatewayFacts): Promise<void> {
    const { anotherServes } = await import("./exclusive-start.ts");
    this.#deps.refuse(anotherServes(this.#agent, info));
  }

  #logFound({ instance, host, version, since }: GatewayFacts): void {
    const level = this.#options.exclusive === true ? "error" : "warn";
    const count = this.#others.serving().length + 1;
    const times = count === 2 ? "twice" : `${count} times`;
    this.#log[level](`another gateway serves this agent id: every request is answered ${times}`, {
      instance,
      host,
      version,
      since,
      ...(instance === this.#self.instance && { why: "it runs from a copy of this home" }),
      try: "stop one of them, or give one an agent_id of its own; gateway.exclusive refuses the second",
    });
  }

  #logGone({ instance, host }: GatewayFacts): void {
    this.#log.info("the other gateway of this agent id has ended", { instance, host });
  }
}
