import * as v from "valibot";
import { ToolError } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { McpTool } from "./tools.ts";

/** Finds tools; the best first, at most so many. */
type Find = (wanted: string, tools: readonly McpTool[], most: number) => readonly McpTool[];

export interface SearchOptions {
  /** The tools to find. */
  readonly tools: readonly McpTool[];
  /** Called with what was found: the model gets these tools from its next call on. */
  readonly onFound: (found: readonly McpTool[]) => void;
  /** Tools that one search finds. */
  readonly most: number;
}

/** Characters of what is searched for, and of a description in an answer. */
const MAX_WANTED = 200;
const MAX_ABOUT = 200;

const DOES =
  "Finds further tools, of MCP servers. Those that it finds can be called from your next step on.";

/** The search by words; named as in Go PicoClaw. */
export function wordSearch(options: SearchOptions): McpTool {
  const input = v.object({ query: textField("What the tool should do, in a few words.") });
  return searchTool(
    WORD_SEARCH,
    input,
    ({ query }) => answer(query, findByWords, options),
    options,
  );
}

/** The search by patterns; named as in Go PicoClaw. */
export function patternSearch(options: SearchOptions): McpTool {
  const input = v.object({
    pattern: textField("Words of a name or a description; .* for anything between, | for or."),
  });
  const run = ({ pattern }: v.InferOutput<typeof input>) => answer(pattern, findByPattern, options);
  return searchTool(PATTERN_SEARCH, input, run, options);
}

function searchTool<Schema extends v.GenericSchema>(
  name: string,
  input: Schema,
  run: (wanted: v.InferOutput<Schema>) => string,
  { tools }: SearchOptions,
): McpTool {
  const tool = defineTool({
    name,
    description: DOES,
    input,
    exclusive: true,
    run: (wanted) => Promise.resolve(run(wanted)),
  });
  // Who may use one of the tools may search.
  return { ...tool, permission: tools[0]?.permission ?? name };
}

const WORD_SEARCH = "tool_search_tool_bm25";
const PATTERN_SEARCH = "tool_search_tool_regex";

function answer(wanted: string, find: Find, { tools, onFound, most }: SearchOptions): string {
  if (wanted.trim() === "") throw new ToolError("say what the tool should do");
  if (wanted.length > MAX_WANTED) throw new ToolError(`use at most ${MAX_WANTED} characters`);
  const found = find(wanted, tools, most);
  onFound(found);
  if (found.length === 0) return `None of ${tools.length} tools fits. Try other words.`;
  const lines = found.map(({ name, description }) => `${name}: ${description.slice(0, MAX_ABOUT)}`);
  return [`${FOUND}:`, ...lines].join("\n");
}

/** The first line of an answer. */
const FOUND = "These tools can be called now";

/** Names of tools in the answer of an earlier search. */
export function foundIn(text: string): readonly string[] {
  if (!text.startsWith(FOUND)) return [];
  return text.split("\n").flatMap((line) => /^mcp_[\w-]+(?=: )/.exec(line)?.[0] ?? []);
}

/** The parameters of BM25 (Robertson and Zaragoza, 2009), as is usual. */
const K1 = 1.2;
const B = 0.75;

function findByWords(wanted: string, tools: readonly McpTool[], most: number): McpTool[] {
  const all = tools.map((tool) => ({ tool, words: wordsOf(`${tool.name} ${tool.description}`) }));
  const average = all.reduce((sum, { words }) => sum + words.length, 0) / Math.max(1, all.length);
  const terms = [...new Set(wordsOf(wanted))].map((term) => {
    const holding = all.filter(({ words }) => words.includes(term)).length;
    return { term, weight: Math.log(1 + (all.length - holding + 0.5) / (holding + 0.5)) };
  });
  const scored = all.map(({ tool, words }) => {
    const norm = K1 * (1 - B + (B * words.length) / average);
    const score = terms.reduce((sum, { term, weight }) => {
      const count = words.filter((word) => word === term).length;
      return sum + (weight * count * (K1 + 1)) / (count + norm);
    }, 0);
    return { tool, score };
  });
  const fitting = scored.filter(({ score }) => score > 0);
  return fitting
    .toSorted((left, right) => right.score - left.score)
    .slice(0, most)
    .map(({ tool }) => tool);
}

/** Words in lower case, without a plural's s; `readFile` and `read_file` have two. */
function wordsOf(text: string): string[] {
  const split = text.replaceAll(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return (split.match(/[\p{L}\p{N}]+/gu) ?? []).map((word) => word.replace(/(?<=..)s$/, ""));
}

/**
 * A pattern of a model is no regular expression here, because one could take for ever: it is words with `.*` between
 * them, and alternatives with `|`.
 */
function findByPattern(wanted: string, tools: readonly McpTool[], most: number): McpTool[] {
  const choices = wanted
    .toLowerCase()
    .split("|")
    .map((choice) => choice.split(/\.\*|\^|\$/));
  const fits = (text: string): boolean => choices.some((pieces) => holdsInOrder(text, pieces));
  const found = tools.filter(({ name, description }) =>
    fits(`${name} ${description}`.toLowerCase()),
  );
  return found.slice(0, most);
}

function holdsInOrder(text: string, pieces: readonly string[]): boolean {
  let from = 0;
  for (const piece of pieces) {
    const found = text.indexOf(piece, from);
    if (found === -1) return false;
    from = found + piece.length;
  }
  return true;
}
