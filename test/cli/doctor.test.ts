import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, cp, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { serviceChecks } from "../../src/cli/checks/service.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { unitText, userUnitFolder } from "../../src/cli/service/unit.ts";
import { columnsOf } from "../../src/cli/terminal/width.ts";
import { makeCertificate, type CertificateOptions } from "../support/certificates.ts";
import { clockEnvironment, needsFaketime } from "../support/faketime.ts";
import { answers, calls, refuses, startModelServer } from "../support/model-server.ts";
import type { Behaviour } from "../support/model-server.ts";
import {
  freePort,
  type MosquittoOptions,
  needsMosquitto,
  startMosquitto,
  withAcl,
} from "../support/mosquitto.ts";
import {
  onceInCi,
  picoclaw,
  quickConfig,
  startGateway,
  temporaryHome,
  writeConfig,
} from "../support/picoclaw.ts";
import { smallDisk } from "../support/small-disk.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createFakeHost, runIn } from "./host.ts";
import { createMemoryOutput } from "./memory.ts";

interface Examined {
  readonly code: number;
  readonly out: string;
  readonly error: string;
  /** The first line of what fails, else of what is warned of. */
  readonly first: string;
}

async function doctor(home: string, args: readonly string[] = ["doctor"]): Promise<Examined> {
  const env = { PICOCLAW_GATEWAY_PORT: "0" };
  const { code, stdout: out, stderr: error } = await runIn(home, args, { env });
  const first = /^fail.*$/m.exec(out)?.[0] ?? /^warn.*$/m.exec(out)?.[0] ?? "";
  return { code, out, error, first };
}

/** A home with this configuration, examined. */
async function examined(
  config: unknown,
  args: readonly string[] = ["doctor", "--offline"],
): Promise<Examined> {
  await using home = await temporaryFolder();
  await writeConfig(home.path, config);
  await chmod(join(home.path, "config.json"), 0o600);
  return await doctor(home.path, args);
}

const OFFLINE = ["doctor", "--offline"];
const NOWHERE = quickConfig("tcp://127.0.0.1:1");
const needs = { skip: needsMosquitto.skip || onceInCi.skip };
const USER = { username: "gw", password: "secret-word" };

/** A broker on which the user gw has these lines of an access list. */
function withAccess(...lines: readonly string[]): MosquittoOptions {
  return withAcl(
    "pattern write /picoclaw/assistant/%u/request",
    "pattern read /picoclaw/assistant/%u/response",
    "user gw",
    "topic write /picoclaw/assistant/status",
    "topic write /picoclaw/assistant/info",
    ...lines,
  );
}

const READ = "topic read /picoclaw/assistant/+/request";
const WRITE = "topic write /picoclaw/assistant/+/response";

