import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import type { PostgresTls } from "../../src/base/contract.ts";
import { Secret } from "../../src/base/secret.ts";
import { openPostgres } from "../../src/store/postgres/database.ts";
import { needsPostgres, startPostgres } from "../support/postgres.ts";
import type { Postgres, PostgresOptions } from "../support/postgres.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { BOUNDS } from "./contract.ts";
import { addressOf } from "./postgres-home.ts";

const run = promisify(execFile);
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];

/** A certificate of itself and its key. */
async function certificate(folder: string, name: string, facts: readonly string[]): Promise<void> {
  const files = ["-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.pem`)];
  await run("openssl", ["req", "-x509", ...KEY, ...files, ...facts]);
}

/** Opens a store and says whether its connections are encrypted, or why it could not. */
async function connectTo(
  server: Pick<Postgres, "port">,
  user: string,
  tls: PostgresTls,
  host = "localhost",
): Promise<string> {
  const password = new Secret("pw");
  const hosts = [{ host, port: server.port, password }];
  const address = addressOf(server, "postgres", { hosts, user, tls });
  try {
    const options = { owner: "one", now: () => 1, bounds: BOUNDS };
    const { connections, commits } = await openPostgres(address, options);
    const own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    const [row] = await connections.read(own);
    await commits.close();
    return row?.["ssl"] === true ? "encrypted" : "plain";
  } catch (error) {
    return error instanceof Error && "why" in error ? String(error.why) : String(error);
  }
}

/** A server that takes TLS alone: from `device` with its password, from `owner` with its certificate. */
async function startSecure({
  lines = [],
  access = [],
}: Pick<PostgresOptions, "lines" | "access"> = {}) {
  const folder = await temporaryFolder();
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  await certificate(folder.path, "server", names);
  await certificate(folder.path, "client", ["-subj", "/CN=owner"]);
  await certificate(folder.path, "other", ["-subj", "/CN=localhost"]);
  const textOf = (name: string): Promise<string> => readFile(join(folder.path, name), "utf8");
  const server = await startPostgres({
    lines: [
      "ssl = on",
      "ssl_cert_file = '{folder}/server.pem'",
      "ssl_key_file = '{folder}/server.key'",
      "ssl_ca_file = '{folder}/client.pem'",
      ...lines,
    ],
    access: [
      "local all all trust",
      "hostssl all device 127.0.0.1/32 scram-sha-256",
      "hostssl all owner 127.0.0.1/32 cert",
      ...access,
    ],
    files: {
      "server.pem": await textOf("server.pem"),
      "server.key": await textOf("server.key"),
      "client.pem": await textOf("client.pem"),
    },
  });
  const roles =
    "CREATE ROLE device LOGIN SUPERUSER PASSWORD 'pw'; CREATE ROLE owner LOGIN SUPERUSER";
  await server.sql(roles);
  const connect = (user: string, tls: PostgresTls, host?: string): Promise<string> =>
    connectTo(server, user, tls, host);
  return {
    connect,
    file: (name: string) => join(folder.path, name),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("a database in PostgreSQL with TLS", needsPostgres, () => {
  it("is reached encrypted, verified as far as the mode says, with a password or a certificate", async () => {
    await using secure = await startSecure();
    const { connect, file } = secure;
    const rootFile = file("server.pem");
    for (const mode of ["prefer", "require"] as const) {
      assert.equal(await connect("device", { mode }), "encrypted");
    }
    for (const mode of ["verify-ca", "verify-full"] as const) {
      assert.equal(await connect("device", { mode, rootFile }), "encrypted", mode);
    }
    const own = { certificateFile: file("client.pem"), keyFile: file("client.key") };
    assert.equal(await connect("owner", { mode: "verify-full", rootFile, ...own }), "encrypted");
  });

  it("is reached as it lets us in, with the modes that leave it the choice", async () => {
    await using secure = await startSecure({
      access: ["hostnossl all postgres 127.0.0.1/32 trust"],
    });
    const { connect } = secure;
    assert.equal(await connect("postgres", { mode: "prefer" }), "plain");
    assert.equal(await connect("postgres", { mode: "allow" }), "plain");
    assert.equal(await connect("device", { mode: "allow" }), "encrypted");
    assert.match(await connect("postgres", { mode: "require" }), /no pg_hba\.conf entry/);
    assert.match(await connect("nobody", { mode: "prefer" }), /no pg_hba\.conf entry/);
    assert.match(await connect("owner", { mode: "prefer" }), /certificate/);
  });

  it("is reached without TLS where no handshake succeeds, unless the mode demands it", async () => {
    await using secure = await startSecure({
      lines: ["ssl_min_protocol_version = 'TLSv1'", "ssl_max_protocol_version = 'TLSv1.1'"],
      access: ["hostnossl all postgres 127.0.0.1/32 trust"],
    });
    assert.equal(await secure.connect("postgres", { mode: "prefer" }), "plain");
    assert.doesNotMatch(await secure.connect("postgres", { mode: "require" }), /plain|encrypted/);
  });

  it("is reached without TLS where it has none, unless the mode demands it", async () => {
    await using server = await startPostgres();
    assert.equal(await connectTo(server, "postgres", { mode: "prefer" }), "plain");
    assert.equal(await connectTo(server, "postgres", { mode: "allow" }), "plain");
    assert.match(await connectTo(server, "postgres", { mode: "require" }), /offers no TLS/);
  });

  it("is not reached without TLS, with a certificate that is not trusted, or of another host", async () => {
    await using secure = await startSecure();
    const { connect, file } = secure;
    assert.match(await connect("device", { mode: "disable" }), /no pg_hba\.conf entry .*\(28000\)/);
    const other = { rootFile: file("other.pem") };
    for (const mode of ["verify-ca", "verify-full"] as const) {
      assert.match(await connect("device", { mode, ...other }), /certificate is not trusted/);
    }
    const rootFile = file("server.pem");
    const byAddress = await connect("device", { mode: "verify-full", rootFile }, "127.0.0.1");
    assert.match(byAddress, /certificate is for another host name/);
    assert.equal(
      await connect("device", { mode: "verify-ca", rootFile }, "127.0.0.1"),
      "encrypted",
    );
    assert.match(await connect("owner", { mode: "require" }), /certificate/);
    const lost = { mode: "verify-full", rootFile: file("lost.pem") } as const;
    assert.match(await connect("device", lost), /ENOENT|no such file/i);
  });
});
