import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { isWireCode } from "../../src/base/failure.ts";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/troubleshooting.md"), "utf8");

/** The first cells of the tables of the page, without those of their heads. */
const cells = [...page.matchAll(/^\| (.+?) +\|/gm)]
  .map(([, cell = ""]) => cell)
  .filter((cell) => !["code", "message"].includes(cell) && !cell.startsWith("---"));
const codes = new Set(
  cells.flatMap((cell) => [...cell.matchAll(/`([a-z_.]+)`/g)].map(([, code = ""]) => code)),
);
/** Those that say what is found in a message, "…" for anything. */
const messages = cells
  .flatMap((cell) => cell.split("; "))
  .map((words) => words.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`))
  .map((words) => new RegExp(words.replaceAll("…", ".*")));

function sources(...patterns: readonly string[]): string[] {
  const files = patterns.flatMap((pattern) => globSync(pattern, { cwd: join(root, "src") }));
  return files.map((file) => readFileSync(join(root, "src", file), "utf8"));
}

function found(texts: readonly string[], pattern: RegExp): Set<string> {
  return new Set(
    texts.flatMap((text) => [...text.matchAll(pattern)].map(([, ...groups]) => groups.join(""))),
  );
}

/** No user sees these in the first line: a tool or a caller gets them, or a check of its own came before. */
const INTERNAL = new Set([
  "the reply address of this request is no longer known",
  "the client closed its connection",
  "no broker is available",
  "there is no such channel",
  "this gateway cannot push",
  "the channel was closed",
  "the channel has no broker",
  "the broker is not the built-in broker",
  "the broker cannot be reached",
  "the client closed its connection",
  "the agent answered with the error X: X",
]);

describe("docs/troubleshooting.md", () => {
  it("has each code of a check", () => {
    const made = found(
      sources("cli/checks/*.ts", "cli/doctor/*.ts", "agent/*.ts", "mqtt/checks/*.ts"),
      /\bcode: "([a-z_.]+)"|coded\("([a-z_.]+)"|^const [A-Z]+ = "([a-z]+\.[a-z_]+)"/gm,
    );
    assert.ok(made.size > 30, [...made].join());
    assert.deepEqual(
      [...made].filter((code) => !codes.has(code)),
      [],
    );
  });

  it("has each code of an answer", () => {
    const all = found(sources("base/failure.ts"), /^ {2}"([a-z_]+)",$/gm);
    assert.equal(all.size, 11);
    for (const code of all) assert.ok(isWireCode(code) && codes.has(code), code);
  });

  it("has what a gateway says first when it does not start, does not connect, or ends", () => {
    const texts = sources(
      "cli/connection.ts",
      "cli/runtime/*.ts",
      "config/*.ts",
      "config/compat/**/*.ts",
      "agent/model/endpoint.ts",
      "gateway/**/*.ts",
      "mqtt/agent-channel/*.ts",
      "mqtt/broker/*.ts",
      "mqtt/client/*.ts",
      "store/**/*.ts",
    );
    const literal = /("[^"]*"|`[^`]*`)/.source;
    const ends = `"(?:config|unreachable|refused|failed|fenced)"`;
    const said = [
      new RegExp(String.raw`new Failure\(\s*[^,]*?${ends}[^,]*?,\s*${literal}`, "g"),
      new RegExp(String.raw`unreachable\(${literal}`, "g"),
      new RegExp(String.raw`^    name: ("the broker[^"]*")`, "gm"),
      new RegExp(
        String.raw`const (?:message|SILENT) = ("the broker[^"]*"|${"`"}(?:the broker|none of)[^${"`"}]*${"`"})`,
        "g",
      ),
    ].flatMap((pattern) => Array.from(found(texts, pattern)));
    const first = said
      .map((text) => text.slice(1, -1).replaceAll(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, "X"))
      .filter((text) => /[a-z]{2}/.test(text) && !INTERNAL.has(text));
    assert.ok(first.length > 40, `only ${first.length}`);
    assert.deepEqual(
      first.filter((text) => !messages.some((pattern) => pattern.test(text))),
      [],
    );
  });
});
