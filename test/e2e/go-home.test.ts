import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  writeConfig,
  temporaryHome,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/** A home that forbids the agent what this program would let it do. */
const RESTRICTED = {
  isolation: { enabled: true },
  agents: { list: [{ id: "guest", workspace: "/srv/guest", skills: [] }] },
  hooks: { builtins: { guard: { enabled: true } } },
};

it("a Go home's restrictions refuse gateway, --check, agent and try by name with 78", async () => {
  await using home = await temporaryHome(quickConfig("tcp://127.0.0.1:1", {}, RESTRICTED));
  const starts = [["gateway"], ["gateway", "--check"], ["agent", "-m", "hi"], ["try", "hi"]];
  for (const args of starts) {
    const { code, stdout, stderr } = await picoclaw(args, { home: home.path });
    assert.equal(code, 78, stderr);
    if (!args.includes("--check")) assert.equal(stdout, "");
    assert.match(stderr, /^error: 4 restrictions in .*config\.json are not built here/);
    for (const key of [
      "isolation.enabled",
      "agents.list[0].workspace",
      "agents.list[0].skills",
      "hooks.builtins.guard",
    ]) {
      assert.ok(stderr.includes(`: ${key}: `), stderr);
    }
    assert.match(stderr, /\ntry: remove the key.*gateway\.ignore_unsupported/);
  }
});

it(
  "a gateway that ignores them starts and warns of each; send asks it as before",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const gateway = { ignore_unsupported: ["isolation", "agents.list", "hooks.builtins.guard"] };
    await writeConfig(home.path, quickConfig(broker.url, {}, { ...RESTRICTED, gateway }));
    await using running = await startGateway({ home: home.path });
    const warned = running.stderr().match(/\(ignored: gateway\.ignore_unsupported\)/g);
    assert.equal(warned?.length, 4, running.stderr());
    // Who asks is not the one who is restricted.
    await writeConfig(home.path, quickConfig(broker.url, {}, RESTRICTED));
    const sent = await picoclaw(["send", "device1", "uptime"], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
  },
);

it(
  "an agent_id of several levels is served, asked and listened to, at QoS 1 and on 3.1.1",
  needsMosquitto,
  async () => {
    for (const settings of [{}, { qos: 1 }, { protocol_version: 4 }]) {
      await using broker = await startMosquitto();
      await using home = await temporaryFolder();
      const agent_id = "site/kitchen";
      await writeConfig(home.path, quickConfig(broker.url, { ...settings, agent_id }));
      await using gateway = await startGateway({ home: home.path });
      await using listener = startPicoclaw(["listen", "-n", "2", "--json"], { home: home.path });
      await listener.said('"connected"');
      const sent = await picoclaw(["send", "device1", "uptime"], { home: home.path });
      assert.equal(sent.code, 0, sent.stderr + gateway.stderr());
      const { stdout } = await listener.ended;
      assert.match(stdout, /"client":"device1","direction":"request"/);
      assert.match(stdout, /"client":"device1","direction":"response"/);
      const checked = await picoclaw(["gateway", "--check"], { home: home.path });
      assert.match(checked.stdout, /subscribed to \/picoclaw\/site\/kitchen\/\+\/request/);
    }
  },
);

/** As the Go program's onboard writes it: entries without keys, local servers among them, nothing named. */
const ONBOARDED = {
  version: 3,
  gateway: { log_level: "warn" },
  agents: { defaults: { model_name: "" } },
  model_list: [
    { model_name: "gpt", model: "openai/gpt-5.4", api_base: "https://api.openai.com/v1" },
    { model_name: "llama3", model: "ollama/llama3", api_base: "http://localhost:11434/v1" },
    { model_name: "local", model: "vllm/custom", api_base: "http://10.255.255.1:8000/v1" },
  ],
};

it(
  "a home of onboard says at the start and in --check which model is asked, and what is open",
  { ...needsMosquitto, skip: needsMosquitto.skip || process.platform === "win32" },
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const workspace = join(home.path, "workspace");
    await mkdir(join(workspace, "state"), { recursive: true });
    await writeFile(join(workspace, "AGENT.md"), "---\nmodel: gpt\n---\nBe kind.");
    await chmod(join(workspace, "AGENT.md"), 0o666);
    await chmod(workspace, 0o777);
    await writeConfig(home.path, quickConfig(broker.url, {}, ONBOARDED));
    const said = [
      /"llama3.{0,3} answers \(ollama, llama3\) at http:\/\/localhost:11434\/v1: it is the first of 2/,
      /10\.255\.255\.1:8000 is called over plain HTTP/,
      /workspace\/AGENT\.md can be changed by every user of this machine \(mode 666\)/,
      /workspace can be changed by every user of this machine \(mode 777\)/,
      /model of AGENT\.md has no effect here/,
    ];
    const running = startPicoclaw(["gateway"], { home: home.path });
    await using _ = running;
    for (const words of said) await running.said(words);
    await until("online", () => broker.log().includes("/picoclaw/assistant/status"));
    await chmod(join(workspace, "state", "picoclaw.db"), 0o666);
    const { stdout, code, stderr } = await picoclaw(["gateway", "--check", "--offline"], {
      home: home.path,
    });
    assert.equal(code, 0, stderr);
    for (const words of said) assert.match(stdout, words);
    assert.match(stdout, /picoclaw\.db can be read and changed by every user .*\(mode 666\)/);
  },
);

it("--check says that the offline agent answers, and why", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  const model_list = [
    { model_name: "m", model: "openai/m", api_base: "https://127.0.0.1:1/v1", enabled: false },
  ];
  const named = { agents: { defaults: { model_name: "m" } } };
  await writeConfig(home.path, quickConfig(broker.url, {}, { version: 3, model_list }));
  const none = await picoclaw(["gateway", "--check"], { home: home.path });
  assert.match(
    none.stdout,
    /^ok +model\.config +model: no model is used because no entry of model_list is enabled/m,
  );
  await writeConfig(home.path, quickConfig(broker.url, {}, { version: 3, model_list, ...named }));
  const off = await picoclaw(["gateway", "--check"], { home: home.path });
  assert.match(
    off.stdout,
    /^ok +model\.config +model: "m" answers \(openai, m\) at https:\/\/127\.0\.0\.1:1\/v1$/m,
  );
  assert.doesNotMatch(off.stderr + off.stdout, /offline/);
});
