import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { TlsSettings } from "../../src/config/contract.ts";
import { trustCheck } from "../../src/mqtt/checks/tls.ts";
import { answering, channelFor, openTestChannel, openTestDevice, run } from "../support/channel.ts";
import { freePort, needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const RESPONSE = "/picoclaw/edge/c1/response";
const HI = '{"text":"hi"}';

interface World extends AsyncDisposable {
  readonly broker: Mosquitto;
  readonly files: string;
  readonly ports: Readonly<Record<"tls" | "mutual" | "mutualWss" | "ws" | "wss", number>>;
}

/** A mosquitto on every transport, with an authority of its own; `other.crt` is an authority it has nothing of. */
async function openWorld(): Promise<World> {
  const folder = await temporaryFolder();
  await authority(folder.path, "ca");
  await authority(folder.path, "other");
  await certificate(
    folder.path,
    "server",
    "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:broker.test",
  );
  await certificate(folder.path, "client", "basicConstraints=CA:FALSE");
  const ports = {
    tls: await freePort(),
    mutual: await freePort(),
    mutualWss: await freePort(),
    ws: await freePort(),
    wss: await freePort(),
  };
  const secure = [
    `cafile ${folder.path}/ca.crt`,
    `certfile ${folder.path}/server.crt`,
    `keyfile ${folder.path}/server.key`,
  ];
  const broker = await startMosquitto({
    lines: [
      "allow_anonymous true",
      "listener {port} 127.0.0.1",
      `listener 0 ${folder.path}/broker.sock`,
      `listener ${ports.tls} 127.0.0.1`,
      ...secure,
      `listener ${ports.mutual} 127.0.0.1`,
      ...secure,
      "require_certificate true",
      `listener ${ports.mutualWss} 127.0.0.1`,
      "protocol websockets",
      ...secure,
      "require_certificate true",
      `listener ${ports.ws} 127.0.0.1`,
      "protocol websockets",
      `listener ${ports.wss} 127.0.0.1`,
      "protocol websockets",
      ...secure,
    ],
  });
  return {
    broker,
    files: folder.path,
    ports,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function authority(folder: string, name: string): Promise<void> {
  const at = (file: string): string => join(folder, file);
  await run(
    "openssl",
    ...`req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -keyout ${at(`${name}.key`)} -out ${at(`${name}.crt`)}`.split(
      " ",
    ),
  );
}

async function certificate(folder: string, name: string, extension: string): Promise<void> {
  const at = (file: string): string => join(folder, file);
  await writeFile(at(`${name}.ext`), extension);
  await run(
    "openssl",
    ...`req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${at(`${name}.key`)} -out ${at(`${name}.csr`)}`.split(
      " ",
    ),
  );
  await run(
    "openssl",
    ...`x509 -req -days 2 -CA ${at("ca.crt")} -CAkey ${at("ca.key")} -CAcreateserial -in ${at(`${name}.csr`)} -extfile ${at(`${name}.ext`)} -out ${at(`${name}.crt`)}`.split(
      " ",
    ),
  );
}

describe("a broker's URL", () => {
  let world: World | undefined;
  before(async () => {
    if (!needsMosquitto.skip) world = await openWorld();
  });
  after(() => world?.[Symbol.asyncDispose]());

  const urlOf = (scheme: string, at: World): string => {
    if (scheme === "unix") return `unix://${at.files}/broker.sock`;
    if (scheme === "ws" || scheme === "wss")
      return `${scheme}://127.0.0.1:${at.ports[scheme]}/mqtt`;
    if (/^(ssl|tls|mqtts)$/.test(scheme)) return `${scheme}://127.0.0.1:${at.ports.tls}`;
    return `${scheme}://127.0.0.1:${at.broker.port}`;
  };

  /** One whole question and answer over that way; a long one, so that more than one frame is needed. */
  const converse = async (
    at: World,
    url: string | readonly string[],
    tls: TlsSettings,
  ): Promise<void> => {
    const answer = "long".repeat(4_000);
    await using asked = openTestChannel(url, {
      settings: { tls, qos: 1 },
      onRequest: answering(answer),
    });
    const { protocol } = await asked.ready();
    assert.equal(protocol, 5);
    await using device = await openTestDevice(at.broker.url, RESPONSE);
    await device.client.publishAsync("/picoclaw/edge/c1/request", HI, { qos: 1 });
    assert.ok(String((await device.message()).payload).includes(answer));
  };

  const withWorld = (test: (at: World) => Promise<void>) => async () => {
    if (!world) throw new Error("mosquitto did not start");
    await test(world);
  };

  for (const scheme of ["tcp", "mqtt", "unix", "ws"]) {
    it(
      `${scheme}:// connects`,
      needsMosquitto,
      withWorld((at) => converse(at, urlOf(scheme, at), { verify: false })),
    );
  }

  it(
    "a list may mix them: TLS over TCP and WebSockets after ways that are down",
    needsMosquitto,
    withWorld(async (at) => {
      const down = await freePort();
      const dead = [`mqtts://127.0.0.1:${down}`, `wss://127.0.0.1:${down}/mqtt`];
      const tls = { verify: true, ca_file: `${at.files}/ca.crt` };
      for (const scheme of ["tls", "wss", "ws"]) {
        await converse(at, [...dead, urlOf(scheme, at)], tls);
      }
    }),
  );

  for (const scheme of ["ssl", "tls", "mqtts", "wss"]) {
    const secure = (name: string, test: (at: World, url: string) => Promise<void>): void => {
      it(
        `${scheme}:// ${name}`,
        needsMosquitto,
        withWorld((at) => test(at, urlOf(scheme, at))),
      );
    };

    secure("connects to a certificate of our authority", (at, url) =>
      converse(at, url, { verify: true, ca_file: `${at.files}/ca.crt` }),
    );

    secure("connects without a look at the certificate, and warns of it", async (at, url) => {
      await converse(at, url, { verify: false });
      const check = trustCheck(channelFor(url));
      assert.equal(check?.result, "warn");
      assert.match(check?.message ?? "", /not verified/);
    });

    secure("refuses another authority, and the system's, with the reason", async (at, url) => {
      for (const ca_file of [`${at.files}/other.crt`, undefined]) {
        const tls = { verify: true, ...(ca_file !== undefined && { ca_file }) };
        await using asked = openTestChannel(url, { settings: { tls }, connectTimeoutMs: 2_000 });
        await until("it is refused", () => asked.log.text().includes("again_in_s"));
        const problem = asked.channel.problem();
        assert.equal(problem?.code, "unreachable");
        assert.match(problem.why ?? "", /certificate|issuer|self.signed|UnknownIssuer/i);
      }
    });
  }

  for (const scheme of ["mqtts", "wss"] as const) {
    it(
      `${scheme}:// checks the name, and server_name names another`,
      needsMosquitto,
      withWorld(async (at) => {
        const port = scheme === "wss" ? at.ports.wss : at.ports.tls;
        const url = `${scheme}://127.0.0.1:${port}`;
        const tls = { verify: true, ca_file: `${at.files}/ca.crt` };
        await converse(at, `${scheme}://localhost:${port}`, tls);
        await converse(at, url, { ...tls, server_name: "broker.test" });
        await using asked = openTestChannel(url, {
          settings: { tls: { ...tls, server_name: "elsewhere.test" } },
        });
        await until("it is refused", () => asked.log.text().includes("again_in_s"));
        assert.match(
          asked.channel.problem()?.why ?? "",
          /elsewhere\.test|altname|NotValidForName|certificate/i,
        );
      }),
    );
  }

  it(
    "a certificate of ours is shown where the broker wants one, and missed where there is none",
    needsMosquitto,
    withWorld(async (at) => {
      const tls = { verify: true, ca_file: `${at.files}/ca.crt` };
      const mine = { cert_file: `${at.files}/client.crt`, key_file: `${at.files}/client.key` };
      for (const scheme of ["ssl", "tls", "mqtts", "wss"]) {
        const port = scheme === "wss" ? at.ports.mutualWss : at.ports.mutual;
        const url = `${scheme}://127.0.0.1:${port}`;
        await converse(at, url, { ...tls, ...mine });
        await using asked = openTestChannel(url, { settings: { tls } });
        await until("it is refused", () => asked.log.text().includes("again_in_s"));
        assert.equal(asked.channel.problem()?.code, "unreachable");
      }
    }),
  );

  it(
    "a file that cannot be read ends the channel, and is named",
    needsMosquitto,
    withWorld(async (at) => {
      const tls = { verify: true, ca_file: `${at.files}/missing.crt` };
      await using asked = openTestChannel(urlOf("tls", at), { settings: { tls } });
      await assert.rejects(asked.ready(), {
        code: "config",
        message: /tls\.ca_file .*missing\.crt/,
      });
    }),
  );

  it("with a scheme that nobody knows is refused, never taken for plain MQTT", () => {
    for (const url of ["mqttss://127.0.0.1:1", "http://127.0.0.1", "quic://x"]) {
      assert.throws(() => openTestChannel(url), { code: "config" });
    }
  });
});
