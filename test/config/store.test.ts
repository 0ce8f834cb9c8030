import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { PostgresAddress } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { secretsIn } from "../../src/config/secrets.ts";
import { parseStore, storeCredentials } from "../../src/config/store/store-url.ts";
import { runs } from "../support/runs.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { loadedFrom } from "./home.ts";
import { inHome } from "./home.ts";

const ENV = { USER: "service" };

/** What `gateway.store` means. */
async function addressFrom(
  store: string,
  options: Parameters<typeof loadedFrom>[1] = {},
): Promise<PostgresAddress> {
  const { config } = await loadedFrom({ gateway: { store } }, { env: ENV, ...options });
  assert.ok(config.gateway.store);
  return config.gateway.store;
}

function passwordsOf({ hosts }: PostgresAddress): readonly (string | undefined)[] {
  return hosts.map(({ password }) => password?.reveal());
}

async function warned(store: string): Promise<number> {
  const { warnings } = await loadedFrom({ gateway: { store } }, { env: ENV });
  return warnings.filter(({ message }) => message.includes("whoever is between")).length;
}

describe("gateway.store", () => {
  it("is files of this machine by default", async () => {
    for (const gateway of [{}, { store: "sqlite" }]) {
      const { config } = await loadedFrom({ gateway });
      assert.deepEqual(
        [config.gateway.store, "store_password" in config.gateway],
        [undefined, false],
      );
    }
  });

  it("is a URL as libpq reads it", async () => {
    const plain = await addressFrom("postgres://picoclaw@db.lan/memory");
    assert.deepEqual(plain, {
      user: "picoclaw",
      database: "memory",
      hosts: [{ host: "db.lan", port: 5432 }],
      tls: { mode: "prefer" },
      connectTimeoutMs: 3000,
      applicationName: "picoclaw",
    });
    const several = await addressFrom(
      "postgresql://p%40c@a.lan:6432,[::1]:7000,10.0.0.1?target_session_attrs=read-write&connect_timeout=9&application_name=house",
    );
    assert.deepEqual(several.hosts, [
      { host: "a.lan", port: 6432 },
      { host: "::1", port: 7000 },
      { host: "10.0.0.1", port: 5432 },
    ]);
    assert.deepEqual([several.user, several.database], ["p@c", "p@c"]);
    assert.deepEqual([several.connectTimeoutMs, several.applicationName], [9000, "house"]);
    const sockets = await addressFrom("postgres://%2Frun%2Fpostgresql:6000/memory");
    assert.deepEqual(sockets.hosts, [{ host: "/run/postgresql", port: 6000 }]);
    assert.equal(sockets.user, "service");
    const named = await addressFrom("postgres:///memory?host=/run/a,/run/b&port=1,2");
    assert.deepEqual(named.hosts, [
      { host: "/run/a", port: 1 },
      { host: "/run/b", port: 2 },
    ]);
  });

  it("has TLS with files beside config.json", async () => {
    await inHome({ "config.json": { gateway: { store: url("verify-full") } } }, async (home) => {
      const { config, secretFiles } = await home.loaded({ env: ENV });
      const tls = {
        mode: "verify-full",
        rootFile: join(home.path, "ca.pem"),
        certificateFile: join(home.path, "own.pem"),
        keyFile: join(home.path, "own.key"),
      };
      assert.deepEqual(config.gateway.store?.tls, tls);
      assert.ok(secretFiles.includes(join(home.path, "own.key")));
    });
    assert.equal((await addressFrom(url("require"))).tls.mode, "verify-ca");
    assert.deepEqual(
      (await addressFrom("postgres://db/a?sslmode=verify-ca&sslrootcert=system")).tls,
      {
        mode: "verify-ca",
      },
    );
  });

  it("warns where whoever is between could read or pose as the database", async () => {
    assert.equal(await warned("postgres://db.lan/a"), 1);
    assert.equal(await warned("postgres://db.lan/a?sslmode=disable"), 1);
    for (const near of ["localhost", "127.0.0.1", "[::1]", "%2Frun"]) {
      assert.equal(await warned(`postgres://${near}/a`), 0);
    }
    assert.equal(await warned("postgres://db.lan/a?sslmode=verify-full&sslrootcert=ca.pem"), 0);
  });

  it("has its password from .security.yml, a variable, a reference, or its URL, in this order of trust", async () => {
    const store = "postgres://u@a,b/db";
    const security = "gateway:\n  store_password: 0123e5\n";
    assert.deepEqual(passwordsOf(await addressFrom(store, { security })), ["0123e5", "0123e5"]);
    const env = { ...ENV, PICOCLAW_GATEWAY_STORE_PASSWORD: "own", PGPASSWORD: "libpq" };
    assert.deepEqual(passwordsOf(await addressFrom(store, { security, env })), ["own", "own"]);
    const libpq = { ...ENV, PGPASSWORD: "libpq" };
    assert.deepEqual(passwordsOf(await addressFrom(store, { env: libpq })), ["libpq", "libpq"]);
    const withPassword = "postgres://u:p%40ss:w@a,b:5433/db";
    assert.deepEqual(passwordsOf(await addressFrom(withPassword)), ["p@ss:w", "p@ss:w"]);
    assert.deepEqual(passwordsOf(await addressFrom(withPassword, { security }))[0], "0123e5");
    await inHome(
      {
        "config.json": { gateway: { store } },
        ".security.yml": "gateway:\n  store_password: file://pw\n",
        pw: "from a file\n",
      },
      async (home) => {
        const { config } = await home.loaded({ env: ENV });
        assert.ok(config.gateway.store);
        assert.equal(passwordsOf(config.gateway.store)[0], "from a file");
      },
    );
  });

  it("has a password for each host from PGPASSFILE, unless others may read that", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pgpass");
    const lines = [
      "# comment",
      "a:5432:db:u:of\\:a\\\\",
      "*:5433:*:u:of b",
      "localhost:*:*:*:local",
    ];
    await writeFile(file, lines.join("\n"));
    await chmod(file, 0o600);
    const env = { ...ENV, PGPASSFILE: file };
    const hosts = "postgres://u@a,b:5433,%2Frun%2Fpostgresql,c/db";
    const expected = ["of:a\\", "of b", "local", undefined];
    assert.deepEqual(passwordsOf(await addressFrom(hosts, { env })), expected);
    await chmod(file, 0o640);
    const { config, warnings } = await loadedFrom({ gateway: { store: hosts } }, { env });
    assert.ok(config.gateway.store);
    assert.deepEqual(new Set(passwordsOf(config.gateway.store)), new Set([undefined]));
    assert.ok(warnings.some(({ message }) => message.includes("other users may read it")));
  });

  it("never shows its password, and gives it to the redaction", async () => {
    const loaded = await loadedFrom(
      { gateway: { store: "postgres://u:hunter2@a:1,b:2/db" } },
      { env: ENV },
    );
    assert.doesNotMatch(JSON.stringify([loaded, [...loaded.origins]]), /hunter/);
    assert.ok(secretsIn(loaded.config).includes("hunter2"));
    assert.deepEqual(storeCredentials("postgres://u:p@a,b/db?x=1"), {
      store: "postgres://u@a,b/db?x=1",
      password: "p",
    });
  });

  for (const [store, reason] of [
    ["mysql://u:hunter2@a/db", /"sqlite" or a URL that begins with postgres:/],
    ["postgres://u:hunter2@/db", /it has no host, as in/],
    ["postgres://u:hunter2@a:99999/db", /its port is not a number from 1 to 65535/],
    [
      "postgres://u:hunter2@a/db?sslmod=require",
      /parameter sslmod is unknown; did you mean sslmode\?/,
    ],
    ["postgres://u:hunter2@a/db?sslmode=on", /sslmode must be one of disable, allow, prefer/],
    ["postgres://u@a/db?password=hunter2", /must not be a parameter: set gateway.store_password/],
    ["postgres://a/db?target_session_attrs=standby", /a store is written to/],
    [
      "postgres://a/db?connect_timeout=0",
      /connect_timeout is not a number of seconds from 1 to 300/,
    ],
    ["postgres://a/db?sslcert=own.pem", /needs sslcert and sslkey together/],
    ["postgres://u:hun/ter2@a/db", /must be written as %23, %2F or %40/],
    ["postgres://u:hunter2@a b/db", /contains a blank/],
  ] as const) {
    it(`is refused in words without the password: ${store}`, async () => {
      await inHome({ "config.json": { gateway: { store } } }, async (home) => {
        const failure = await home.failed({ env: ENV });
        assert.ok(failure instanceof Failure && failure.code === "config");
        const words = [failure.message, failure.why, failure.remedy].join(" ");
        assert.match(words, reason);
        assert.match(words, /gateway\.store/);
        assert.doesNotMatch(words, /hun/);
      });
    });
  }

  it("gives back any password that is percent-encoded in it, and a URL without that", () => {
    const property = fc.property(fc.string({ unit: "grapheme" }), (password) => {
      const store = `postgres://u:${encodeURIComponent(password)}@a,b:1/db`;
      assert.deepEqual(storeCredentials(store), { store: "postgres://u@a,b:1/db", password });
    });
    fc.assert(property);
  });

  it("is read without an error, whatever is written", () => {
    const anything = fc.string({
      unit: fc.constantFrom("p", "1", ..."ü \0 : / @ [ ] , ? & = % # +".split(" ")),
    });
    const property = fc.property(anything, (text) => {
      for (const store of [text, `postgres://${text}`, `postgres://a/?${text}`]) {
        assert.ok(["invalid", "postgres", "sqlite"].includes(parseStore(store).kind));
        storeCredentials(store);
      }
    });
    fc.assert(property, { numRuns: runs(2000) });
    for (const text of ["", "postgres://", "postgres://@", "postgres://[/", "postgres://%/%?%=%"]) {
      assert.ok(["invalid", "postgres"].includes(parseStore(text).kind));
    }
  });
});

function url(sslmode: string): string {
  return `postgres://db.lan/a?sslmode=${sslmode}&sslrootcert=ca.pem&sslcert=own.pem&sslkey=own.key`;
}
