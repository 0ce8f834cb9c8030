import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  inHome,
  loadedFrom,
  mqttConfig,
  originText,
} from "./home.ts";

const MQTT = "PICOCLAW_CHANNELS_MQTT_";

describe("flags", () => {
  it("apply to every enabled channel of type mqtt, and win", async () => {
    const channel_list = {
      one: { type: "mqtt", enabled: true, settings: { broker: "tcp://b", agent_id: "a" } },
      two: { type: "mqtt", enabled: true, settings: { broker: "tcp://c", agent_id: "b" } },
      off: { type: "mqtt", enabled: false, settings: { broker: "tcp://d", agent_id: "c" } },
    };
    const loaded = await loadedFrom(
      { channel_list },
      { flags: { broker: "mqtts://f", mqtt: "4" }, env: { [`${MQTT}BROKER`]: "tcp://e" } },
    );
    assert.deepEqual(
      loaded.config.channels.map(({ name, settings }) => [
        name,
        settings.broker,
        settings.agent_id,
        settings.protocol_version,
      ]),
      [
        ["one", ["mqtts://f"], "a", 4],
        ["two", ["mqtts://f"], "b", 4],
      ],
    );
    assert.equal(originText(loaded, "channel_list.two.settings.broker"), "--broker");
    assert.equal(
      originText(loaded, "channel_list.off.settings.broker"),
      `environment ${MQTT}BROKER`,
    );
  });

  it("make a channel where there is none", async () => {
    const loaded = await loadedFrom({}, { flags: { broker: "tcp://f", agent: "a" } });
    assert.equal(firstChannel(loaded).name, "mqtt");
    assert.equal(originText(loaded, "channel_list.mqtt.enabled"), "--broker");
  });

  it("enable the channel mqtt with all its settings where none is enabled", async () => {
    const channel_list = { mqtt: { enabled: false, settings: { agent_id: "a", qos: 1 } } };
    const { settings } = firstChannel(
      await loadedFrom({ channel_list }, { flags: { broker: "tcp://f" } }),
    );
    assert.equal(settings.agent_id, "a");
    assert.equal(settings.qos, 1);
  });

  it("name files relative to the working directory", async () => {
    const flags = { cafile: "ca.pem", cert: "./c.pem", key: "/abs/k.pem" };
    const loaded = await loadedFrom(mqttConfig({ broker: "mqtts://b", tls: { verify: false } }), {
      flags,
      cwd: "/work",
    });
    assert.deepEqual(firstChannel(loaded).settings.tls, {
      verify: true,
      ca_file: "/work/ca.pem",
      cert_file: "/work/c.pem",
      key_file: "/abs/k.pem",
    });
  });

  it("--cafile is wrong usage where no broker is reached by TLS", async () => {
    const failure = await failureFrom(mqttConfig(), { flags: { cafile: "ca.pem" } });
    assert.equal(failure.code, "usage");
    assert.match(
      failure.message,
      /^--cafile: tcp:\/\/broker\.lan:1883 is reached without TLS.*mqtts:/,
    );
    const broker = ["tcp://a", "mqtts://b"];
    await loadedFrom(mqttConfig({ broker }), { flags: { cafile: "ca.pem" } });
  });

  it("--insecure is verify: false, whatever the file says", async () => {
    const config = mqttConfig({ broker: "mqtts://b", tls: { verify: true, ca_file: "ca.pem" } });
    const loaded = await loadedFrom(config, { flags: { insecure: true, cafile: "x" } });
    assert.equal(firstChannel(loaded).settings.tls.verify, false);
    assert.equal(originText(loaded, "channel_list.mqtt.settings.tls.verify"), "--insecure");
  });

  it("--password-file gives its text without the last line's end, literally", async () => {
    for (const [text, password] of [
      ["p \n", "p "],
      ["p\r\n", "p"],
      ["p\n\n", "p\n"],
      ["file://x", "file://x"],
      ["enc://x", "enc://x"],
    ]) {
      await inHome({ "config.json": mqttConfig(), pw: text ?? "" }, async (home) => {
        const loaded = await home.loaded({
          flags: { user: "file://u", "password-file": "pw" },
          cwd: home.path,
        });
        assert.equal(firstChannel(loaded).settings.password?.reveal(), password);
        assert.equal(firstChannel(loaded).settings.username?.reveal(), "file://u");
        assert.equal(originText(loaded, "channel_list.mqtt.settings.password"), "--password-file");
      });
    }
  });

  it("--password-file that cannot be read names flag and file", async () => {
    await inHome({ "config.json": mqttConfig() }, async (home) => {
      for (const name of ["missing", "."]) {
        const failure = await home.failed({ flags: { "password-file": name }, cwd: home.path });
        assert.match(failure.message, /--password-file/);
        assert.ok(failure.message.includes(join(home.path, name)));
      }
    });
  });

  it("that are wrong are reported by their name", async () => {
    const failure = await failureFrom(mqttConfig(), {
      flags: { broker: "http://x", agent: "a/+" },
    });
    assert.match(allTextOf(failure), /^--broker: is not a broker URL: its scheme is unknown/m);
    assert.match(
      allTextOf(failure),
      /^--agent: found "a\/\+", allowed is one or more levels of a topic/m,
    );
    assert.doesNotMatch(failure.remedy ?? "", /config validate/, "it looks at no flags");
  });
});
