import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { ASSISTANT, askAll, connectDevice } from "../support/bare-device.ts";
import { createMemoryGroup } from "../support/memory-group.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { modelConfig, onceInCi, startGateway, temporaryHome } from "../support/picoclaw.ts";
import type { PicoclawOptions, Running } from "../support/picoclaw.ts";

const MB = 2 ** 20;
const canLimit = ((group) => {
  group?.[Symbol.dispose]();
  return group !== undefined;
})(createMemoryGroup(MB * 64));
const withGroups = { skip: canLimit ? false : "this user may not make control groups" };

describe(
  "a gateway that may use little memory",
  { skip: needsMosquitto.skip || onceInCi.skip },
  () => {
    it("serves with 48 MiB, and compiles nothing", withGroups, async () => {
      using group = createMemoryGroup(48 * MB);
      await serving({ within: group?.within ?? [] }, async (gateway, ask) => {
        assert.equal(compiles(gateway.pid), false);
        await ask(400);
        assert.equal(gateway.stderr().includes('"level":"error"'), false, gateway.stderr());
        const peak = group?.peak() ?? 0;
        assert.ok(peak > 10 * MB && peak < 40 * MB, `${peak} bytes`);
      });
    });

    it("compiles where it may use more, and where its user chose so", withGroups, async () => {
      await serving({}, (gateway) => Promise.resolve(assert.equal(compiles(gateway.pid), true)));
      using group = createMemoryGroup(128 * MB);
      const chosen = { within: group?.within ?? [], env: { BUN_JSC_useJIT: "1" } };
      await serving(chosen, (gateway) =>
        Promise.resolve(assert.equal(compiles(gateway.pid), true)),
      );
    });
  },
);

/** Whether a process has room for compiled code, which can be written and run. */
function compiles(pid: number): boolean {
  return /^\S+ rwxp/m.test(readFileSync(`/proc/${pid}/maps`, "utf8"));
}

async function serving(
  options: Omit<PicoclawOptions, "home">,
  check: (gateway: Running, ask: (requests: number) => Promise<unknown>) => Promise<unknown>,
): Promise<void> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryHome(modelConfig(broker.url, model.base));
  await using gateway = await startGateway({ home: home.path, ...options });
  using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
  await check(gateway, (requests) => askAll(device, requests, 8));
}
