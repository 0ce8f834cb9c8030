import { at, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelFault } from "../fault.ts";
import { MAX_TEXT } from "../http/answer.ts";
import { createCallDrafts } from "../http/calls.ts";
import type { CallDraft } from "../http/calls.ts";
import { packed } from "../http/carrier.ts";

/** What of a call must be sent back with it. */
interface Signed {
  readonly draft: CallDraft;
  /** "" where the provider gave none. */
  readonly id: string;
  readonly signature: string;
}

/** The calls of an answer with their signatures. */
export interface SignedCalls {
  /** Takes the call of one part, which is always whole; a part may have none. */
  take(part: unknown): void;
  /** The calls, and the carrier of their ids and signatures where there are some. */
  end(): { readonly toolCalls: readonly ToolCall[]; readonly reasoning?: string };
}

/** `by` is whose signatures the carrier holds. */
export function createSignedCalls(by: string): SignedCalls {
  const calls = createCallDrafts();
  const signed: Signed[] = [];
  let characters = 0;
  return {
    take(part) {
      const call = at(part, "functionCall");
      if (call === undefined) return;
      const [id, name] = [textAt(call, "id"), textAt(call, "name")];
      const signature = textAt(part, "thoughtSignature");
      characters += signature.length;
      if (characters > MAX_TEXT) throw new ModelFault("oversized", "the signatures are too long");
      const draft = calls.begin(id, name);
      draft.add(JSON.stringify(at(call, "args") ?? {}));
      signed.push({ draft, id, signature });
    },
    end() {
      const toolCalls = calls.end();
      const reasoning = carrierOf(signed, toolCalls, by);
      return { toolCalls, ...(reasoning === undefined ? {} : { reasoning }) };
    },
  };
}

/** What to send back with the calls, by their ids; undefined where that is nothing. */
function carrierOf(
  signed: readonly Signed[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const named = signed.filter(({ draft }) => draft.name !== "");
  const facts = toolCalls.flatMap(({ id }, index): [string, Record<string, unknown>][] => {
    const { id: own = "", signature = "" } = named[index] ?? {};
    const given = own !== "" && own === id ? { given: true } : {};
    const fact = { ...given, ...(signature === "" ? {} : { signature }) };
    return Object.keys(fact).length === 0 ? [] : [[id, fact]];
  });
  return facts.length === 0 ? undefined : packed(by, Object.fromEntries(facts));
}
