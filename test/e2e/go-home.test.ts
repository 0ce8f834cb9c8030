import assert from "node:assert/strict";
import { it } from "node:test";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** A home that forbids the agent what this program would let it do. */
const RESTRICTED = {
  isolation: { enabled: true },
  agents: { list: [{ id: "guest", workspace: "/srv/guest", skills: [] }] },
  hooks: { builtins: { guard: { enabled: true } } },
};

it("a Go home's restrictions refuse the start, --check and agent by name with 78", async () => {
  await using home = await temporaryFolder();
  await writeConfig(home.path, quickConfig("tcp://127.0.0.1:1", {}, RESTRICTED));
  for (const args of [["gateway"], ["gateway", "--check"], ["agent", "-m", "hi"]]) {
    const { code, stdout, stderr } = await picoclaw(args, { home: home.path });
    assert.equal(code, 78, stderr);
    assert.equal(stdout, "");
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
