import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { TlsSettings } from "../../src/config/contract.ts";
import { openTestChannel, run } from "../support/channel.ts";
import { freePort } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/** Authorities and certificates: one for this host, one for another, and one that was good for January 2025. */
async function certificates(folder: string): Promise<void> {
  const openssl = async (words: string): Promise<void> => {
    await run("openssl", ...words.replaceAll("@", `${folder}/`).split(" "));
  };
  for (const name of ["ca", "stranger"]) {
    await openssl(
      `req -x509 ${KEY} -days 9 -subj /CN=${name} -keyout @${name}.key -out @${name}.crt`,
    );
  }
  await writeFile(join(folder, "index.txt"), "");
  await writeFile(
    join(folder, "ca.cnf"),
    [
      "[ca]\ndefault_ca = own\n[own]",
      `database = ${folder}/index.txt\nnew_certs_dir = ${folder}`,
      "rand_serial = yes\nunique_subject = no\ndefault_md = sha256\npolicy = any",
      "copy_extensions = copy\n[any]\ncommonName = supplied\n",
    ].join("\n"),
  );
  for (const [name, names, end] of [
    ["here", "DNS:localhost,IP:127.0.0.1", "20490101000000Z"],
    ["elsewhere", "DNS:elsewhere.test", "20490101000000Z"],
    ["expired", "DNS:localhost,IP:127.0.0.1", "20250201000000Z"],
  ]) {
    const request = `-subj /CN=${name} -addext subjectAltName=${names}`;
    await openssl(`req ${KEY} ${request} -keyout @${name}.key -out @${name}.csr`);
    const from = `-cert @ca.crt -keyfile @ca.key -startdate 20250101000000Z -enddate ${end}`;
    await openssl(`ca -batch -config @ca.cnf ${from} -in @${name}.csr -out @${name}.crt`);
  }
}

async function problemAt(url: string, tls: TlsSettings) {
  await using asked = openTestChannel(url, { settings: { tls } });
  await until("it is told", () => asked.log.text().includes("again_in_s"));
  return asked.channel.problem();
}

describe("a handshake that comes to nothing is named, with a way out", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  const servers: ChildProcess[] = [];
  before(async () => {
    folder = await temporaryFolder();
    await certificates(folder.path);
  });
  after(async () => {
    for (const server of servers) server.kill();
    await folder[Symbol.asyncDispose]();
  });

  const serve = async (name: string, ...more: readonly string[]): Promise<number> => {
    const port = await freePort();
    const files = ["-cert", `${folder.path}/${name}.crt`, "-key", `${folder.path}/${name}.key`];
    const words = ["s_server", "-quiet", "-accept", `127.0.0.1:${port}`, ...files, ...more];
    servers.push(spawn("openssl", words, { stdio: ["pipe", "pipe", "ignore"] }));
    await until("it listens", async () => {
      const socket = connect(port, "127.0.0.1");
      const { promise, resolve } = Promise.withResolvers<boolean>();
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      return promise.finally(() => socket.destroy());
    });
    return port;
  };
  const OLD = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
  const trusting = (file: string) => ({ verify: true, ca_file: join(folder.path, file) });

  for (const scheme of ["mqtts", "wss"]) {
    const cases: readonly [string, string, () => TlsSettings, RegExp, RegExp, string[]?][] = [
      ["TLS 1.1 alone", "here", () => ({ verify: false }), /TLS 1\.2 or later/, /tls_version/, OLD],
      ["another name", "elsewhere", () => trusting("ca.crt"), /another name/, /server_name/],
      ["of itself", "ca", () => ({ verify: true }), /not signed by a trusted authority/, /ca_file/],
      [
        "a stranger's",
        "here",
        () => trusting("stranger.crt"),
        /not signed by a trusted authority/,
        /ca_file/,
      ],
      // Deno says of it what it says of a stranger's.
      [
        "expired",
        "expired",
        () => trusting("ca.crt"),
        "Deno" in globalThis ? /not signed by a trusted authority/ : /has expired/,
        /renew|--check/,
      ],
    ];
    for (const [what, name, tls, message, remedy, more = []] of cases) {
      it(`${scheme}: ${what}`, async () => {
        const port = await serve(name, ...more);
        const problem = await problemAt(`${scheme}://127.0.0.1:${port}`, tls());
        assert.match(problem?.message ?? "", message);
        assert.match(problem?.remedy ?? "", remedy);
        assert.equal(problem?.code, "unreachable");
      });
    }

    for (const version of ["-tls1_2", "-tls1_3"]) {
      it(`${scheme}: a server of ${version} alone is spoken to`, async () => {
        const port = await serve("here", version);
        const url = `${scheme}://127.0.0.1:${port}`;
        await using asked = openTestChannel(url, { settings: { tls: trusting("ca.crt") } });
        let said = "";
        servers.at(-1)?.stdout?.on("data", (chunk: Buffer) => {
          said += chunk.toString("latin1");
        });
        await until("its first words", () => (scheme === "wss" ? /^GET / : /MQTT/).test(said));
        assert.equal(asked.log.text().includes("again_in_s"), false);
      });
    }
  }
});
