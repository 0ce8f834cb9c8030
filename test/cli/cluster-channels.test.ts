import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { openClusterChannels } from "../../src/cli/runtime/cluster-channels.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import { openClusterChannel } from "../../src/mqtt/agent-channel/cluster-channel.ts";
import type { ChannelRequest } from "../../src/mqtt/contract.ts";
import { agentDefaults } from "../support/agent-config.ts";
import { channelFor, openTestDevice, QUIET_GATEWAY } from "../support/channel.ts";
import { MemoryCluster } from "../support/memory-cluster.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

describe("the channels of gateways that share a store", () => {
  it("are heard by one, which lists all, and then by the other", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using folder = await temporaryFolder();
    const config = {
      gateway: QUIET_GATEWAY,
      agents: { defaults: agentDefaults({ workspace: folder.path }) },
    };
    const cluster = new MemoryCluster(SYSTEM_CLOCK);
    const open = async (instance: string) => {
      const member = cluster.open(instance);
      await member.store.renew();
      const log = createMemoryLog();
      const requests: ChannelRequest[] = [];
      const channels = await openClusterChannels(member.cluster, { config, taken: () => {}, log });
      const shared = channels.share({
        channel: channelFor(broker.url, { qos: 1 }),
        connectTimeoutMs: 5_000,
        info: { version: "0.0.0-test", instance, load: () => 3 },
        log,
        onRequest(request) {
          requests.push(request);
          return Promise.resolve();
        },
      });
      const channel = openClusterChannel(shared);
      const stop = async (): Promise<void> => {
        await channels.leave();
        await channel.handOver?.();
        await member.cluster.leave([]);
        await channel.close();
        channels.close();
      };
      return { channel, log, requests, stop };
    };
    const a = await open("a");
    await until("a hears", () => a.log.text().includes("connected as the intake"));
    const b = await open("b");
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/+");
    const listed = () => {
      const infos = device.texts().filter((text) => text.startsWith("{"));
      return listAt(JSON.parse(infos.at(-1) ?? "{}"), "gateways");
    };
    await until("both are listed", () => listed().length === 2);
    const facts = listed().map((one) => [
      textAt(one, "instance"),
      textAt(one, "version"),
      at(one, "load"),
    ]);
    assert.deepEqual(facts, [
      ["a", "0.0.0-test", 3],
      ["b", "0.0.0-test", 3],
    ]);
    assert.equal(b.channel.problem(), undefined);
    await device.client.publishAsync("/picoclaw/edge/c1/request", '{"text":"one"}', { qos: 1 });
    await until("a request at a", () => a.requests.length === 1);
    await a.stop();
    await device.client.publishAsync("/picoclaw/edge/c1/request", '{"text":"two"}', { qos: 1 });
    await until("a request at b", () => b.requests.length === 1);
    assert.equal(b.requests[0]?.text, "two");
    await b.stop();
    // The one that left is listed for a while.
    const statuses = (): string[] => device.texts().filter((text) => !text.startsWith("{"));
    await until("offline", () => statuses().at(-1) === "offline");
    assert.equal(statuses().indexOf("offline"), statuses().length - 1);
  });
});
