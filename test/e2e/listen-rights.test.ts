import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, it } from "node:test";
import { needsMosquitto, OPEN, startMosquitto, withAcl } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";

const slow = { ...needsMosquitto, timeout: 60_000 };
describe("listen names the right that is missing", () => {
  const cases = [
    [5, /delivers nothing: the user gw may not read it/],
    [
      4,
      /a test message did not come back .*: the user gw may not read it, or may not publish there/,
    ],
  ] as const;
  for (const [protocol_version, words] of cases) {
    it(
      `where the broker drops in silence what it subscribed to, MQTT ${protocol_version}`,
      slow,
      async () => {
        await using broker = await startMosquitto(
          withAcl("pattern write /picoclaw/assistant/%u/request"),
        );
        const settings = { username: "gw", protocol_version };
        await using home = await temporaryHome(quickConfig(broker.url, settings));
        await using listener = startPicoclaw(["listen", "--only", "requests"], { home: home.path });
        await listener.said(words);
        await listener.said(
          /user=gw line="topic read \/picoclaw\/assistant\/\+\/request" try="add that line .*--user .*picoclaw acl mosquitto/,
        );
        listener.kill("SIGINT");
        const { code, stdout } = await listener.ended;
        assert.deepEqual([code, stdout], [0, ""]);
      },
    );
  }

  const PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";
  const withPlugin = { ...slow, skip: slow.skip || !existsSync(PLUGIN) };
  it("where the broker refuses the subscription", withPlugin, async () => {
    const defaultACLAccess = { publishClientSend: true, publishClientReceive: true };
    await using broker = await startMosquitto({
      lines: [...OPEN, `plugin ${PLUGIN}`, "plugin_opt_config_file {folder}/rights.json"],
      files: { "rights.json": JSON.stringify({ defaultACLAccess }) },
    });
    for (const protocol_version of [5, 4]) {
      await using home = await temporaryHome(quickConfig(broker.url, { protocol_version }));
      const { code, stderr } = await picoclaw(["listen", "kitchen"], { home: home.path });
      assert.equal(code, 5, stderr);
      assert.match(stderr, /a client without a user name may not do that/);
      assert.match(
        stderr,
        /try: add the lines "topic read \/picoclaw\/assistant\/kitchen\/request" and "topic read \/picoclaw\/assistant\/kitchen\/response" to .*picoclaw acl mosquitto prints one/,
      );
    }
  });
});

it("send names the right that is missing where the broker refuses the request", slow, async () => {
  await using broker = await startMosquitto(withAcl("user gw", "topic read /picoclaw/assistant/#"));
  const settings = { username: "gw", qos: 1 };
  await using home = await temporaryHome(quickConfig(broker.url, settings));
  const { code, stderr } = await picoclaw(["send", "kitchen", "hi"], { home: home.path });
  assert.equal(code, 5, stderr);
  assert.match(
    stderr,
    /try: add the line "topic write \/picoclaw\/assistant\/kitchen\/request" under "user gw"/,
  );
});

it(
  "the user for debugging sees everything, and no test messages of doctor and send",
  slow,
  async () => {
    await using home = await temporaryHome(quickConfig("tcp://127.0.0.1:1"));
    const { stdout: list } = await picoclaw(["acl", "mosquitto"], { home: home.path });
    const marked = list.indexOf("# user picoclaw-debug");
    assert.ok(marked > 0, list);
    const rights = list.slice(0, marked) + list.slice(marked).replaceAll(/^# /gm, "");
    await using broker = await startMosquitto(withAcl(rights));
    const way = ["--broker", broker.url, "--agent", "assistant"];
    const debug = [...way, "--user", "picoclaw-debug"];
    await using gateway = await startGateway({ home: home.path }, [...way, "--user", "picoclaw"]);
    await gateway.said('"msg":"gateway started"');
    await using listener = startPicoclaw(["listen", "-n", "2", ...debug], { home: home.path });
    await listener.said("note: connected");
    const checked = await picoclaw(["doctor", "--offline", ...way, "--user", "picoclaw"], {
      home: home.path,
    });
    assert.match(checked.stdout, /^ok {4}broker\.subscribe /m);
    assert.match(broker.log(), /Received PUBLISH from .*\/picoclaw\/assistant\/picoclaw\/request/);
    const sent = await picoclaw(["send", "kitchen", "/help", ...debug], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
    const { stdout, stderr } = await listener.ended;
    const seen = stdout.trimEnd().split("\n");
    assert.deepEqual(
      seen.map((line) => line.split("\t").slice(1, 3)),
      [
        ["kitchen", "request"],
        ["kitchen", "response"],
      ],
    );
    assert.doesNotMatch(stderr, /may not/);
  },
);
