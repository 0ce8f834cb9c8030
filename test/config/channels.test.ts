import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  inHome,
  loadedFrom,
  mqttConfig,
  warningText,
} from "./home.ts";

function entry(settings: object): object {
  return { type: "mqtt", enabled: true, settings: { broker: "b", agent_id: "a", ...settings } };
}

function channel(allow_from: unknown): object {
  const settings = { broker: "b", agent_id: "a" };
  return { channel_list: { mqtt: { enabled: true, allow_from, settings } } };
}

async function warned(lists: object, enabled = true): Promise<string> {
  const mqtt = { ...entry({ homeassistant: { enabled } }), ...lists };
  return warningText(await loadedFrom({ channel_list: { mqtt } }));
}

describe("channels", () => {
  it("may be several, with their own names, in the order of the file", async () => {
    const text = JSON.stringify({
      channel_list: {
        z: entry({ agent_id: "1" }),
        a: entry({ agent_id: "2" }),
        mqtt: entry({ agent_id: "3" }),
      },
    });
    const { config } = await loadedFrom(text.replace('"a":', '"10":').replace('"mqtt":', '"2":'));
    assert.deepEqual(
      config.channels.map(({ name }) => name),
      ["z", "10", "2"],
    );
  });

  it("of type mqtt need no type where they have the name", async () => {
    const settings = { broker: "b", agent_id: "a" };
    for (const type of ["", "mqtt", undefined]) {
      const loaded = await loadedFrom({
        channel_list: { mqtt: { type, enabled: true, settings } },
      });
      assert.equal(firstChannel(loaded).name, "mqtt");
    }
  });

  const allowed: readonly [written: unknown, result: string[]][] = [
    [undefined, []],
    ["one", ["one"]],
    [7, ["7"]],
    [
      ["one", 2, "*"],
      ["one", "2", "*"],
    ],
    [[""], []],
    [[12345678901234], ["12345678901234"]],
  ];
  for (const [allow_from, result] of allowed) {
    it(`allow_from ${JSON.stringify(allow_from)} is ${JSON.stringify(result)}`, async () => {
      const settings = { broker: "b", agent_id: "a" };
      const loaded = await loadedFrom({
        channel_list: { mqtt: { enabled: true, allow_from, settings } },
      });
      assert.deepEqual(firstChannel(loaded).allow_from, result);
    });
  }

  it("deny_from is a list of the same kind", async () => {
    const settings = { broker: "b", agent_id: "a" };
    const lists = { allow_from: "*", deny_from: ["", "thief", 7, "a*"] };
    const loaded = await loadedFrom({
      channel_list: { mqtt: { enabled: true, ...lists, settings } },
    });
    const { allow_from, deny_from } = firstChannel(loaded);
    assert.deepEqual([allow_from, deny_from], [["*"], ["thief", "7", "a*"]]);
  });

  it("warn where Home Assistant could not ask", async () => {
    const may = /homeassistant: has no effect for questions: the client homeassistant may not ask/;
    assert.match(await warned({ allow_from: ["a"] }), may);
    assert.match(await warned({ deny_from: ["homeassistant"] }), may);
    assert.doesNotMatch(await warned({ allow_from: ["a"] }, false), may);
    for (const allow_from of [[], ["*"], ["a", "homeassistant"]]) {
      assert.doesNotMatch(await warned({ allow_from }), may);
    }
  });

  const odd: readonly (readonly [client: string, message: RegExp])[] = [
    ["mqtt:device", /"mqtt:device" matches .* with mqtt: \(write "device"\)/],
    ["@device", /"@device" matches .* with @ \(write "device"\)/],
    ["device|name", /"device\|name" matches .* not the part before \| \(write "device"\)/],
    [" device ", /" device " has blanks around it.*\(write "device"\)/],
    ["device\t", /has blanks around it/],
    ["kitchen/device", /"kitchen\/device" cannot be a client id/],
    ["+", /"\+" cannot be a client id/],
    ["dev#", /cannot be a client id/],
    ["dev-*", /"dev-\*" is not a pattern here/],
    ["dev-?", /"dev-\?" is not a pattern here/],
  ];
  for (const [client, message] of odd) {
    it(`an entry that hardly means a client is warned of: ${JSON.stringify(client)}`, async () => {
      for (const key of ["allow_from", "deny_from", "admin_from"]) {
        const settings = { broker: "b", agent_id: "a" };
        const mqtt = { enabled: true, [key]: ["ok", client], settings };
        const model_list = [{ model_name: "m", model: "ollama/m" }];
        const loaded = await loadedFrom({ model_list, channel_list: { mqtt } });
        assert.equal(loaded.warnings.length, 1);
        assert.match(warningText(loaded), message);
        assert.ok(warningText(loaded).includes(`: channel_list.mqtt.${key}[1]: `));
      }
    });
  }

  it("entries that clients have are not warned of", async () => {
    const names = ["*", "", "device-1", "a.b:c@d_e", "küche", 7, "mqtt"];
    const model_list = [{ model_name: "m", model: "ollama/m" }];
    const settings = { broker: "b", agent_id: "a" };
    const mqtt = { enabled: true, allow_from: names, settings };
    assert.equal(warningText(await loadedFrom({ model_list, channel_list: { mqtt } })), "");
  });

  it("allow_from takes no true and no objects", async () => {
    assert.match((await failureFrom(channel([true]))).message, /allow_from\[0\]: found true/);
    assert.match(
      (await failureFrom(channel({}))).message,
      /allow_from: found an object, allowed is a list/,
    );
  });

  it("that answer the same requests are reported, and load", async () => {
    const twins = await loadedFrom({
      channel_list: { one: entry({}), two: entry({ topic_prefix: "/picoclaw/" }) },
    });
    assert.equal(twins.config.channels.length, 2);
    assert.match(
      warningText(twins),
      /channel_list\.two: has the same broker, topic_prefix and agent_id as channel one/,
    );
    const sharing = await loadedFrom({
      channel_list: { one: entry({ broker: ["a", "b"] }), two: entry({ broker: ["c", "b"] }) },
    });
    assert.match(warningText(sharing), /two: has the same broker, topic_prefix and agent_id as/);
    const others = await loadedFrom({
      channel_list: { one: entry({}), two: entry({ agent_id: "b" }) },
    });
    assert.doesNotMatch(warningText(others), /has the same broker/);
    const pushing = await loadedFrom({
      channel_list: {
        one: entry({ client_id: "x" }),
        two: entry({ agent_id: "b", client_id: "x" }),
      },
    });
    assert.match(warningText(pushing), /two: has the same broker and client_id as channel one/);
  });

  it("whose `enabled` is wrong are reported with all else that is wrong in them", async () => {
    const mqtt = { ...entry({ qos: "two" }), enabled: "yes" };
    const failure = await failureFrom({ channel_list: { mqtt } });
    assert.match(failure.message, /^2 values/);
    assert.match(
      allTextOf(failure),
      /mqtt\.enabled: found "yes"[^]*mqtt\.settings\.qos: found "two"/,
    );
  });

  it("that do not say whether they are enabled are reported, and are not", async () => {
    const loaded = await loadedFrom({ channel_list: { mqtt: { settings: { broker: "b" } } } });
    assert.deepEqual(loaded.config.channels, []);
    assert.match(warningText(loaded), /channel_list\.mqtt: has no `enabled`/);
  });

  it("whose `enabled` is no boolean are refused with what it is", async () => {
    const failure = await failureFrom({ channel_list: { mqtt: { enabled: [] } } });
    assert.match(failure.message, /mqtt\.enabled: found a list, allowed is true or false/);
  });

  it("with a password and no user name are reported, without the password", async () => {
    const warnings = warningText(await loadedFrom(mqttConfig({ password: "hunter2" })));
    assert.match(warnings, /settings\.password: has no effect without a username/);
    assert.doesNotMatch(warnings, /hunter2/);
  });

  it("that load keep the number of levels of a topic", async () => {
    const word = fc.string({
      unit: fc.constantFrom(..."ab/+#$ \0\u0085ü".split("")),
      maxLength: 6,
    });
    await inHome({}, async (home) => {
      await fc.assert(
        fc.asyncProperty(word, word, async (agent, prefix) => {
          const loaded = await home.load({ flags: { broker: "b", agent, prefix } });
          if (loaded instanceof Failure) return;
          const { agent_id, topic_prefix } = firstChannel(loaded).settings;
          const topic = `${topic_prefix}/${agent_id}`;
          assert.equal(agent_id, agent);
          assert.doesNotMatch(topic, /[+#\p{Cc}]|^\$|\/$/u);
          for (const level of agent_id.split("/")) assert.notEqual(level.trim(), "");
        }),
      );
    });
  });
});
