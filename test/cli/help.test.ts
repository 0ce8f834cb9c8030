import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { COMMANDS, TOPICS } from "../../src/cli/args/commands.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { manPage } from "../../src/cli/help/man.ts";
import { markdownBlocks } from "../../src/cli/help/topics.ts";
import { keysIn, keyText } from "../../src/config/keys/key.ts";
import { KEYS, keysWithVariables } from "../../src/config/keys/keys.ts";
import { createFakeHost } from "./host.ts";

async function help(topic: string): Promise<string> {
  const host = createFakeHost(["help", topic]);
  assert.equal(await runCommandLine(host), 0);
  return host.stdout.text();
}

describe("help", () => {
  for (const topic of TOPICS) {
    it(`has a page ${topic} without Markdown`, async () => {
      const page = await help(topic);
      assert.ok(page.length > 500);
      assert.doesNotMatch(page, /`|\]\(|^\| /m);
    });
  }

  it("lists every key", async () => {
    const page = await help("settings");
    for (const { path } of keysIn(KEYS)) {
      assert.ok(page.includes(keyText(path)), path.join("."));
    }
  });

  it("lists every variable", async () => {
    const page = await help("environment");
    for (const { name } of keysWithVariables()) assert.ok(page.includes(name), name);
  });

  it("has topics, payloads and JSON lines", async () => {
    assert.match(await help("wire"), /\{prefix\}\/\{agent_id\}\/\{client\}\/request .*"text"/);
    const json = await help("json");
    assert.match(json, /^ {2}part +text, seq, done/m);
    // Code has no title, also if there is a pipe in it.
    assert.match(json, /know\.\n\n {2}\{\n/);
    assert.doesNotMatch(json, /^Jq/m);
  });

  it("reads headings, paragraphs, tables and code", () => {
    const blocks = markdownBlocks(
      "# One\n\nSee [x](y.md)\nand `z`.\n\n## Two\n\n| a | b |\n| - | - |\n| `1` | 2 |\n\n```sh\nrun\n\nagain\n```\n",
    );
    assert.deepEqual(blocks, [
      { title: "One", rows: [] },
      "See x and z.",
      { title: "Two", rows: [["1", "2"]] },
      {
        title: "",
        rows: [
          ["run", ""],
          ["", ""],
          ["again", ""],
        ],
      },
    ]);
  });
});

describe("the manual page", () => {
  const groff = spawnSync("groff", ["--version"]).status === 0;

  it("is right for groff, and has every command", { skip: !groff }, () => {
    const input = manPage();
    const { stdout, stderr, status } = spawnSync("groff", ["-man", "-ww", "-Tutf8", "-P-c"], {
      input,
      encoding: "utf8",
    });
    assert.deepEqual([status, stderr], [0, ""]);
    for (const { name } of COMMANDS) {
      assert.match(stdout.replaceAll(/.[\b]/g, ""), new RegExp(`picoclaw ${name}\\b`));
    }
  });
});
