import { isTopicFilter, isTopicName } from "../../base/topic-filter.ts";
import { scalar, text } from "../values.ts";
import { group, key, optional } from "./key.ts";

export const FILTER =
  "an MQTT topic filter: + stands for a whole level, # for all that follow and comes last";

/** Begins turns by itself. What `when`, `unusual` and `cooldown` say is read where they are used. */
export const WATCH = group({
  topic: key(text(FILTER, isTopicFilter), "", "The topic, or a filter of several topics."),
  when: optional(
    text(),
    "What a message has to be: `$.temperature > 30`, `changed`, `missing for 10m` …; without it and `unusual`, any message.",
  ),
  unusual: optional(
    scalar(
      "true, false or a path as $.power",
      ({ value }) => (typeof value === "number" ? undefined : value),
      { type: ["boolean", "string"] },
    ),
    "Only values that are unusual for the hour of the week: true for payloads that are numbers, or the path of one.",
  ),
  prompt: key(
    text("text that is not blank, of at most 8192 characters", isNotBlank),
    "",
    "What the agent is to do then.",
  ),
  client: key(text("a client id", isClientId), "", "The client that gets the answer."),
  channel: optional(text(), "The channel of the client and of the topic's broker.", {
    shown: "the only one",
  }),
  cooldown: key(
    scalar("a time as 90s, 10m or 2h", ({ text: written }) => written, {
      type: ["string", "number"],
    }),
    "10m",
    "For how long a topic starts no other turn of this watch: `90s`, `10m`, `2h`, `1d`; at least `10s`.",
  ),
});

const MAX_PROMPT = 8_192;

function isNotBlank(written: string): boolean {
  return written.trim() !== "" && written.length <= MAX_PROMPT;
}

function isClientId(written: string): boolean {
  return isTopicName(written) && !written.includes("/") && written.length <= 128;
}
