import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { HOME_ASSISTANT } from "../../config/keys/channel.ts";
import { GRANT_RIGHTS } from "../client/reasons.ts";
import type { Session } from "../client/session.ts";
import type { AgentUsage, ChannelOptions } from "../contract.ts";
import { discoveryTopic, HOME_ASSISTANT_STATUS } from "../protocol/discovery.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import {
  agentAddressOf,
  infoTopic,
  publishTopic,
  requestTopic,
  responseTopic,
  statusTopic,
  type PublishTopic,
} from "../protocol/topics.ts";
import { answerForm } from "./receive.ts";

/** The bounds of a state and of a text in Home Assistant, in characters. */
const MOST_CHARACTERS = 255;
/** After Home Assistant's start the payload is sent within this time, so that not all devices do it at once. */
const AGAIN_MS = { least: 200, most: 500 };
/** Connections in a row that the broker ends for the discovery. */
const MOST_CUTS = 2;

/**
 * The agent as a device of Home Assistant: a retained message that its MQTT integration reads (device discovery).
 * It is published at every connect, and when Home Assistant has started. A note of its topic outlives this process,
 * so that the device is removed when it is switched off, and when the agent has another name.
 */
export class Discovery {
  readonly #options: ChannelOptions;
  readonly #log: Log;
  readonly #topic: PublishTopic;
  #session: Session | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #cuts = 0;
  #sent = "";
  #isGivenUp = false;

  constructor(options: ChannelOptions, log: Log) {
    this.#options = options;
    this.#log = log;
    this.#topic = discoveryTopic(options.channel.settings);
  }