describe("doctor", () => {
  it(
    "ends with 0, and 1 if a check fails; each line has a result, a code and a sentence",
    needs,
    async () => {
      await using broker = await startMosquitto(withAccess(READ, WRITE));
      const good = await examined(quickConfig(broker.url, { ...USER, client_id: "fixed" }));
      assert.equal(good.code, 0, good.out + good.error);
      // The broker would disconnect a gateway that runs under that id.
      assert.match(broker.log(), / as picoclaw-/);
      assert.doesNotMatch(broker.log(), / as fixed/);
      for (const code of ["broker.connect", "broker.subscribe", "broker.publish", "state.write"]) {
        assert.match(good.out, new RegExp(`^ok {4}${code} `, "m"));
      }
      assert.match(good.out, /^skip {2}model\.call/m);
      assert.match(good.out, /^0 of \d+ checks failed, \d+ warnings?$/m);
      await broker.kill();
      const bad = await examined(quickConfig(broker.url, USER));
      assert.equal(bad.code, 1);
      assert.equal(bad.error, "");
      assert.match(bad.out, /^skip {2}broker\.publish/m);
      assert.match(bad.out, /^ok {4}state\.write/m);
    },
  );

  it("--json prints one line a check, and always one result", async () => {
    const { code, out } = await examined(NOWHERE, ["doctor", "--json", "--offline"]);
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line): Record<string, unknown> => JSON.parse(line));
    assert.equal(code, 1);
    assert.deepEqual(
      lines.map(({ type }) => type).filter((type) => type !== "check"),
      ["result"],
    );
    const { result, about, remedy } = lines.find((line) => line["code"] === "broker.tcp") ?? {};
    assert.deepEqual([result, about], ["fail", "mqtt"]);
    assert.match(String(remedy), /start the broker/);
    assert.deepEqual([lines.at(-1)?.["outcome"], lines.at(-1)?.["exit"]], ["failed", 1]);
    const usage = await examined(NOWHERE, ["doctor", "--json", "--nonsense"]);
    assert.equal(usage.code, 2);
    assert.equal(JSON.parse(usage.out).outcome, "usage");
  });

  for (const columns of [80, 40]) {
    it(`breaks lines between words on a terminal of ${columns} columns`, async () => {
      await using home = await temporaryFolder();
      await writeConfig(home.path, NOWHERE);
      const env = { PICOCLAW_HOME: home.path, NO_COLOR: "1" };
      const host = createFakeHost([...OFFLINE, "--json"], { env });
      await runCommandLine(host);
      const checks = host.stdout.text().trimEnd().split("\n");
      const { message, remedy } = checks
        .map((line) => JSON.parse(line))
        .find(({ code }) => code === "broker.tcp");
      const stdout = createMemoryOutput({ isTTY: true, columns });
      await runCommandLine({ ...createFakeHost(OFFLINE, { env }), stdout });
      const lines = stdout.text().trimEnd().split("\n");
      assert.ok(lines.every((line) => columnsOf(line) <= columns));
      const words = stdout.text().replaceAll(/\s+/g, " ");
      assert.ok(words.includes(`fail broker.tcp mqtt: ${message} try: ${remedy} `), words);
      assert.ok(lines.some((line) => /^ +try: start the broker/.test(line)));
    });
  }

  it("gateway --check prints the same, and ends as a gateway would", async () => {
    const { code, out, error } = await examined(NOWHERE, ["gateway", "--check", "--offline"]);
    assert.equal(code, 4);
    assert.match(out, /^fail {2}broker\.tcp/m);
    assert.match(error, /^error: .*nothing listens on port 1/);
    const wrong = await examined(quickConfig("gopher://x"), ["gateway", "--check"]);
    assert.equal(wrong.code, 78);
  });

  it("never prints a password, and shows what brokers are called without control characters", async () => {
    const { out } = await examined(
      quickConfig("tcp://127.0.0.1:1", { ...USER, agent_id: "a\u001B[2J" }),
    );
    assert.ok(!out.includes("secret-word"));
    assert.ok(!out.includes("\u001B"));
  });

  it("measures whether the broker keeps a session, from QoS 1 on", needs, async () => {
    await using broker = await startMosquitto();
    for (const protocol_version of [5, 4]) {
      const { out } = await examined(quickConfig(broker.url, { qos: 1, protocol_version }));
      assert.match(out, /^ok {4}broker\.session +mqtt: .*keeps requests while a gateway is away$/m);
    }
    const { out } = await examined(quickConfig(broker.url));
    assert.match(out, /^skip {2}broker\.session /m);
  });

  it("proves rights without a running gateway answering, and disturbs none", needs, async () => {
    await using broker = await startMosquitto();
    await examined(quickConfig(broker.url));
    const published = [
      ...broker
        .log()
        .matchAll(
          /Received PUBLISH from \S+ \(d\d, q\d, r(\d), m\d+, '([^']+)', ... \((\d+) bytes\)\)/g,
        ),
    ];
    assert.ok(published.length > 0, broker.log());
    for (const [, retained, topic, bytes] of published) {
      assert.deepEqual([retained, bytes], ["0", "0"]);
      assert.match(topic ?? "", /^\/picoclaw\/assistant\/doctor-[\da-f]{8}\/re(?:quest|sponse)$/);
    }
  });
});

