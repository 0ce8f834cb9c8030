import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { readCondition, readPath, readTime } from "../../src/config/watch/condition.ts";
import { allTextOf, failureFrom, loadedFrom, warningText } from "./home.ts";

const WATCH = { topic: "sensors/+", prompt: "Say it.", client: "hall" };

function configOf(watch: unknown, channels: readonly string[] = ["mqtt"]): object {
  const list = channels.map((name) => {
    const settings = { broker: "tcp://broker.lan:1883", agent_id: `agent-${name}` };
    return [name, { enabled: true, type: "mqtt", settings }];
  });
  return {
    version: 3,
    channel_list: Object.fromEntries(list),
    tools: { mqtt: { watch } },
  };
}

async function faultOf(watch: object, channels?: readonly string[]): Promise<string> {
  return allTextOf(await failureFrom(configOf([{ ...WATCH, ...watch }], channels)));
}

describe("a condition", () => {
  const read: readonly [written: string, anyOf: unknown, becomes?: boolean][] = [
    ["$.temperature > 30", [[[["temperature"], ">", 30]]]],
    ["temperature>30", [[[["temperature"], ">", 30]]]],
    ["> -1.5e3", [[[[], ">", -1500]]]],
    ["$ == 'on'", [[[[], "==", "on"]]]],
    ['state != "a \\"b\\""', [[[["state"], "!=", 'a "b"']]]],
    ["$.a[2].b-c == null", [[[["a", 2, "b-c"], "==", null]]]],
    ['$["a.b"]["x y"] <= 5', [[[["a.b", "x y"], "<=", 5]]]],
    ["changed", [[[[], "changed"]]]],
    ["changed $.state", [[[["state"], "changed"]]]],
    [
      "changed and $.a >= 1 or b == true",
      [
        [
          [[], "changed"],
          [["a"], ">=", 1],
        ],
        [[["b"], "==", true]],
      ],
    ],
    ["Becomes temperature < 3", [[[["temperature"], "<", 3]]], true],
    ["größe == 1", [[[["größe"], "==", 1]]]],
  ];
  for (const [written, anyOf, becomes = false] of read) {
    it(`is read: ${written}`, () => {
      const found = readCondition(written);
      assert.ok(typeof found === "object" && "when" in found, JSON.stringify(found));
      const terms = found.when.anyOf.map((all) =>
        all.map((term) => [
          term.path,
          term.operator,
          ...(term.operator === "changed" ? [] : [term.value]),
        ]),
      );
      assert.deepEqual(terms, anyOf);
      assert.equal(found.when.becomes, becomes);
    });
  }

  it("can be a silence", () => {
    assert.deepEqual(readCondition(" missing  for 10m"), { missingMs: 600_000 });
    assert.deepEqual(readCondition("missing for 90"), { missingMs: 90_000 });
  });

  it("may have values with names that are nearly words of it", () => {
    for (const written of ["change > 5", "$.become == 1", "missing > 3"]) {
      assert.ok(typeof readCondition(written) === "object", written);
    }
  });

  const wrong: readonly [written: string, said: RegExp][] = [
    ["", /ends where one of/],
    ["$.a >", /ends where a number/],
    ["state = 1", /write ==/],
    ["state == on", /a text stands in quotes: "on"/],
    ["a > 'b'", /compares numbers/],
    ["a == 1 b == 2", /has b where/],
    ["a == 1 and", /ends where/],
    ["3 > 5", /has 3 where/],
    ["a == 'x", /has 'x, which is no path, operator, number or text/],
    ['a == "\\x"', /not a text as JSON has it/],
    ["process.exit() == 1", /has \(\) == 1, which is no path/],
    ["t > 30C", /has 30C, which is no path/],
    ["become $.t > 30", /has become: write becomes, or \$\.become if/],
    ["becom > 30", /write becomes/],
    ["changes $.state", /has \$\.state where .* \(or the word changed in front\) is expected/],
    ["changes", /ends where .* \(or the word changed in front\) is expected/],
    ["missing 15m", /has to follow `missing for`/],
    ["missing for ever", /10s to 30d/],
    ["missing for 1s", /10s to 30d/],
    [Array.from({ length: 9 }, () => "a == 1").join(" and "), /more than 8/],
    [`$${".a".repeat(17)} == 1`, /more than 16 steps/],
    [`a == "${"x".repeat(600)}"`, /longer than 512/],
  ];
  for (const [written, said] of wrong) {
    it(`is wrong: ${written.slice(0, 40)}`, () => {
      const found = readCondition(written);
      assert.ok(typeof found === "string");
      assert.match(found, said);
    });
  }

  it("is read or refused, whatever it is, and quickly", () => {
    const words = fc.constantFrom(
      "$",
      ".a",
      "[0]",
      "==",
      ">",
      " and ",
      "'x'",
      '"',
      "\\",
      "1",
      "or",
    );
    const any = fc.oneof(
      fc.string({ maxLength: 600 }),
      fc.array(words).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(any, (written) => {
        readPath(written);
        return ["string", "object"].includes(typeof readCondition(written));
      }),
    );
    const begin = performance.now();
    for (const long of ["[".repeat(512), '"'.repeat(512), 'a["'.repeat(170), "\\".repeat(512)]) {
      readCondition(long);
    }
    assert.ok(performance.now() - begin < 1000);
  });

  it("has times within bounds", () => {
    const times = ["10s", "30d", "2h", "600", "9s", "31d", "1w", "-5m", "1.5h", "10 m"];
    assert.deepEqual(
      times.map((time) => readTime(time)),
      [
        10_000,
        2_592_000_000,
        7_200_000,
        600_000,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        600_000,
      ],
    );
  });
});

describe("tools.mqtt.watch", () => {
  it("is empty if the file says nothing", async () => {
    const { config } = await loadedFrom(configOf([]));
    assert.deepEqual(config.tools.watch, []);
  });

  it("has defaults, and the only channel", async () => {
    const { config, warnings } = await loadedFrom(configOf([WATCH]));
    const { topic, prompt, client } = WATCH;
    const cooldownMs = 600_000;
    assert.deepEqual(config.tools.watch, [
      { topic, written: "any message", prompt, client, channel: "mqtt", cooldownMs },
    ]);
    assert.ok(!warnings.some(({ message }) => message.includes("watch")));
    assert.ok(!config.tools.off.has("mqtt"));
  });

  it("reads all keys", async () => {
    const more = { when: "$.a > 1", unusual: "$.power", channel: "two", cooldown: 90 };
    const { config } = await loadedFrom(configOf([{ ...WATCH, ...more }], ["one", "two"]));
    const [watch] = config.tools.watch;
    assert.deepEqual(watch?.unusual, ["power"]);
    assert.deepEqual(watch?.when?.anyOf, [[{ path: ["a"], operator: ">", value: 1 }]]);
    assert.deepEqual([watch?.channel, watch?.cooldownMs], ["two", 90_000]);
    assert.equal(watch?.written, "$.a > 1 and unusual $.power");
    const { config: other } = await loadedFrom(configOf([{ ...WATCH, unusual: true }]));
    assert.deepEqual(other.tools.watch[0]?.unusual, []);
  });

  const wrong: readonly [watch: object, said: RegExp][] = [
    [{ topic: "a/#/b" }, /watch\[0\]\.topic: found "a\/#\/b"/],
    [{ topic: undefined }, /watch\[0\]\.topic: found ""/],
    [{ prompt: " " }, /watch\[0\]\.prompt/],
    [{ client: "a/b" }, /watch\[0\]\.client/],
    [{ when: "a = 1" }, /watch\[0\]\.when: a single = compares nothing/],
    [{ unusual: "1" }, /watch\[0\]\.unusual/],
    [{ unusual: 5 }, /watch\[0\]\.unusual/],
    [{ unusual: true, when: "missing for 10m" }, /watch\[0\]\.unusual: cannot be with/],
    [{ cooldown: "5s" }, /watch\[0\]\.cooldown: found "5s", allowed is a time from 10s/],
    [{ channel: "mqqt" }, /watch\[0\]\.channel: "mqqt" is not .+ did you mean mqtt\?/],
    [{ topic: "/picoclaw/agent-mqtt/#" }, /watch\[0\]\.topic: is a topic of the agent itself/],
    [{ topic: "/picoclaw/agent-mqtt/+/request" }, /watch\[0\]\.topic: is a topic of the agent/],
  ];
  for (const [watch, said] of wrong) {
    it(`names what is wrong: ${JSON.stringify(watch)}`, async () => {
      assert.match(await faultOf(watch), said);
    });
  }

  it("warns of a client that looks like a pattern", async () => {
    const warnings = warningText(await loadedFrom(configOf([{ ...WATCH, client: "panel-*" }])));
    assert.match(warnings, /watch\[0\]\.client: is the id of one client, and no pattern/);
  });

  it("needs a channel where there are several", async () => {
    assert.match(await faultOf({}, ["one", "two"]), /watch\[0\]\.channel: is missing: .+ one, two/);
    // The topics of any channel's agent are its own.
    const topic = "/picoclaw/agent-two/x/response";
    const said = await faultOf({ channel: "one", topic }, ["one", "two"]);
    assert.match(said, /topic of the agent itself \(channel two\)/);
  });

  it("says everything that is wrong at once", async () => {
    const watch = [
      { ...WATCH, when: "a" },
      { ...WATCH, topic: "" },
      { ...WATCH, cooldown: "x" },
    ];
    const said = allTextOf(await failureFrom(configOf(watch)));
    for (const key of ["[0].when", "[1].topic", "[2].cooldown"])
      assert.ok(said.includes(key), said);
  });
});
