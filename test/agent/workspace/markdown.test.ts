import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { stringify } from "yaml";
import { documentOf, lineField, listField } from "../../../src/agent/workspace/markdown.ts";

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
      { numRuns: 100 },
    );
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
      { numRuns: 300 },
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