describe("doctor --bundle", () => {
  it("writes an archive without secrets that only its owner can read, and no second time", async () => {
    await using home = await temporaryFolder();
    const args = ["-e", "GIT_TOKEN=arg-secret-4", "--api-key", "arg-secret-5", "--verbose"];
    const more = {
      telegram: { token: "tg-secret-1", note: "https://ann:pw@pw-secret-2@host/x" },
      servers: [{ url: "https://host/x?api_key=arg-secret-3&page=2", args }],
      more: ["--header", "X-Auth: arg-secret-6"],
    };
    await writeConfig(home.path, quickConfig("tcp://127.0.0.1:1", USER, more));
    const file = join(home.path, "report.tar.gz");
    const words = ["doctor", "--offline", "--bundle", file];
    const { code, out } = await doctor(home.path, words);
    assert.equal(code, 1, out);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const list = String(spawnSync("tar", ["-tzf", file]).stdout);
    assert.match(list, /^picoclaw\/version\.json\npicoclaw\/doctor\.jsonl\n/);
    const text = String(spawnSync("tar", ["-xzOf", file]).stdout);
    assert.match(text, /"code":"broker\.tcp"/);
    assert.match(text, /"agent_id": "assistant"/);
    assert.ok(text.includes("page=2") && text.includes("--verbose"), text);
    for (const secret of ["secret-word", "tg-secret-1", "pw-secret-2", "arg-secret"]) {
      assert.ok(!text.includes(secret), text);
    }
    const again = await doctor(home.path, words);
    assert.match(
      again.error,
      /^error: --bundle: .*report\.tar\.gz cannot be written\n.*the file exists/,
    );
  });
});

describe("the service", () => {
  it(
    "is checked where there is a unit: its program, and whether it outlives a login",
    onceInCi,
    async () => {
      await using home = await temporaryFolder();
      const folder = userUnitFolder({ env: { XDG_CONFIG_HOME: home.path }, home: "/nowhere" });
      const places = { system: [], linger: home.path };
      assert.deepEqual(await serviceChecks(folder, "ann", places), []);
      await mkdir(folder, { recursive: true });
      await writeFile(
        join(folder, "picoclaw.service"),
        "[Service]\nExecStart=/nowhere/picoclaw gateway\n",
      );
      const [unit] = await serviceChecks(folder, "ann", places);
      assert.deepEqual([unit?.code, unit?.result], ["service.unit", "fail"]);
      assert.match(unit?.message ?? "", /starts \/nowhere\/picoclaw, which is not there/);
      const program = join(home.path, 'a "b" 5%');
      await writeFile(program, "");
      const text = unitText({ scope: "user", program: [program], env: {}, passphraseFile: "" });
      await writeFile(join(folder, "picoclaw.service"), text);
      assert.equal((await serviceChecks(folder, "ann", places))[0]?.result, "ok");
      // Nobody knows whether services of a user without a name outlive a login.
      assert.equal((await serviceChecks(folder, "", places)).length, 1);
    },
  );
});

