import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Confirmations } from "../../../src/agent/access/confirmations.ts";
import { createPermissions } from "../../../src/agent/access/permissions.ts";
import type { ToolHooks } from "../../../src/agent/hooks/contract.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { createDirectTools } from "../../../src/agent/tools/direct-tools.ts";
import type { DirectToolsOptions } from "../../../src/agent/tools/direct-tools.ts";
import { createRedactor } from "../../../src/base/redaction/redactor.ts";
import { toolProfile, toolSettings } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";

const TOPICS = { read: ["#"], publish: ["#"] };
const SECRET = "hunter2-of-the-house";

const callerOf = (client: string) => ({ client, channel: "mqtt", isRemote: true });

function openPlace(more: Partial<DirectToolsOptions> = {}) {
  const ran: string[] = [];
  const tools = ["device", "devices", "set_device", "exec", "memory"].map((name): Tool => ({
    name,
    description: "",
    parameters: { type: "object" },
    async run(input) {
      ran.push(`${name} ${JSON.stringify(input)}`);
      return `${name} ran, ${SECRET}`;
    },
  }));
  const log = createMemoryLog();
  const confirm = { by: ["phone"], tools: ["set_device"], minutes: 10 };
  const profiles = [
    toolProfile({ pattern: "desk", tools: ["*"], topics: TOPICS }),
    toolProfile({ pattern: "hall", tools: ["devices", "exec"], topics: TOPICS }),
    toolProfile({ pattern: "child", tools: ["*"], topics: TOPICS, confirm }),
  ];
  const permissionsOf = createPermissions({ tools: toolSettings({ profiles }), workspace: "/w" });
  const direct = createDirectTools({
    toolsFor: async () => tools,
    permissionsOf,
    redactor: createRedactor([SECRET]),
    log,
    ...more,
  });
  return {
    ran,
    log,
    offered: async (client: string) =>
      (await direct.offered(callerOf(client))).map(({ name }) => name),
    call(client: string, tool: string, given: unknown = {}, signal = new AbortController().signal) {
      return direct.call({ ...callerOf(client), tool, arguments: given, signal });
    },
  };
}

describe("tools that clients call by themselves", () => {
  it("are those of the device and of the home, as far as the profile has them", async () => {
    const place = openPlace();
    assert.deepEqual(await place.offered("desk"), ["device", "devices", "set_device"]);
    assert.deepEqual(await place.offered("hall"), ["devices"]);
    assert.deepEqual(await place.offered("a-stranger"), ["device"]);
  });

  it("run, and their results hold no secret", async () => {
    const place = openPlace();
    const result = await place.call("desk", "devices", { search: "lamp" });
    assert.deepEqual(result, { text: "devices ran, [FILTERED]", isError: false });
    assert.deepEqual(place.ran, ['devices {"search":"lamp"}']);
    const line = place.log.lines.find(({ message }) => message === "tool call");
    assert.equal(line?.fields["client"], "desk");
    assert.equal(line?.fields["verdict"], "ok");
  });

  it("do not run for a client whose profile lacks them, or that asks for others", async () => {
    const place = openPlace();
    for (const [client, tool] of [
      ["hall", "set_device"],
      ["hall", "exec"],
      ["desk", "exec"],
      ["desk", "memory"],
      ["a-stranger", "devices"],
      ["desk", "__proto__"],
    ] as const) {
      const { text, isError } = await place.call(client, tool);
      assert.equal(isError, true, tool);
      assert.match(text, /^error: there is no tool/);
    }
    assert.deepEqual(place.ran, []);
    const verdicts = place.log.lines.map(({ fields }) => fields["verdict"]);
    assert.deepEqual(verdicts.slice(0, 2), ["refused", "unknown"]);
  });

  it("wait for a person where the profile says so, and do not run where nobody can be asked", async () => {
    const asked: unknown[] = [];
    const confirmations: Confirmations = {
      async ask(call) {
        asked.push(call);
        return { id: "k7m2qp" };
      },
      waitingFor: () => Promise.resolve([]),
      decide: () => Promise.resolve(undefined),
      begin: () => Promise.resolve(undefined),
    };
    const place = openPlace({ confirmations });
    const { text } = await place.call("child", "set_device", { name: "oven" });
    assert.match(text, /^\[not run yet: this call waits for the confirmation k7m2qp by phone/);
    assert.equal(asked.length, 1);
    assert.deepEqual(place.ran, []);
    assert.equal((await place.call("child", "devices")).isError, false);
    const alone = openPlace();
    const refused = await alone.call("child", "set_device");
    assert.match(refused.text, /nobody can be asked here/);
    assert.equal(refused.isError, true);
    assert.deepEqual(alone.ran, []);
  });

  it("pass the hooks", async () => {
    const hooks: ToolHooks = {
      before: async () => ({ answer: "error: not at night", isDenied: true }),
      after: async (_call, text) => text,
      close: async () => {},
    };
    const place = openPlace({ hooks });
    const denied = await place.call("desk", "set_device");
    assert.deepEqual(denied, { text: "error: not at night", isError: true });
    assert.deepEqual(place.ran, []);
  });

  it("end with the signal of their caller", async () => {
    const hanging: Tool = {
      name: "device",
      description: "",
      parameters: {},
      run: () => new Promise(() => {}),
    };
    const place = openPlace({ toolsFor: async () => [hanging] });
    const leave = new AbortController();
    const call = place.call("desk", "device", undefined, leave.signal);
    leave.abort(new Error("the client left"));
    await assert.rejects(call, /the client left/);
  });
});
