import type { Tool as ServerTool } from "@modelcontextprotocol/client";
import { escapeControl } from "../../../base/escape-control.ts";
import type { Log } from "../../../base/log.ts";
import { truncate } from "../../../base/truncate.ts";
import { isObject } from "../../../base/unknown.ts";
import { RefusedCall, resultOf, ToolError } from "../contract.ts";
import type { Tool } from "../contract.ts";
import { HELD_BACK } from "../web/secret-leak.ts";
import type { HoldsSecret } from "../web/secret-leak.ts";
import { modelName, permissionName } from "./names.ts";
import { resultText } from "./result.ts";
import { boundedSchema } from "./schema.ts";
import type { McpServer } from "./server.ts";
import { cleanText } from "./text.ts";

export interface ServerToolOptions {
  readonly server: Pick<McpServer, "name" | "call">;
  /** Tools of another server could have the same plain names. */
  readonly isAmbiguous: boolean;
  readonly seconds: number;
  /** Characters of a result. */
  readonly characters: number;
  readonly holdsSecret: HoldsSecret;
  readonly log: Log;
}

/** A tool of a server, with its name in profiles. */
export type McpTool = Tool & { readonly permission: string };

/** Characters of a tool's name at its server, and of its description. */
const MAX_NAME = 128;
const MAX_DESCRIPTION = 1_024;
/** Faults in one line of the log. */
const MAX_NAMED = 10;

/** The tools of a server for models. Those that cannot be used are left out, with one line in the log. */
export function toolsOf(
  listed: readonly ServerTool[],
  options: ServerToolOptions,
): readonly McpTool[] {
  const tools = new Map<string, McpTool>();
  const faults: string[] = [];
  for (const tool of listed) {
    const fault = addTool(tool, tools, options);
    if (fault !== "") faults.push(`${truncate(tool.name, 64)} (${fault})`);
  }
  if (faults.length > 0) {
    options.log.warn("tools of an MCP server are left out", {
      server: options.server.name,
      tools: escapeControl(faults.slice(0, MAX_NAMED).join(", ")),
      count: faults.length,
    });
  }
  return [...tools.values()];
}

/** Adds a tool by its name for models. Returns why it cannot be used; "" if it was added. */
function addTool(
  tool: ServerTool,
  tools: Map<string, McpTool>,
  options: ServerToolOptions,
): string {
  const { name } = tool;
  const permission = permissionName(options.server.name, name);
  if (name.trim() === "" || name.length > MAX_NAME) return "its name is empty or too long";
  if (name === "*" || /[\p{Cc}\s]/u.test(name)) return "its name has other characters than a name";
  const isKnown = tools.values().some((other) => other.permission === permission);
  // Names that differ only in case are one name for models, without their hash.
  const names = [options.isAmbiguous, true].map((isHashed) =>
    modelName(options.server.name, name, isHashed),
  );
  const free = names.find((each) => !tools.has(each));
  if (isKnown || free === undefined) return "there is another of that name";
  try {
    tools.set(free, toolOf(tool, { name: free, permission }, options));
    return "";
  } catch (thrown) {
    if (thrown instanceof ToolError) return thrown.message;
    throw thrown;
  }
}

function toolOf(
  listed: ServerTool,
  { name, permission }: Pick<McpTool, "name" | "permission">,
  { server, seconds, characters, holdsSecret, log }: ServerToolOptions,
): McpTool {
  const about = cleanText(listed.description ?? listed.title ?? "", MAX_DESCRIPTION);
  // Results are text for a model: no schema of the server is made code to check them.
  const { outputSchema: _, ...called } = listed;
  return {
    name,
    permission,
    description: `[MCP server ${server.name}] ${about || cleanText(listed.name, MAX_NAME)}`,
    parameters: boundedSchema(listed.inputSchema),
    // The connection's own limit comes first.
    milliseconds: seconds * 1000 + 5_000,
    characters,
    ...(listed.annotations?.readOnlyHint !== true && { exclusive: true }),
    run: (input, call) =>
      resultOf(async () => {
        if (!isObject(input)) throw new ToolError("wrong arguments: they are not an object");
        if (holdsSecret(JSON.stringify(input))) {
          log.warn("a tool of an MCP server was not called", { tool: name, why: HELD_BACK });
          throw new RefusedCall(`this call was not made: ${HELD_BACK}`);
        }
        return await resultText(await server.call(called, input, call.signal), characters, call);
      }, call),
  };
}