describe("a fault of the broker is named with its place and its remedy", () => {
  it("the port is wrong", needs, async () => {
    const port = await freePort();
    const { first } = await examined(quickConfig(`tcp://127.0.0.1:${port}`));
    assert.match(
      first,
      new RegExp(
        `^fail {2}broker\\.tcp +mqtt: tcp://127.0.0.1:${port}: nothing listens on port ${port} .*try: .*(?:correct|set the)`,
      ),
    );
  });

  it("the broker is down", needs, async () => {
    await using broker = await startMosquitto();
    await broker.kill();
    const { first } = await examined(quickConfig(broker.url));
    assert.match(first, /^fail {2}broker\.tcp .*nothing listens on port.*try: .*start the broker/);
  });

  it("its name does not resolve", async () => {
    const { first } = await examined(quickConfig("tcp://broker.invalid:1883"));
    assert.match(
      first,
      /^fail {2}broker\.dns .*the name broker\.invalid does not resolve.*try: .*getent hosts/,
    );
  });

  it("the password is wrong", needs, async () => {
    await using broker = await startMosquitto({
      lines: [
        "listener {port} 127.0.0.1",
        "allow_anonymous false",
        "password_file {folder}/passwords",
      ],
      files: { passwords: `${passwordLine()}\n` },
    });
    const right = await examined(quickConfig(broker.url, USER));
    assert.match(right.out, /^ok {4}broker\.connect/m);
    const config = quickConfig(broker.url, { ...USER, password: "other-word" });
    const { first, out } = await examined(config);
    assert.match(
      first,
      /^fail {2}broker\.login +mqtt: .*, as gw .*try: check username and password \(\.security\.yml/,
    );
    assert.ok(!out.includes("other-word"));
    assert.equal((await examined(config, ["gateway", "--check", "--offline"])).code, 5);
  });

  for (const protocol_version of [5, 4]) {
    it(`it drops what comes in, MQTT ${protocol_version}`, needs, async () => {
      await using broker = await startMosquitto(withAccess(WRITE));
      const { out } = await examined(quickConfig(broker.url, { ...USER, protocol_version }));
      const first = /^.*broker\.subscribe.*$/m.exec(out)?.[0] ?? out;
      assert.match(
        first,
        /broker\.subscribe +mqtt: .*\/picoclaw\/assistant\/\+\/request.* the user gw may not read that topic.*try: .*"topic read \/picoclaw\/assistant\/\+\/request" under "user gw"/,
      );
      assert.match(first, protocol_version === 5 ? /^fail/ : /^warn/);
    });

    it(`it drops what goes out, MQTT ${protocol_version}`, needs, async () => {
      await using broker = await startMosquitto(withAccess(READ));
      const { out } = await examined(quickConfig(broker.url, { ...USER, protocol_version }));
      const line = /^(fail|warn) {2}broker\.publish .*$/m.exec(out);
      assert.match(
        line?.[0] ?? out,
        /the user gw may not publish.*try: .*"topic write \/picoclaw\/assistant\/\+\/response" under "user gw"/,
      );
      assert.equal(line?.[1], protocol_version === 5 ? "fail" : "warn");
    });
  }

  it(
    "a broker that hangs up for a forbidden request is not blamed for the subscription",
    needs,
    async () => {
      const { lines = [], files = {} } = withAccess(READ, WRITE);
      const acl = files["acl"]?.replace(/^pattern.*\n/gm, "") ?? "";
      await using broker = await startMosquitto({
        lines: [...lines, "max_queued_messages 0"],
        files: { acl },
      });
      const { out, code } = await examined(quickConfig(broker.url, USER));
      assert.equal(code, 0, out);
      assert.match(out, /^warn {2}broker\.subscribe .*which is no fault.*try: ask from a device/m);
      assert.match(out, /^ok {4}broker\.publish/m);
    },
  );

  it("the certificate is for another name", needs, async () => {
    await using at = await secured({ days: 10, names: "DNS:broker.lan" });
    const { first } = await examined(at.config({ ca_file: at.authority }));
    assert.match(
      first,
      /^fail {2}broker\.tls .*its certificate is for broker\.lan, not for 127\.0\.0\.1.*try: .*tls\.server_name/,
    );
  });

  it("the certificate has expired", needs, async () => {
    await using at = await secured({ days: -3 });
    const { first } = await examined(at.config({ ca_file: at.authority }));
    assert.match(
      first,
      /^fail {2}broker\.tls .*its certificate expired on \d{4}-\d\d-\d\d.*try: renew/,
    );
  });

  it("the certificate is of an unknown authority", needs, async () => {
    await using at = await secured({ days: 10 });
    const { first } = await examined(at.config({ verify: true }));
    assert.match(
      first,
      /^fail {2}broker\.tls .*is signed by localhost, which this device does not trust.*try: set tls\.ca_file/,
    );
  });

  it("the certificate is not valid yet: the clock is behind", needs, async () => {
    await using at = await secured({ days: 10, from: 2 });
    const { first } = await examined(at.config({ ca_file: at.authority }));
    assert.match(
      first,
      /^fail {2}broker\.tls .*valid from \d{4}-\d\d-\d\d on, and this device's clock says.*try: set the clock/,
    );
  });

  it("plain MQTT goes to a port with TLS", needs, async () => {
    await using at = await secured({ days: 10 });
    const { first } = await examined(quickConfig(`tcp://127.0.0.1:${at.port}`));
    assert.match(
      first,
      new RegExp(
        `^fail {2}broker\\.tls .*speaks TLS, and the address does not.*try: set channel_list\\.mqtt\\.settings\\.broker to mqtts://127\\.0\\.0\\.1:${at.port}`,
      ),
    );
  });

  it("TLS goes to a port without", needs, async () => {
    await using broker = await startMosquitto();
    const { first } = await examined(quickConfig(`mqtts://127.0.0.1:${broker.port}`));
    assert.match(
      first,
      new RegExp(
        `^fail {2}broker\\.tls .*speaks no TLS, and the address asks for it.*try: .*tcp://127\\.0\\.0\\.1:${broker.port}`,
      ),
    );
  });

  it("something that is no broker answers", async () => {
    await using server = await startModelServer();
    const { first } = await examined(quickConfig(`tcp://${new URL(server.base).host}`));
    assert.match(first, /^fail {2}broker\.tcp .*speaks HTTP, not MQTT/);
  });

  it("a broker that says nothing is given up after --connect-timeout", onceInCi, async () => {
    const silent = createServer(() => {});
    const port = await portOf(silent);
    const config = quickConfig(`tcp://127.0.0.1:${port}`);
    const { first } = await examined(config, ["doctor", "--offline", "--connect-timeout", "200ms"]);
    assert.match(first, /^fail {2}broker\.connect .*the broker did not answer/);
    silent.close();
  });
});

describe("a fault of the shared database is named with its place and its remedy", () => {
  it("one that hangs hides no result of a broker", onceInCi, async () => {
    await using database = await silentServer();
    const store = `postgres://gw@127.0.0.1:${database.port}/picoclaw?sslmode=disable&connect_timeout=300`;
    const { out } = await examined(quickConfig("tcp://127.0.0.1:1", {}, { gateway: { store } }));
    assert.match(out, /^fail {2}broker\.tcp .*nothing listens on port 1/m);
    assert.match(out, /^fail {2}gateway\.store .*(?:did|does) not answer.*try: /m);
    // Nothing keeps the process alive.
    await until("the connection is closed", () => database.open() === 0);
  });
});

describe("a fault of this machine is named with its place and its remedy", () => {
  it("the disk is full", async (test) => {
    await using disk = await smallDisk(64);
    if (disk === undefined) return test.skip("no tmpfs can be mounted here");
    await writeFile(join(disk.path, "ballast"), Buffer.alloc(40_000));
    const { first } = await examined(inWorkspace(disk.path));
    assert.match(
      first,
      /^fail {2}state\.write .*the disk of .*\/workspace\/state is full.*try: free space/,
    );
  });

  it("the disk fills while the gateway runs, and has space again", async (test) => {
    await using disk = await smallDisk(4096);
    if (disk === undefined) return test.skip("no tmpfs can be mounted here");
    const agents = { defaults: { workspace: disk.path } };
    const broker = `embedded://127.0.0.1:${await freePort()}`;
    await using home = await temporaryHome(quickConfig(broker, { qos: 1 }, { agents }));
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    const ballast = join(disk.path, "ballast");
    await writeFile(ballast, Buffer.alloc(4_194_304)).catch(() => {});
    const busy = await picoclaw(["send", "kitchen", "hello"], { home: home.path });
    assert.match(busy.stderr, /requests cannot be stored at the moment/);
    const { first, code } = await doctor(home.path, OFFLINE);
    assert.match(
      first,
      /^fail {2}state\.write .*the disk of .*\/workspace\/state is full.*try: free space \(df -h/,
    );
    assert.equal(code, 1);
    await rm(ballast);
    const { out } = await doctor(home.path, OFFLINE);
    assert.match(out, /^ok {4}state\.write /m);
    const sent = await picoclaw(["send", "kitchen", "hello"], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
  });

  for (const [offset, words] of [
    ["+1d", "24 hours fast"],
    ["-1d", "24 hours slow"],
  ] as const) {
    it(`the clock is a day off: ${offset}`, needsFaketime, async () => {
      await using model = await startModelServer();
      model.otherwise(calls({ name: "report", arguments: '{"result":"ok"}' }));
      await using home = await temporaryHome(withModel(model.base));
      const env = clockEnvironment({ FAKETIME: offset });
      const { stdout } = await picoclaw(["doctor"], { home: home.path, env });
      const line = `^fail {2}clock +clock: this device's clock is ${words}.*try: set the clock`;
      assert.match(stdout, new RegExp(line, "m"));
    });
  }

  it("the home is read-only", async (test) => {
    await using disk = await smallDisk(64);
    if (disk === undefined) return test.skip("no tmpfs can be mounted here");
    spawnSync("mount", ["-o", "remount,ro", disk.path]);
    const { first } = await examined(inWorkspace(disk.path));
    assert.match(
      first,
      /^fail {2}state\.write .*\/workspace\/state is on a disk that is mounted read-only.*try: mount it writable/,
    );
  });

  it("the port of the built-in broker is taken", async () => {
    const other = createServer((socket) => socket.on("error", () => {}).end("nonsense"));
    const port = await portOf(other);
    const { first } = await examined(quickConfig(`embedded://127.0.0.1:${port}`));
    other.close();
    assert.match(first, new RegExp(`^fail {2}broker\\.builtin +mqtt: .*${port}.*try: `));
  });

  it("the port of the built-in broker is taken by a gateway of this home", onceInCi, async () => {
    await using home = await temporaryHome(quickConfig(`embedded://127.0.0.1:${await freePort()}`));
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    const { out, code } = await doctor(home.path, ["doctor", "--offline"]);
    assert.match(out, /^ok {4}broker\.builtin +mqtt: a gateway of this home runs it$/m);
    assert.match(out, /^ok {4}gateway\.home .*one serves$/m);
    assert.match(out, /^ok {4}broker\.subscribe /m);
    assert.equal(code, 0, out);
  });

  it("the port is taken", async () => {
    const other = createServer((socket) => socket.on("error", () => {}).end("nonsense"));
    const port = await portOf(other);
    await using home = await temporaryFolder();
    await writeConfig(home.path, NOWHERE);
    const env = { PICOCLAW_HOME: home.path, PICOCLAW_GATEWAY_PORT: String(port) };
    const host = createFakeHost(["doctor", "--offline"], { env });
    await runCommandLine(host);
    other.close();
    assert.match(
      host.stdout.text(),
      new RegExp(
        `^fail {2}http\\.port .*another program listens on port ${port} of 127\\.0\\.0\\.1.*try: .*PICOCLAW_GATEWAY_PORT`,
        "m",
      ),
    );
  });
});

describe("another gateway is named, with its place and its remedy", () => {
  it("two of one home, and one of a copied home", { ...needs, timeout: 60_000 }, async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using one = await startGateway({ home: home.path });
    await one.said('"msg":"gateway started"');
    assert.match((await doctor(home.path, OFFLINE)).out, /^ok {4}gateway\.home .*one serves$/m);

    await using copy = await temporaryFolder();
    await cp(home.path, copy.path, {
      recursive: true,
      filter: (source) => !source.endsWith(".sock"),
    });
    const copied = await doctor(copy.path, OFFLINE);
    assert.match(
      copied.out,
      /^warn {2}gateway\.others +gateways of mqtt: every request is answered twice, also by the gateway \w+ on .*try: stop one of them/m,
    );

    await using two = await startGateway({ home: home.path });
    await two.said('"msg":"gateway started"');
    await until("doctor counts both", async () =>
      /^warn {2}gateway\.home +.*2 gateways of this home run: every request is answered 2 times .*try: stop all but one/m.test(
        (await doctor(home.path, OFFLINE)).out,
      ),
    );
  });

  it("one of this home is named once, however many channels it serves", needs, async () => {
    await using broker = await startMosquitto();
    const of = (agent_id: string) => ({
      enabled: true,
      type: "mqtt",
      settings: { broker: broker.url, agent_id },
    });
    await using home = await temporaryHome({ channel_list: { one: of("one"), two: of("two") } });
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    await until("both channels are there", async () => {
      const { out } = await doctor(home.path, OFFLINE);
      return out.match(/^ok {4}broker\.connect /gm)?.length === 2 && /gateway\.home/.test(out);
    });
    const { out } = await doctor(home.path, OFFLINE);
    assert.equal(out.match(/gateway\.home/g)?.length, 1, out);
  });
});

describe("another program with our client id", () => {
  it("is named once, with its channel, however many channels there are", async () => {
    await using home = await temporaryFolder();
    const settings = { broker: "tcp://127.0.0.1:1", agent_id: "assistant" };
    const channel = { enabled: true, type: "mqtt", settings };
    await writeConfig(home.path, { channel_list: { one: channel, two: channel } });
    const noted = {
      one: { last_at: Date.now(), times: 2 },
      two: { last_at: Date.now(), times: 3 },
    };
    const state = join(home.path, "workspace", "state");
    await mkdir(state, { recursive: true });
    await writeFile(join(state, "client-id-conflicts.json"), JSON.stringify(noted));
    const { out } = await doctor(home.path, OFFLINE);
    const lines = out.split("\n").filter((line) => line.includes("gateway.client_id"));
    assert.equal(lines.length, 2, out);
    assert.match(lines[0] ?? "", /^warn .* client id of one: another program used it.* 2 times/);
    assert.match(lines[1] ?? "", /^warn .* client id of two: another program used it.* 3 times/);
  });
});

describe("a fault of the configuration is named with its place and its remedy", () => {
  it("it is no JSON", async () => {
    await using home = await temporaryFolder();
    await writeFile(join(home.path, "config.json"), '{"channel_list": {,}');
    const { first, code, out } = await doctor(home.path);
    assert.equal(code, 1);
    assert.match(first, /^fail {2}config .*config\.json:1.*try:/);
    assert.match(out, /^ok {4}program /m);
    assert.match(out, /^skip {2}gateway /m);
  });

  it("a key is misspelt", async () => {
    const { out } = await examined(quickConfig("tcp://127.0.0.1:1", { topic_prefx: "x" }));
    assert.match(out, /^warn {2}config .*config\.json:\d+: .*topic_prefx.*topic_prefix/m);
  });

  it("what is watched has no model, and its client may not ask", async () => {
    const watch = [{ topic: "bell", prompt: "Ring.", client: "hall" }];
    const settings = { broker: "tcp://127.0.0.1:1", agent_id: "assistant" };
    const mqtt = { enabled: true, type: "mqtt", allow_from: ["kitchen"], settings };
    const { out } = await examined({ channel_list: { mqtt }, tools: { mqtt: { watch } } });
    assert.match(out, /^warn +access\.watch +watch: without a model no prompt is followed/m);
    assert.match(out, /^warn +access\.watch +watch: bell begins no turn: its client hall is not/m);
  });

  it("keep_alive is negative, and the default is used", async () => {
    await using home = await temporaryFolder();
    await writeConfig(home.path, quickConfig("tcp://127.0.0.1:1", { keep_alive: -1 }));
    const { out } = await doctor(home.path, OFFLINE);
    const line =
      /config\.json:\d+: channel_list\.mqtt\.settings\.keep_alive: cannot be negative; 60 seconds are used/;
    assert.match(out, new RegExp(`^warn {2}config .*${line.source}.*try: write a number`, "m"));
    const validated = await doctor(home.path, ["config", "validate"]);
    assert.equal(validated.code, 0, validated.out);
    assert.match(validated.out + validated.error, line);
  });

  it("a value has the wrong type; each is named", async () => {
    const { out } = await examined(quickConfig("tcp://127.0.0.1:1", { qos: "x", keep_alive: [] }));
    assert.match(
      out,
      /^fail {2}config .*config\.json:\d+: channel_list\.mqtt\.settings\.qos: .*try:/m,
    );
    assert.match(
      out,
      /^fail {2}config .*config\.json:\d+: channel_list\.mqtt\.settings\.keep_alive: .*try:/m,
    );
  });

  it("a key of the Go program is of no use here", async () => {
    const { first } = await examined(
      quickConfig("tcp://127.0.0.1:1", {}, { version: 3, isolation: { enabled: true } }),
    );
    assert.match(
      first,
      /^fail {2}config .*config\.json:\d+: isolation\.enabled: .*try: remove the key/,
    );
  });
});

it("a model whose key cannot be one is not called none", async () => {
  const entry = { ...modelEntry("m", "http://127.0.0.1:1/v1"), api_keys: ["sk-…"] };
  const more = { agents: { defaults: { model_name: "m" } }, model_list: [entry] };
  const { out } = await examined(quickConfig("tcp://127.0.0.1:1", {}, more), ["doctor"]);
  assert.match(out, /^fail {2}model\.config +model: model_list "m" has an invalid key/m);
  assert.match(out, /^skip {2}model\.call +model: no model of the configuration can be called$/m);
});

describe("a fault of the model is named with its place and its remedy", () => {
  const cells: readonly (readonly [string, Behaviour, RegExp])[] = [
    [
      "its key is wrong",
      refuses(401, { error: { message: "Incorrect API key provided" } }),
      /^fail {2}model\.call +model m: the model's provider refused this agent's key: model_list "m": .*Incorrect API key.*try: check api_keys/,
    ],
    [
      "its name is wrong",
      refuses(404, { error: { message: "The model m-1 does not exist", code: "model_not_found" } }),
      /^fail {2}model\.call +model m: the model's provider does not know this model: model_list "m": .*does not exist.*try: check model and api_base/,
    ],
    [
      "its quota is used up",
      refuses(429, {
        error: { message: "You exceeded your current quota", code: "insufficient_quota" },
      }),
      /^fail {2}model\.call +model m: the model's provider requires payment: model_list "m": .*You exceeded your current quota.*try: check the account/,
    ],
    [
      "it calls no tool",
      answers("ok"),
      /^warn {2}model\.call +model m: it answered, and did not call the tool .*try: use a model that can call tools/,
    ],
    [
      "the clock is a day off",
      async (request, response) => {
        response.setHeader("date", new Date(Date.now() - 86_400_000).toUTCString());
        await calls({ name: "report", arguments: '{"result":"ok"}' })(request, response);
      },
      /^fail {2}clock +clock: this device's clock is 24 hours fast.*try: set the clock/,
    ],
  ];
  for (const [fault, behaviour, line] of cells) {
    it(fault, async () => {
      await using model = await startModelServer();
      model.otherwise(behaviour);
      const { out } = await examined(withModel(model.base), ["doctor"]);
      assert.ok(
        out.split("\n").some((one) => line.test(one)),
        out,
      );
    });
  }

  it("it is down", async () => {
    const { out } = await examined(withModel("http://127.0.0.1:1/v1"), ["doctor"]);
    assert.match(
      out,
      /^fail {2}model\.call +model m: the model could not be reached: model_list "m": .*127\.0\.0\.1:1.*try: check the network, and api_base/m,
    );
  });

  it("another model that works does not hide it", async () => {
    await using model = await startModelServer();
    model.otherwise(refuses(401, { error: { message: "no" } }));
    await using other = await startModelServer();
    other.otherwise(calls({ name: "report", arguments: '{"result":"ok"}' }));
    const { out } = await examined(withModel(model.base, other.base), ["doctor"]);
    assert.match(out, /^fail {2}model\.call +model m: /m);
    assert.equal(other.requests.length, 0);
  });

  it("one that works is called once, with a tool", async () => {
    await using model = await startModelServer();
    model.otherwise(calls({ name: "report", arguments: '{"result":"ok"}' }));
    const { out } = await examined(withModel(model.base), ["doctor"]);
    assert.match(out, /^ok {4}model\.call +model m: it answered, and called a tool$/m);
    assert.match(out, /^ok {4}clock /m);
    assert.equal(model.requests.length, 1);
  });
});

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** A server that accepts connections and says nothing. */
async function silentServer() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    socket.resume();
  });
  return {
    port: await portOf(server),
    open: () => sockets.size,
    [Symbol.asyncDispose](): Promise<void> {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function inWorkspace(workspace: string): object {
  return quickConfig("tcp://127.0.0.1:1", {}, { agents: { defaults: { workspace } } });
}

function modelEntry(model_name: string, api_base: string): object {
  return { model_name, model: "openai/m-1", api_base, api_keys: ["sk-key"] };
}

function withModel(api_base: string, fallback?: string): object {
  const defaults = { model_name: "m", ...(fallback && { model_fallbacks: ["n"] }) };
  const model_list = [modelEntry("m", api_base), ...(fallback ? [modelEntry("n", fallback)] : [])];
  return quickConfig("tcp://127.0.0.1:1", {}, { agents: { defaults }, model_list });
}

/** Of mosquitto_passwd for gw, `secret-word`: PBKDF2 with SHA-512. */
function passwordLine(): string {
  const { stdout } = spawnSync("sh", [
    "-c",
    "f=$(mktemp); mosquitto_passwd -b -c $f gw secret-word; cat $f; rm $f",
  ]);
  return String(stdout).trim();
}

/** A mosquitto with TLS and such a certificate. */
async function secured(options: CertificateOptions) {
  const folder = await temporaryFolder();
  await makeCertificate(folder.path, options);
  const read = (name: string) => readFile(join(folder.path, name), "utf8");
  const broker = await startMosquitto({
    files: { "b.crt": await read("b.crt"), "b.key": await read("b.key") },
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous true",
      "certfile {folder}/b.crt",
      "keyfile {folder}/b.key",
    ],
  });
  return {
    port: broker.port,
    authority: join(folder.path, "b.crt"),
    config: (tls: object) => quickConfig(`mqtts://127.0.0.1:${broker.port}`, { tls }),
    async [Symbol.asyncDispose](): Promise<void> {
      await broker[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
