import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import * as fc from "fast-check";
import { parse, stringify } from "yaml";
import { documentOf, lineField, listField } from "../../../src/agent/workspace/markdown.ts";
import { runs } from "../../support/runs.ts";

const isBun = process.versions["bun"] !== undefined;

describe("frontmatter", () => {
  it("gives back every name and list that was written as YAML", async () => {
    const word = fc
      .string({ unit: "grapheme", minLength: 1 })
      .map((text) => `x${text.replace(/\s+/g, " ").trim()}`);
    await fc.assert(
      fc.asyncProperty(word, fc.array(word, { maxLength: 5 }), async (name, tools) => {
        const document = await documentOf(`---\n${stringify({ name, tools })}---\nbody`);
        assert.equal(lineField(document, "name", 1e6), name);
        assert.deepEqual(listField(document, "tools"), tools);
        assert.equal(document.body, "body");
      }),
      { numRuns: runs(100) },
    );
  });

  it("means the same whether or not the YAML parser is needed for it", async () => {
    const piece = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.constantFrom("a", "B9", "x-y", " ", "  ", "ä", "日本", "~", "null"),
      },
      fc.constantFrom(
        ":",
        ": ",
        "#",
        " #",
        "'",
        '"',
        "[",
        "]",
        "{",
        "}",
        ",",
        "|",
        ">",
        "&a",
        "*a",
      ),
      fc.constantFrom(
        "!",
        "%",
        "@",
        "`",
        "\\",
        "- ",
        "?",
        "\t",
        "\r",
        "\u00a0",
        "\u2028",
        "\ufeff",
      ),
    );
    const text = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
    const line = fc
      .tuple(
        fc.constantFrom("a", "b", "name", "x-y", "x_1", "A"),
        fc.constantFrom(": ", ":  "),
        text,
      )
      .map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 4 }), async (lines) => {
        const head = lines.join("\n");
        let expected: unknown;
        try {
          expected = parse(head, { schema: "failsafe", uniqueKeys: false, logLevel: "error" });
        } catch {
          return;
        }
        const { fields } = await documentOf(`---\n${head}\n---\nrest`);
        for (const [key, value] of Object.entries(expected ?? {})) {
          if (typeof value !== "string" || /^(?:\s*|~|null)$/i.test(value)) continue;
          assert.equal(fields.get(key), value, JSON.stringify(head));
        }
        for (const key of fields.keys()) assert.ok(Object.hasOwn(Object(expected), key));
      }),
      { numRuns: runs(3000) },
    );
  });

  it("of plain texts is read without the YAML parser", { skip: !isBun }, async () => {
    const module = join(import.meta.dirname, "../../../src/agent/workspace/markdown.ts");
    const script = `
      import { documentOf } from ${JSON.stringify(module)};
      const { fields } = await documentOf("---\\nname: a b\\ndescription: it's, well:1\\n---\\n");
      const isLoaded = () => Object.keys(require.cache).some((name) => name.includes("/yaml/"));
      console.log(JSON.stringify([...fields]), isLoaded());
      await documentOf("---\\nname: 'a'\\n---\\n");
      console.log(isLoaded());`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--eval", script]);
    const fields = '[["name","a b"],["description","it\'s, well:1"]]';
    assert.equal(stdout, `${fields} false\ntrue\n`);
  });

  it("of any text is no failure", async () => {
    const text = fc.oneof(
      fc.string(),
      fc
        .array(
          fc.constantFrom(
            "---",
            "\n",
            "name:",
            " ",
            "- ",
            "&a",
            "*a",
            "{",
            "]",
            "'",
            '"',
            "<<",
            "x",
          ),
          { maxLength: 30 },
        )
        .map((parts) => parts.join("")),
    );
    await fc.assert(
      fc.asyncProperty(text, async (head) => {
        const { body, fields } = await documentOf(`---\n${head}\n---\nrest`);
        assert.ok(body.endsWith("rest"));
        for (const value of fields.values())
          assert.ok(typeof value === "string" || Array.isArray(value));
      }),
      { numRuns: runs(300) },
    );
  });

  it("that is no YAML still says which tools there are", async () => {
    for (const tools of [
      "\n  - read_file\n  - 'exec'",
      "\n- read_file\n- exec",
      " [read_file, exec]",
    ]) {
      const text = `---\ndescription: a: b\ntools:${tools}\nmaxTurns: 3\n---\nrest`;
      const document = await documentOf(text);
      assert.equal(document.fault, "its frontmatter is not YAML");
      assert.deepEqual(listField(document, "tools"), ["read_file", "exec"]);
      assert.equal(document.fields.get("maxTurns"), "3");
    }
    const none = await documentOf("---\ndescription: a: b\ntools: []\n---");
    assert.deepEqual(listField(none, "tools"), []);
    assert.equal(listField(await documentOf("---\na: b: c\ntools:\n---"), "tools"), undefined);
  });

  it("that unfolds without end is refused in time", async () => {
    const lines = ["a: &a [x,x,x,x,x,x,x,x,x]"];
    for (let index = 1; index < 12; index += 1) {
      const [name, before] = [String.fromCharCode(97 + index), String.fromCharCode(96 + index)];
      lines.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(",")}]`);
    }
    const { body, fault } = await documentOf(`---\n${lines.join("\n")}\n---\nrest`);
    assert.equal(body, "rest");
    assert.equal(fault, "its frontmatter is not YAML");
    assert.equal((await documentOf(`---\n${"[".repeat(20_000)}\n---\nrest`)).body, "rest");
  });
});
