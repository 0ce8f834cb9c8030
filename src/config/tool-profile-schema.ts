import * as v from "valibot";
import { isTopicFilter } from "../base/topic-filter.ts";
import { oneOrMore, orEmpty, section, text, texts } from "./values.ts";

const FILTER =
  "an MQTT topic filter: + stands for a whole level, # for all that follow and comes last";

const filters = () => v.optional(oneOrMore(text(FILTER, isTopicFilter)), () => []);
const paths = () => v.optional(oneOrMore(text("a path", isPath)), () => []);

/** `tools.profiles.<pattern>.topics`. */
export const PROFILE_TOPICS = { read: filters(), publish: filters() };

/** `tools.profiles.<pattern>`. */
export const PROFILE = {
  tools: v.optional(texts(), () => []),
  read: paths(),
  write: paths(),
  topics: orEmpty(section(PROFILE_TOPICS)),
};

function isPath(written: string): boolean {
  return written.trim() !== "" && !written.includes("\0");
}
