import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { firstChannel, inHome, loadedFrom, mqttConfig, originText } from "./home.ts";

const MQTT = "PICOCLAW_CHANNELS_MQTT_";

describe("of the layers", () => {
  it("each covers the one below, and is remembered", async () => {
    const files = {
      "config.json": `{"version": 3, "channel_list": {"mqtt": {"enabled": true, "settings": {
        "broker": "tcp://file", "agent_id": "file", "topic_prefix": "file",
        "username": "file", "password": "file", "client_id": "file" }}}}`,
      ".security.yml": "channels:\n  mqtt:\n    username: security\n    password: security\n",
    };
    await inHome(files, async (home) => {
      const loaded = await home.loaded({
        env: {
          [`${MQTT}USERNAME`]: "env",
          [`${MQTT}TOPIC_PREFIX`]: "env",
          [`${MQTT}CLIENT_ID`]: "",
        },
        flags: { prefix: "flag" },
      });
      const { settings } = firstChannel(loaded);
      const seen = {
        agent_id: settings.agent_id,
        client_id: settings.client_id,
        password: settings.password?.reveal(),
        username: settings.username?.reveal(),
        topic_prefix: settings.topic_prefix,
        qos: settings.qos,
      };
      assert.deepEqual(seen, {
        agent_id: "file",
        client_id: "file",
        password: "security",
        username: "env",
        topic_prefix: "flag",
        qos: 0,
      });
      const origins = Object.keys(seen).map((key) =>
        originText(loaded, `channel_list.mqtt.settings.${key}`),
      );
      assert.deepEqual(origins, [
        "config.json:2",
        "config.json:3",
        ".security.yml:4",
        `environment ${MQTT}USERNAME`,
        "--prefix",
        "default",
      ]);
    });
  });
});

describe("user name and password in a broker's URL", () => {
  it("are used where no user name is given, and do not stay in the URL", async () => {
    const loaded = await loadedFrom(mqttConfig({ broker: "mqtts://us%40er:p%3Ass@b:1" }));
    const { settings } = firstChannel(loaded);
    assert.deepEqual(settings.broker, ["mqtts://b:1"]);
    assert.equal(settings.username?.reveal(), "us@er");
    assert.equal(settings.password?.reveal(), "p:ss");
    assert.equal(
      originText(loaded, "channel_list.mqtt.settings.username"),
      originText(loaded, "channel_list.mqtt.settings.broker"),
    );
  });

  it("are one for all URLs of a list, in the file and in the environment", async () => {
    const urls = ["tcp://b", "mqtts://us%40er:p%3Ass@c:1", "mqtts://us%40er:p%3Ass@d"];
    for (const loaded of [
      await loadedFrom(mqttConfig({ broker: urls })),
      await loadedFrom(mqttConfig({}), { env: { PICOCLAW_CHANNELS_MQTT_BROKER: urls.join(",") } }),
      await loadedFrom(mqttConfig({}), { flags: { broker: urls.join(", ") } }),
    ]) {
      const { settings } = firstChannel(loaded);
      assert.deepEqual(settings.broker, ["tcp://b", "mqtts://c:1", "mqtts://d"]);
      assert.equal(settings.username?.reveal(), "us@er");
      assert.equal(settings.password?.reveal(), "p:ss");
    }
  });

  it("are not used with a user name in the settings, and do not stay either", async () => {
    const { settings } = firstChannel(
      await loadedFrom(mqttConfig({ broker: "tcp://x:y@b", username: "u", password: "p" })),
    );
    assert.deepEqual(settings.broker, ["tcp://b"]);
    assert.equal(settings.username?.reveal(), "u");
    assert.equal(settings.password?.reveal(), "p");
  });

  it("take the password of the settings where the URL has a user name alone", async () => {
    const { settings } = firstChannel(
      await loadedFrom(mqttConfig({ broker: "tcp://x@b", password: "p" })),
    );
    assert.equal(settings.username?.reveal(), "x");
    assert.equal(settings.password?.reveal(), "p");
  });

  it("win over a lower layer's where a flag or a variable brings the URL", async () => {
    const config = mqttConfig({ username: "u", password: "p" });
    for (const options of [
      { flags: { broker: "tcp://x:y@b" } },
      { env: { [`${MQTT}BROKER`]: "tcp://x:y@b" } },
    ]) {
      const { settings } = firstChannel(await loadedFrom(config, options));
      assert.equal(settings.username?.reveal(), "x");
      assert.equal(settings.password?.reveal(), "y");
    }
  });
});
