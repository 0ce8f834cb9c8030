import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runCommandLine } from "../../src/cli/cli.ts";
import { MCP_PROGRAM } from "../support/mcp.ts";
import { picoclaw, temporaryHome } from "../support/picoclaw.ts";
import { createFakeHost } from "./host.ts";
import { createMemoryOutput } from "./memory.ts";

const serverOf = (plan: object, more: object = {}) => ({
  enabled: true,
  command: "node",
  args: [MCP_PROGRAM, JSON.stringify(plan)],
  ...more,
});

const TOOLS = [{ name: "look", description: "Looks\u001b[31m around." }, { name: "a b" }];

const CONFIG = {
  version: 3,
  tools: {
    mcp: {
      enabled: true,
      servers: {
        well: serverOf({ tools: TOOLS }, { env: { API_KEY: "not-to-be-seen" } }),
        dead: serverOf({ starts: "die" }),
        far: { enabled: true, url: "http://127.0.0.1:1/?token=hidden-word" },
        off: { enabled: false, command: "x" },
      },
    },
  },
};

describe("picoclaw mcp", () => {
  it("lists the servers that are on, and connects to none", async () => {
    await using home = await temporaryHome(CONFIG);
    const list = await picoclaw(["mcp", "list"], { home: home.path });
    assert.equal(list.code, 0, list.stderr);
    assert.deepEqual(
      list.stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t").slice(0, 2)),
      [
        ["well", "stdio"],
        ["dead", "stdio"],
        ["far", "http"],
      ],
    );
    assert.doesNotMatch(list.stdout, /hidden-word|not-to-be-seen/);
    const json = await picoclaw(["mcp", "list", "--json"], { home: home.path });
    const [line] = json.stdout.split("\n").map((text) => (text === "" ? {} : JSON.parse(text)));
    assert.equal(line.type, "mcp_server");
    assert.equal(line.transport, "stdio");
  });

  it("tests them, and fails if one is not connected", async () => {
    await using home = await temporaryHome(CONFIG);
    const { code, stdout, stderr } = await picoclaw(["mcp", "test"], { home: home.path });
    assert.equal(code, 1, stderr);
    assert.match(stdout, /^well\tok\t1 tools\tprogram 1\t2025-11-25\t\d+ ms\t1 cannot be used$/m);
    assert.match(stdout, /^dead\tfail\tit ended with 3; its last output: cannot go on$/m);
    assert.match(stdout, /^far\tfail\t/m);
    assert.match(stderr, /left out.*a b/);
  });

  it("tests one, with its tools as profiles name them", async () => {
    await using home = await temporaryHome(CONFIG);
    const { code, stdout } = await picoclaw(["mcp", "test", "well"], { home: home.path });
    assert.equal(code, 0);
    assert.match(stdout, /\n {2}well\.look\t\[MCP server well\] Looks\[31m around\.\n$/);
    const json = await picoclaw(["mcp", "test", "well", "--json"], { home: home.path });
    const line = JSON.parse(json.stdout);
    assert.equal(line.type, "mcp_test");
    assert.equal(line.ok, true);
    assert.deepEqual(line.tools[0].name, "well.look");
    assert.equal(line.tools[0].model_name, "mcp_well_look");
  });

  it("knows the nearest name, and says when there is none", async () => {
    await using home = await temporaryHome(CONFIG);
    const wrong = await picoclaw(["mcp", "test", "wel"], { home: home.path });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /no MCP server wel .*\ntry: picoclaw mcp test well/);
    await using empty = await temporaryHome({ version: 3 });
    const none = await picoclaw(["mcp", "list"], { home: empty.path });
    assert.deepEqual([none.code, none.stdout], [0, ""]);
    assert.match(none.stderr, /tools\.mcp is off/);
  });

  it("is a part of doctor's checks", async () => {
    await using home = await temporaryHome(CONFIG);
    const { stdout } = await picoclaw(["doctor", "--offline", "--json"], { home: home.path });
    const checks = stdout
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text));
    const found = checks.filter(({ code }) => code === "mcp.server");
    assert.deepEqual(
      found.map(({ about, result }) => [about, result]),
      [
        ["MCP server well", "warn"],
        ["MCP server dead", "fail"],
        ["MCP server far", "fail"],
      ],
    );
    assert.match(found[1].message, /is not connected: it ended with 3/);
  });

  it("shows no value of a variable or a header, whatever it is called", async () => {
    const servers = {
      // A program that tells its variable, and ends.
      loud: {
        enabled: true,
        command: "sh",
        args: ["-c", "echo it is $FOO >&2; exit 3"],
        env: { FOO: "plain-value-1" },
      },
      far: { enabled: true, url: "http://127.0.0.1:1/", headers: { "X-Id": "plain-value-2" } },
    };
    await using home = await temporaryHome({
      version: 3,
      tools: { mcp: { enabled: true, servers } },
    });
    const outputs = [];
    for (const words of [
      ["mcp", "test"],
      ["mcp", "test", "--json", "--debug"],
      ["doctor", "--offline"],
      ["config", "show"],
      ["config", "show", "--json"],
      ["config", "get", "tools.mcp.servers"],
      ["config", "get", "tools.mcp.servers.loud.env.FOO"],
      ["config", "get", "tools.mcp.servers.far.headers.X-Id"],
      ["config", "set", "--dry-run", "tools.mcp.servers.loud.enabled", "false"],
    ]) {
      const { stdout, stderr } = await picoclaw(words, { home: home.path });
      outputs.push(stdout + stderr);
    }
    const all = outputs.join("\n");
    assert.match(all, /its last output: it is \[FILTERED\]/);
    assert.match(all, /loud\.env = \{"FOO":"\*\*\*"\}/);
    assert.match(all, /far\.headers = \{"X-Id":"\*\*\*"\}/);
    assert.doesNotMatch(all, /plain-value/);
  });

  it("breaks lines between words on a terminal", async () => {
    const args = ["-c", "echo no way into the place where all of its things are >&2; exit 3"];
    const servers = { wordy: { enabled: true, command: "sh", args } };
    const config = { version: 3, tools: { mcp: { enabled: true, servers } } };
    await using home = await temporaryHome(config);
    for (const words of [
      ["mcp", "list"],
      ["mcp", "test"],
    ]) {
      const host = createFakeHost(words, { env: { PICOCLAW_HOME: home.path } });
      const stdout = createMemoryOutput({ isTTY: true, columns: 40 });
      await runCommandLine({ ...host, stdout });
      const lines = stdout.text().trimEnd().split("\n");
      assert.ok(lines.length > 2 && lines.every((line) => line.length <= 40), stdout.text());
      const text = stdout.text().replaceAll(/\s+/g, " ");
      assert.match(text, /^wordy .*no way into the place where all of its things are/);
      assert.ok(!stdout.text().includes("\t"));
    }
  });

  it("takes a variable as a secret, from a pipe and into .security.yml", async () => {
    await using home = await temporaryHome(CONFIG);
    const key = "tools.mcp.servers.well.env.FOO";
    const named = await picoclaw(["config", "set", key, "plain-value"], { home: home.path });
    assert.equal(named.code, 2, named.stderr);
    assert.match(named.stderr, /a secret is not taken from the command line/);
    const piped = await picoclaw(["config", "set", key], { home: home.path, input: "plain-value" });
    assert.equal(piped.code, 0, piped.stderr);
    assert.doesNotMatch(piped.stdout + piped.stderr, /plain-value/);
    const file = join(home.path, ".security.yml");
    assert.match(await readFile(file, "utf8"), /FOO: "plain-value"/);
    const well = await picoclaw(["mcp", "test", "well"], { home: home.path });
    assert.equal(well.code, 0, well.stderr);
  });
});