  /** Publishes or removes the device. Rejects with `ConnectionLost`. */
  async online(session: Session): Promise<void> {
    if (this.#isGivenUp) return;
    try {
      await this.#removeFormer(session);
      if (this.#options.channel.settings.homeassistant.enabled) await this.#publish(session);
      this.#cuts = 0;
    } catch (error) {
      const isLost = error instanceof ConnectionLost;
      this.#cuts += 1;
      if (!isLost || this.#cuts === MOST_CUTS) this.#giveUp(asFailure(error).message);
      if (isLost) throw error;
    }
  }

  /** Takes note of any message. */
  received({ topic, payload, retain }: Incoming): void {
    if (topic !== HOME_ASSISTANT_STATUS || retain || String(payload) !== "online") return;
    if (this.#session === undefined || this.#again !== undefined) return;
    const { least, most } = AGAIN_MS;
    this.#again = setTimeout(
      () => {
        this.#again = undefined;
        // After a loss the next session does it.
        if (this.#session) void this.#send(this.#session).catch(() => {});
      },
      least + Math.random() * (most - least),
    );
    this.#again.unref();
  }

  /** Publishes the device again if it has other entities by now. */
  refresh(): void {
    if (this.#session === undefined || this.#payload() === this.#sent) return;
    // After a loss the next session does it.
    void this.#send(this.#session).catch(() => {});
  }

  stop(): void {
    this.#session = undefined;
    clearTimeout(this.#again);
    this.#again = undefined;
  }

  async #removeFormer(session: Session): Promise<void> {
    const { channel, discoveryNotes: notes } = this.#options;
    const former = notes?.read();
    const { enabled } = channel.settings.homeassistant;
    if (former !== undefined && !(enabled && former === this.#topic)) {
      const topic = publishTopic(former);
      await session.publish({ topic, payload: "", qos: 1, retain: true });
      this.#log.info("the device in Home Assistant is removed", { topic });
    }
    notes?.write(enabled ? this.#topic : undefined);
  }

  async #publish(session: Session): Promise<void> {
    // At QoS 0 the broker keeps nothing for a session that is away.
    await session.subscribe([HOME_ASSISTANT_STATUS], 0, { retained: false });
    await this.#send(session);
    this.#session = session;
    this.#log.debug("published as a device of Home Assistant", { topic: this.#topic });
  }

  async #send(session: Session): Promise<void> {
    const payload = this.#payload();
    this.#sent = payload;
    await session.publish({ topic: this.#topic, payload, qos: 1, retain: true });
  }

  #payload(): string {
    const { channel, info } = this.#options;
    return JSON.stringify(discoveryPayload(channel.settings, info.version, info.usage?.()));
  }

  #giveUp(why: string): void {
    this.#isGivenUp = true;
    const { enabled } = this.#options.channel.settings.homeassistant;
    const what = enabled
      ? "the agent could not be published as a device of Home Assistant"
      : "the device in Home Assistant could not be removed";
    this.#log.warn(what, {
      topic: this.#topic,
      why,
      try: GRANT_RIGHTS,
    });
  }
}

type MakeEntity = (platform: string, name: string, key: string, more: object) => object;

/**
 * What Home Assistant reads, with its abbreviations. Everything asks as the client `homeassistant`, and for one
 * message as the answer, because each message is an event. Without the usage of a model there are no entities for it.
 */
export function discoveryPayload(
  settings: MqttSettings,
  version: string,
  usage?: AgentUsage,
): object {
  const address = agentAddressOf(settings);
  const id = discoveryTopic(settings).split("/").at(-2) ?? "";
  const asked = { cmd_t: requestTopic(address, HOME_ASSISTANT), cmd_tpl: askWith(ASKED, settings) };
  const answers = responseTopic(address, HOME_ASSISTANT);
  const entity: MakeEntity = (platform, name, key, more) => ({
    [key]: { p: platform, uniq_id: `${id}_${key}`, name, ...more },
  });
  return {
    dev: {
      ids: [id],
      name: `picoclaw ${address.agent}`,
      mf: "picoclaw",
      mdl: "AI agent",
      sw: version,
    },
    o: { name: "picoclaw", sw: version },
    avty_t: statusTopic(address),
    qos: settings.qos,
    cmps: {
      ...entity("notify", "Ask", "ask", asked),
      ...entity("text", "Question", "question", { ...asked, min: 1, max: MOST_CHARACTERS }),
      ...entity("event", "Answer", "answer", {
        stat_t: answers,
        evt_typ: ["answer", "error", "push", "confirm"],
        val_tpl: EVENT,
      }),
      ...entity("sensor", "Last answer", "last_answer", {
        stat_t: answers,
        val_tpl: `{{ value_json.text | truncate(${MOST_CHARACTERS}, true, "…", 0) }}`,
        json_attr_t: answers,
        ic: "mdi:message-text",
      }),
      ...entity("sensor", "Requests", "requests", {
        stat_t: infoTopic(address),
        val_tpl: LOAD,
        stat_cla: "measurement",
        ent_cat: "diagnostic",
      }),
      ...usageEntities(usage, infoTopic(address), entity),
      ...entity("button", "Stop", "stop", {
        cmd_t: asked.cmd_t,
        pl_prs: askWith('"/stop"', settings),
        ic: "mdi:stop",
      }),
      ...entity("update", "Version", "version", { stat_t: infoTopic(address), val_tpl: VERSION }),
    },
  };
}

/** The usage of today. A component that has only a platform is removed. */
function usageEntities(usage: AgentUsage | undefined, topic: string, entity: MakeEntity): object {
  const sensor = (name: string, key: "tokens" | "cost", more: object): object =>
    usage?.[key] === undefined
      ? { [key]: { p: "sensor" } }
      : entity("sensor", name, key, {
          stat_t: topic,
          val_tpl: `{{ (value_json.usage | default({})).${key} | default(none) }}`,
          // It begins at 0 each day.
          stat_cla: "total_increasing",
          ent_cat: "diagnostic",
          ...more,
        });
  return {
    ...sensor("Tokens today", "tokens", { unit_of_meas: "tokens", ic: "mdi:counter" }),
    ...sensor("Cost today", "cost", { ic: "mdi:cash" }),
  };
}

const ASKED = "{{ value | tojson }}";

/** The request for a text, which is JSON or a template that makes it. */
function askWith(text: string, settings: MqttSettings): string {
  const { accept } = answerForm(settings, HOME_ASSISTANT);
  const form = accept === "text/plain" ? ', "accept": "application/json"' : "";
  return `{"text": ${text}, "stream": false${form}}`;
}

const EVENT_TYPE =
  "'error' if value_json.error is defined else 'answer' if value_json.push is not defined " +
  "else 'confirm' if value_json.id.startswith('confirm-') else 'push'";

/** Must give `event_type`; the rest are attributes of the event. */
const EVENT =
  `{"event_type": "{{ ${EVENT_TYPE} }}", ` +
  `"text": {{ value_json.text | tojson }}, ` +
  `"id": {{ value_json.id | default(none) | tojson }}, ` +
  `"code": {{ (value_json.error | default({})).code | default(none) | tojson }}}`;

const LOAD = "{{ value_json.gateways | map(attribute='load', default=0) | sum }}";

/** The installed version is all that is known: no update is offered. */
const VERSION =
  '{"installed_version": {{ value_json.version | tojson }}, ' +
  '"latest_version": {{ value_json.version | tojson }}}';
