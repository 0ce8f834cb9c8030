import { isObject } from "../../../base/unknown.ts";
import type { ModelCall } from "../contract.ts";
import type { ModelError } from "../errors.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Schemas that a server refused, and that are remembered. */
const MAX_SCHEMAS = 32;

interface FormatSupport {
  readonly isKnown: boolean;
  readonly withTools: boolean;
}

/** A refusal is about the format of the answer: by its field, or by what servers call it. */
const FORMAT =
  /response[_ ]?(?:format|mime[_ ]?type|(?:json_?)?schema)|json[_ ](?:mode|schema|object)|structured[_ ]outputs?|output[_ ](?:config\.)?format|output_?config(?!\.effort)|text\.format|\bgrammar\b|\bguided/i;
const TOOLS = /\b(?:tools?|functions?)\b|function_call/i;
const SCHEMA =
  /invalid[_ ](?:json_)?schema|propert(?:y|ies)|\bgrammar\b|too (?:complex|many)|\.schema\b/i;

/**
 * Which formats of answers a server takes. What it refuses is asked for in words alone, which stand before the
 * question anyway: any format, one together with tools, or one schema. `isKnown` is false for an API without formats, `withTools` for
 * a server that may keep the model from calling tools when it has one.
 */
export function createFormatRefusals({ isKnown, withTools }: FormatSupport) {
  const schemas = new Set<string>();
  let [isRefused, isRefusedWithTools] = [!isKnown, !withTools];
  return {
    /** The call as the server takes it. */
    apply(call: ModelCall): ModelCall {
      const { format, tools } = call;
      if (format === undefined) return call;
      const isBadSchema = schemas.size > 0 && schemas.has(JSON.stringify(format.schema));
      if (isRefused || isBadSchema) return withoutFormat(call);
      if (tools.length === 0 || !isRefusedWithTools) return call;
      return call.isFormatRepeated ? { ...call, tools: [] } : withoutFormat(call);
    },
    /** Whether a refusal is about the format of this call, so that the next one differs. */
    learn({ kind, message, parameter = "" }: ModelError, { format, tools }: ModelCall): boolean {
      const isAbout = FORMAT.test(message) || FORMAT.test(parameter);
      if (format === undefined || kind !== "refused" || !isAbout) return false;
      if (tools.length > 0 && TOOLS.test(message)) isRefusedWithTools = true;
      else if (SCHEMA.test(message) && schemas.size < MAX_SCHEMAS) {
        schemas.add(JSON.stringify(format.schema));
      } else isRefused = true;
      return true;
    },
  };
}

/**
 * A body with further fields, added after all that is learned of its others: what one request asks for must not
 * become a part of later ones. The body's own fields win, also within a field that both have.
 */
export function withFields(body: Fields, fields: Fields = {}): Fields {
  const both: Record<string, unknown> = { ...fields, ...body };
  for (const [name, value] of Object.entries(fields)) {
    if (isObject(value) && isObject(body[name])) both[name] = { ...value, ...body[name] };
  }
  return both;
}

function withoutFormat(call: ModelCall): ModelCall {
  const { format: _, ...others } = call;
  return others;
}
