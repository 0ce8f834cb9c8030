import * as v from "valibot";
import type { CallFacts, Tool } from "./contract.ts";
import { meantArguments } from "./meant.ts";
import { jsonSchemaOf } from "./schema.ts";

/** A tool whose arguments are stated once, as a valibot object schema. */
export interface ToolDefinition<Schema extends v.GenericSchema> {
  readonly name: string;
  readonly description: string;
  readonly input: Schema;
  readonly alone?: true;
  readonly milliseconds?: number;
  readonly characters?: number;
  run(input: v.InferOutput<Schema>, call: CallFacts): Promise<string>;
}

/**
 * Joins schema and work: models see JSON Schema, slips whose meaning is clear are taken, and what does
 * not fit is answered with the issues.
 */
export function defineTool<Schema extends v.GenericSchema>(
  definition: ToolDefinition<Schema>,
): Tool {
  const { input, ...rest } = definition;
  return {
    ...rest,
    parameters: jsonSchemaOf(input),
    meant: (value) => meantArguments(input, value),
    async run(value, call) {
      const parsed = v.safeParse(input, meantArguments(input, value));
      if (parsed.success) return await definition.run(parsed.output, call);
      return `error: wrong arguments: ${parsed.issues.slice(0, 5).map(issueText).join("; ")}`;
    },
  };
}

function issueText(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  return path === null ? issue.message : `${path}: ${issue.message}`;
}
