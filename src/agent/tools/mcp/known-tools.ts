import { createHash } from "node:crypto";
import type { Tool as ServerTool } from "@modelcontextprotocol/client";
import { escapeControl } from "../../../base/escape-control.ts";
import { messageOf } from "../../../base/failure.ts";
import type { Log } from "../../../base/log.ts";
import { truncate } from "../../../base/truncate.ts";
import { at, isObject } from "../../../base/unknown.ts";
import type { McpServerSettings } from "../../../config/contract.ts";
import type { McpDocuments } from "./contract.ts";

export interface KnownToolsOptions {
  readonly settings: Pick<McpServerSettings, "name" | "pin">;
  readonly documents: McpDocuments;
  readonly log: Log;
}

/** Tools of a server that are remembered. */
const MAX_KNOWN = 1000;
/** Names in one line of the log. */
const MAX_NAMED = 20;

/** What the tools of a server said of themselves, in this process and in former ones: a server can change it later. */
export class KnownTools {
  readonly #options: KnownToolsOptions;
  /** For documents that cannot be kept. */
  #last: ReadonlyMap<string, string> | undefined;
  #warned = "";
  #leavesOut = false;

  constructor(options: KnownToolsOptions) {
    this.#options = options;
  }

  /** Whether tools of the last list are left out. */
  get leavesOut(): boolean {
    return this.#leavesOut;
  }

  /**
   * The tools of a list that can be used: all, or with `pin` those that are as they were. The log names those that
   * changed. Does not reject.
   */
  async take(tools: readonly ServerTool[]): Promise<readonly ServerTool[]> {
    const { settings } = this.#options;
    const known = await this.#read();
    const changed = changedOf(tools, known, settings.pin);
    this.#leavesOut = settings.pin && changed.length > 0;
    const used = this.#leavesOut ? tools.filter((tool) => !changed.includes(tool)) : tools;
    this.#tell(changed);
    await this.#remember(used, known);
    return used;
  }

  /** Takes a list as it is from now on. Returns the names of tools that changed, or are new. */
  async accept(tools: readonly ServerTool[]): Promise<readonly string[]> {
    const known = await this.#read();
    await this.#remember(tools, known);
    return namesOf(changedOf(tools, known, true));
  }

  #tell(changed: readonly ServerTool[]): void {
    const { settings, log } = this.#options;
    const named = namesOf(changed).slice(0, MAX_NAMED).join(" ");
    if (named === this.#warned) return;
    this.#warned = settings.pin ? named : "";
    if (named === "") return;
    const facts = { server: settings.name, tools: named, count: changed.length };
    if (!settings.pin)
      return log.warn("an MCP server changed what its tools say of themselves", facts);
    const more = { ...facts, remedy: `picoclaw mcp test ${settings.name}` };
    log.warn("tools of an MCP server are left out: they changed, or are new", more);
  }

  /** By name; undefined before the first list. With `pin` nothing is known from a document that cannot be read. */
  async #read(): Promise<ReadonlyMap<string, string> | undefined> {
    const { documents, settings } = this.#options;
    try {
      const found = at(await documents.read(this.#document), "tools");
      if (!isObject(found)) return this.#last;
      const pairs = Object.entries(found).filter(([, digest]) => typeof digest === "string");
      const written = pairs.map(([name, digest]) => [name, String(digest)] as const);
      // What could not be written is warned of once. A test accepts tools in the document.
      return new Map([...written, ...(settings.pin ? [] : (this.#last ?? []))]);
    } catch (thrown) {
      this.#failed("what is known of an MCP server cannot be read", thrown);
      return this.#last ?? (settings.pin ? new Map() : undefined);
    }
  }

  /** Tools that are gone for a while stay known. */
  async #remember(
    tools: readonly ServerTool[],
    known: ReadonlyMap<string, string> = new Map(),
  ): Promise<void> {
    const all = new Map(known);
    for (const tool of tools) all.set(tool.name, digestOf(tool));
    this.#last = all;
    const isSame =
      all.size === known.size &&
      all.entries().every(([name, digest]) => known.get(name) === digest);
    if (isSame && known.size > 0) return;
    const kept = Object.fromEntries([...all].slice(-MAX_KNOWN));
    try {
      await this.#options.documents.write(this.#document, { tools: kept });
    } catch (thrown) {
      this.#failed("what is known of an MCP server cannot be written", thrown);
    }
  }

  get #document(): string {
    return `mcp-tools-${this.#options.settings.name}`;
  }

  #failed(what: string, thrown: unknown): void {
    this.#options.log.debug(what, { server: this.#options.settings.name, why: messageOf(thrown) });
  }
}

/** Those that are known and different, and with `isNew` also those that are not known; none before the first list. */
function changedOf(
  tools: readonly ServerTool[],
  known: ReadonlyMap<string, string> | undefined,
  isNew: boolean,
): readonly ServerTool[] {
  if (known === undefined) return [];
  return tools.filter((tool) => {
    const digest = known.get(tool.name);
    return digest === undefined ? isNew : digest !== digestOf(tool);
  });
}

/** A hash of what a model reads of a tool, and of whether it only reads. */
function digestOf({ title, description, inputSchema, annotations }: ServerTool): string {
  const parts = [title, description, sorted(inputSchema), annotations?.readOnlyHint];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64");
}

/** With the keys in one order: some servers write them in another at each start. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => sorted(item));
  if (!isObject(value)) return value;
  const keys = Object.keys(value).toSorted((left, right) => (left < right ? -1 : 1));
  return Object.fromEntries(keys.map((key) => [key, sorted(value[key])]));
}

function namesOf(tools: readonly ServerTool[]): readonly string[] {
  return tools.map(({ name }) => escapeControl(truncate(name, 64)));
}
