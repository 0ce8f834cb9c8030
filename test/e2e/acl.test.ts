import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connectAsync } from "mqtt";
import { findCommand } from "../../src/cli/args/commands.ts";
import { ACL_BROKERS } from "../../src/mqtt/acl/acl.ts";
import { openTestDevice, run } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, temporaryHome } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const WORD = "a-word-for-tests";

async function aclOf(...args: readonly string[]): Promise<string> {
  await using home = await temporaryFolder();
  const flags = ["--broker", "tcp://127.0.0.1", "--agent", "hall"];
  const { code, stdout, stderr } = await picoclaw(["acl", ...args, ...flags], { home: home.path });
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A mosquitto with the list that the program printed, and users `picoclaw`, `alice` and `bob`. */
async function outsideAcl(by: "user" | "client") {
  const folder = await temporaryFolder();
  const passwords = join(folder.path, "passwords");
  for (const [index, user] of ["picoclaw", "alice", "bob"].entries()) {
    const args = [...(index === 0 ? ["-c"] : []), "-b", passwords, user, WORD];
    await once(spawn("mosquitto_passwd", args, { stdio: "ignore" }), "exit");
  }
  const broker = await startMosquitto({
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous false",
      `password_file ${passwords}`,
      "acl_file {folder}/picoclaw.acl",
      ...(by === "client" ? ["use_username_as_clientid true"] : []),
    ],
    files: {
      "picoclaw.acl": await aclOf("mosquitto", "--by", by),
      password: WORD,
    },
  });
  return {
    broker,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const as = (username: string) => ({ username, password: WORD });

describe("the access list for mosquitto, in a real one", needsMosquitto, () => {
  it("lets onboard ask for the first answer", async () => {
    await using place = await outsideAcl("user");
    await using home = await temporaryFolder();
    const { url, folder } = place.broker;
    const args = ["--yes", "--broker", url, "--agent", "hall", "--model", "offline"];
    const user = ["--user", "picoclaw", "--password-file", join(folder, "password")];
    const ended = await picoclaw(["onboard", ...args, ...user], { home: home.path });
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(
      ended.stdout,
      /^\/picoclaw\/hall\/picoclaw\/request [^]*mosquitto_pub .*hall\/device1/m,
    );
  });

  for (const by of ["user", "client"] as const) {
    it(`lets a device be itself and nobody else, known by its ${by}`, async () => {
      await using world = await outsideAcl(by);
      const { url, folder } = world.broker;
      await using home = await temporaryFolder();
      const flags = ["--broker", url, "--agent", "hall", "--user", "picoclaw"];
      await using gateway = await startGateway({ home: home.path }, [
        ...flags,
        "--password-file",
        join(folder, "password"),
      ]);
      await using alice = await openTestDevice(url, "/picoclaw/hall/alice/response", as("alice"));
      await using bob = await openTestDevice(url, "/picoclaw/hall/bob/response", as("bob"));
      const heard: string[] = [];
      bob.client.on("message", (topic) => heard.push(topic));
      for (const filter of [
        "#",
        "/#",
        "+/+/+/+/+",
        "/picoclaw/hall/+/response",
        "/picoclaw/hall/+/request",
        "/picoclaw/hall/alice/response",
        "/picoclaw/hall/alice/request",
        "/picoclaw/hall/status",
        "/picoclaw/hall/info",
      ]) {
        await bob.client.subscribeAsync(filter, { qos: 1 }).catch(() => {});
      }
      const ask = (topic: string, id: string, properties = {}) =>
        alice.client.publishAsync(topic, `{"text":"uptime","id":"${id}"}`, { qos: 1, properties });

      await ask("/picoclaw/hall/alice/request", "q1");
      await until("alice is answered", () =>
        alice.texts().some((text) => text.includes('"id":"q1"')),
      );
      await ask("/picoclaw/hall/alice/request", "q2", {
        responseTopic: "/picoclaw/hall/bob/response",
      });
      await until("on her own topic", () =>
        alice.texts().some((text) => text.includes('"id":"q2"')),
      );

      for (const topic of ["bob/request", "bob/response", "alice/response", "status", "info"]) {
        await ask(`/picoclaw/hall/${topic}`, "forged").catch((error: unknown) => {
          assert.match(String(error), /Not authorized/);
        });
      }
      await ask("/picoclaw/hall/alice/request", "q3");
      await until("all before is done", () =>
        alice.texts().some((text) => text.includes('"id":"q3"')),
      );

      await bob.client.publishAsync("/picoclaw/hall/bob/request", '{"text":"uptime","id":"b1"}');
      await until("bob is answered", () => bob.texts().some((text) => text.includes('"id":"b1"')));
      const own = ["/picoclaw/hall/bob/response", "/picoclaw/hall/info", "/picoclaw/hall/status"];
      assert.deepEqual([...new Set(heard)].toSorted(), own);
      for (const device of [alice, bob]) assert.ok(!device.texts().join("").includes("forged"));
      assert.ok(!gateway.stderr().includes('"client":"bob","outcome":"ok","id":"forged"'));
      assert.ok(!gateway.stderr().includes("forged"));

      await assert.rejects(connectAsync(url, { reconnectPeriod: 0 }, false));
      const status = await openTestDevice(url, "/picoclaw/hall/status", as("bob"));
      await status.message();
      assert.equal(status.texts()[0], "online");
      await status[Symbol.asyncDispose]();
      // The gateway's user, too, without which it could not find out that a connection is deaf.
      await using itself = await openTestDevice(url, "/picoclaw/hall/status", as("picoclaw"));
      await itself.message();
      gateway.kill("SIGTERM");
      assert.equal((await gateway.ended).code, 0);
    });
  }
});

describe("the lines of mosquitto.conf in its list", needsMosquitto, () => {
  it("keep 2,000 requests at once for a stopped gateway, and a restart of the broker", async () => {
    const list = await aclOf("mosquitto");
    const [, keeping = ""] = list.split("so that it keeps every request");
    const lines = [...keeping.matchAll(/^# {3}(\w+ .+)$/gm)].map(([, line = ""]) => line);
    assert.ok(lines.length >= 5, list);
    await using broker = await startMosquitto({
      lines: [
        "listener {port} 127.0.0.1",
        "allow_anonymous true",
        ...lines.map((line) => line.replace("/var/lib/mosquitto/", "{folder}/")),
      ],
    });
    await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
    const first = await startGateway({ home: home.path });
    first.kill("SIGTERM");
    assert.equal((await first.ended).code, 0);
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/status");
    const asking = Array.from({ length: 2_000 }, (_, index) => {
      const topic = `/picoclaw/assistant/c${index % 100}/request`;
      return device.client.publishAsync(topic, `{"text":"/help","id":"r${index}"}`, { qos: 1 });
    });
    await Promise.all(asking);
    await broker.kill("SIGTERM");
    await broker.start();
    await using second = await startGateway({ home: home.path });
    const taken = (): number =>
      broker.log().split(/Received PUBACK from picoclaw-mqtt-/).length - 1;
    await until("all are taken", () => taken() >= 2_000, 60_000);
    assert.ok(!second.stderr().includes("did not keep our session"));
  });
});

describe("picoclaw acl", () => {
  it("takes the brokers that it can write for", () => {
    assert.deepEqual(findCommand("acl")?.arguments[0]?.choices, ACL_BROKERS);
  });

  it("writes XML that HiveMQ's extension can read", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "credentials.xml");
    await writeFile(file, await aclOf("hivemq"));
    const program = `
import sys, xml.etree.ElementTree as tree
for role in tree.parse(sys.argv[1]).getroot().iter("role"):
    for permission in role.iter("permission"):
        print(role.findtext("id"), *[field.text for field in permission])
`;
    const printed = await run("python3", "-c", program, file);
    assert.deepEqual(printed.trim().split("\n"), [
      "picoclaw-gateway /picoclaw/hall/+/request SUBSCRIBE ALL",
      "picoclaw-gateway /picoclaw/hall/+/response PUBLISH NOT_RETAINED",
      "picoclaw-gateway /picoclaw/hall/status PUBLISH RETAINED",
      "picoclaw-gateway /picoclaw/hall/info PUBLISH ALL",
      "picoclaw-gateway /picoclaw/hall/status SUBSCRIBE ALL",
      "picoclaw-gateway /picoclaw/hall/info SUBSCRIBE ALL",
      "picoclaw-device /picoclaw/hall/${{username}}/request PUBLISH NOT_RETAINED",
      "picoclaw-device /picoclaw/hall/${{username}}/response SUBSCRIBE ALL",
      "picoclaw-device /picoclaw/hall/status SUBSCRIBE ALL",
      "picoclaw-device /picoclaw/hall/info SUBSCRIBE ALL",
      "picoclaw-debug /picoclaw/hall/+/request PUBLISH NOT_RETAINED",
      "picoclaw-debug /picoclaw/hall/# SUBSCRIBE ALL",
    ]);
    assert.ok((await readFile(file, "utf8")).startsWith("<?xml"));
  });

  it("writes Erlang terms for EMQX, the last of which refuses all else", async () => {
    const rules = (await aclOf("emqx", "--by", "client"))
      .split("\n")
      .filter((line) => !line.startsWith("%%"));
    assert.deepEqual(rules, [
      '{allow, {username, "picoclaw"}, publish, ["/picoclaw/hall/+/response", "/picoclaw/hall/status", "/picoclaw/hall/info"]}.',
      '{allow, {username, "picoclaw"}, subscribe, [{eq, "/picoclaw/hall/+/request"}]}.',
      '{allow, all, publish, ["/picoclaw/hall/${clientid}/request"]}.',
      '{allow, all, subscribe, ["/picoclaw/hall/${clientid}/response", "/picoclaw/hall/status", "/picoclaw/hall/info"]}.',
      "{deny, all}.",
      "",
    ]);
  });

  it("writes a list for VerneMQ without blank lines and blanks at an end, which its parser trips over", async () => {
    const list = await aclOf("vernemq");
    assert.ok(
      list.endsWith("# topic read /picoclaw/hall/#\n") &&
        !list.includes("\n\n") &&
        !/ $/m.test(list),
    );
    assert.match(list, /^pattern write \/picoclaw\/hall\/%u\/request$/m);
  });

  it("refuses names that a broker would read in its own way", async () => {
    await using home = await temporaryFolder();
    for (const agent of [
      "two words",
      'quo"te',
      "back\\slash",
      "per%u",
      "dollar${x}",
      "new\nline",
      "<b>",
    ]) {
      const { code, stdout, stderr } = await picoclaw(
        ["acl", "mosquitto", "--broker", "tcp://127.0.0.1", "--agent", agent],
        { home: home.path },
      );
      // A line break is no topic at all: then the flag's value is wrong.
      assert.equal(code, agent.includes("\n") ? 2 : 78, `${agent}: ${stderr}`);
      assert.equal(stdout, "");
    }
  });
});
