import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { loadConfig } from "../../src/config/load.ts";
import { accessList } from "../../src/mqtt/acl/acl.ts";
import { NO_TOOL_TOPICS } from "../../src/mqtt/acl/rights.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { channelFor } from "../support/channel.ts";
import { smallDisk } from "../support/small-disk.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createFakeHost, runIn } from "./host.ts";

async function ran(args: readonly string[], config?: string) {
  await using folder = await temporaryFolder();
  if (config !== undefined) await writeFile(join(folder.path, "config.json"), config);
  return await runIn(folder.path, args);
}

const channel = (entry: object) => JSON.stringify({ version: 3, channel_list: { home: entry } });

it("a missing broker names the misspelt key", async () => {
  const settings = { brokr: "tcp://localhost", agent_id: "a" };
  const entry = { enabled: true, type: "mqtt", settings };
  const { code, stderr } = await ran(["gateway"], channel(entry));
  assert.equal(code, 78);
  assert.match(stderr, /has no broker: rename brokr, which is not a known key, or set/);
});

it("a channel without `enabled` is named where there is none to serve or to ask", async () => {
  const config = channel({ type: "mqtt", settings: { broker: "tcp://localhost", agent_id: "a" } });
  for (const args of [
    ["gateway", "--log-level", "error"],
    ["send", "kitchen", "hello"],
  ]) {
    const { code, stderr } = await ran(args, config);
    assert.equal(code, 78);
    assert.match(
      stderr,
      /channel_list\.home: has no `enabled`, so it is off\ntry: write "enabled": true/,
    );
  }
});

it("a wrong configuration does not stop what its flags name whole", async () => {
  const way = ["--broker", "tcp://127.0.0.1:1", "--agent", "a", "--connect-timeout", "1s"];
  for (const config of ["{", '{"gateway":{"port":"x"}}']) {
    const sent = await ran(["send", "kitchen", "--json", ...way, "hello"], config);
    assert.equal(sent.code, 4, sent.stderr);
    assert.match(sent.stderr, /the configuration is wrong and is ignored/);
    const { ok, exit } = JSON.parse(sent.stdout);
    assert.deepEqual([ok, exit], [false, 4]);
    assert.equal((await ran(["listen", ...way], config)).code, 4);
    assert.equal((await ran(["send", "kitchen", "--agent", "a", "hello"], config)).code, 78);
  }
});

it("no home folder is a named failure", async () => {
  const loaded = await loadConfig({ env: {}, home: "" });
  assert.ok(loaded instanceof Error);
  assert.match(`${loaded.message} ${loaded.remedy}`, /no home folder .* set PICOCLAW_HOME/);
});

it("no home folder is a failure of what shows and changes the configuration, too", async () => {
  for (const args of [
    ["config", "show"],
    ["config", "validate"],
    ["config", "set", "--dry-run", "gateway.port", "18791"],
  ]) {
    const host = { ...createFakeHost(args), home: "" };
    assert.equal(await runCommandLine(host), 78);
    assert.match(host.stdout.text() + host.stderr.text(), /there is no home folder for picoclaw/);
  }
});

it("flags that name the connection whole need no home folder", async () => {
  const way = ["--broker", "tcp://127.0.0.1:1", "--agent", "a", "--connect-timeout", "1s"];
  const host = { ...createFakeHost(["send", "kitchen", ...way, "hello"]), home: "" };
  assert.equal(await runCommandLine(host), 4);
  assert.match(host.stderr.text(), /the configuration is wrong and is ignored/);
});

it("the access lists have a user for debugging, not in effect", () => {
  const { settings } = channelFor("tcp://h", { topic_prefix: "/p", agent_id: "a" });
  const facts = { settings, gateway: "gw", by: "user", tools: NO_TOOL_TOPICS } as const;
  const lines = ["# user gw-debug", "# topic write /p/a/+/request", "# topic read /p/a/#", ""];
  for (const broker of ["mosquitto", "vernemq"] as const) {
    const list = accessList(broker, facts);
    assert.ok(list.endsWith(lines.join("\n")), list);
  }
  const rules = accessList("emqx", facts).split("\n");
  const debugging = rules.indexOf('%% {allow, {username, "gw-debug"}, subscribe, ["/p/a/#"]}.');
  assert.ok(debugging > 0 && debugging < rules.indexOf("{deny, all}."), rules.join("\n"));
  assert.match(accessList("hivemq", facts), /<id>picoclaw-debug<\/id>[^]*<topic>\/p\/a\/#</);
});

function homeAssistant(enabled: boolean): string {
  const settings = { broker: "tcp://b", agent_id: "a", homeassistant: { enabled } };
  return JSON.stringify({ channel_list: { mqtt: { enabled: true, settings } } });
}

it("the access list has the lines of Home Assistant where it is on", async () => {
  const on = await ran(["acl", "mosquitto"], homeAssistant(true));
  assert.match(on.stdout, /^topic write homeassistant\/device\/picoclaw_a\/config$/m);
  const off = await ran(["acl", "mosquitto"], homeAssistant(false));
  assert.doesNotMatch(off.stdout, /homeassistant/);
});

it("a full disk at the start is no fault of the configuration", async (context) => {
  await using disk = await smallDisk(64);
  if (disk === undefined) return context.skip("no mount is allowed here");
  await writeFile(join(disk.path, "fill"), Buffer.alloc(2 ** 16)).catch(() => {});
  await assert.rejects(openInstance(join(disk.path, "state"), { log: SILENT }), {
    code: "failed",
    message: "the state folder cannot be written",
  });
});

it("a setting on a disk that is mounted read-only names the disk as the cause", async (context) => {
  await using disk = await smallDisk(64);
  if (disk === undefined) return context.skip("no mount is allowed here");
  await writeFile(join(disk.path, "config.json"), "{}");
  spawnSync("mount", ["-o", "remount,ro", disk.path]);
  const env = { PICOCLAW_HOME: disk.path };
  const host = createFakeHost(["config", "set", "gateway.port", "18791"], { env });
  assert.equal(await runCommandLine(host), 1);
  const error = host.stderr.text();
  assert.match(error, /config\.json cannot be written\n {2}EROFS: .*open[^]*try: mount that disk/);
});
