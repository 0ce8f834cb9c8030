import { at, listAt, textAt } from "../../../base/unknown.ts";
import { ModelFault } from "../fault.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { errorIn } from "../http/refusal.ts";
import { createBlockCollector } from "./blocks.ts";
import type { BlockCollector } from "./blocks.ts";
import { createUsageCount } from "./usage.ts";

/** Stop reasons that mean: there was no room left. */
const CUT: ReadonlySet<string> = new Set(["max_tokens", "model_context_window_exceeded"]);

/** Builds one reply from the events of a message (or from a whole one); `by` is who its thinking is of. */
export function createMessageAnswer(by: string): AnswerBuilder {
  const blocks = createBlockCollector(by);
  const usage = createUsageCount();
  let [stopReason, ended] = ["", false];

  const stop = (reason: string): void => {
    stopReason = reason || stopReason;
    if (reason === "refusal") throw new ModelFault("withheld", "stop_reason refusal");
  };

  return {
    get finished() {
      return stopReason !== "" || ended;
    },
    get ended() {
      return ended;
    },
    take(event) {
      const error = errorIn(event);
      if (error !== undefined) throw error;
      const type = textAt(event, "type");
      // What an answer without events is in one, `message_start` begins.
      const message = type === "message" ? event : at(event, "message");
      usage.take(at(message, "usage"));
      usage.take(at(event, "usage"));
      const text = textOf(type, event, blocks);
      stop(textAt(message, "stop_reason") || textAt(at(event, "delta"), "stop_reason"));
      ended ||= type === "message_stop";
      return text;
    },
    rest: () => "",
    reply() {
      const counted = usage.total();
      return {
        text: blocks.text(),
        ...blocks.end(),
        cut: CUT.has(stopReason),
        ...(counted === undefined ? {} : { usage: counted }),
      };
    },
  };
}

function textOf(type: string, event: unknown, blocks: BlockCollector): string {
  switch (type) {
    case "message":
    case "message_start": {
      const whole = listAt(type === "message" ? event : at(event, "message"), "content");
      return whole.map((block, index) => blocks.begin(index, block)).join("");
    }
    case "content_block_start":
      return blocks.begin(at(event, "index"), at(event, "content_block"));
    case "content_block_delta":
      return blocks.grow(at(event, "index"), at(event, "delta"));
    default:
      // `ping`, `content_block_stop`, and whatever will be added: clients are told to ignore it.
      return "";
  }
}
