import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { verdictOf } from "../../scripts/audit/verdict.ts";
import { openWebServer } from "../support/web-server.ts";
import type { Handler } from "../support/web-server.ts";

const root = join(import.meta.dirname, "../..");

const lock: { packages: Record<string, { version: string }> } = JSON.parse(
  await readFile(join(root, "package-lock.json"), "utf8"),
);

/** The real script with the real npm, which asks this registry. */
async function audit(handler: Handler, seconds = 30) {
  await using registry = await openWebServer(handler);
  const cache = await mkdtemp(join(tmpdir(), "picoclaw-npm-"));
  const child = spawn(
    join(root, "node_modules/.bin/bun"),
    ["scripts/audit.ts", "--seconds", String(seconds)],
    {
      cwd: root,
      env: { ...process.env, npm_config_registry: registry.base, npm_config_cache: cache },
    },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const code = await new Promise((resolve) => child.on("close", resolve));
  await rm(cache, { recursive: true });
  return { code, output, seen: registry.seen };
}

/** A registry that knows of one advisory against the package `ms`. */
function advisory(severity: string): Handler {
  return (request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    const shown = { id: 1, url: "https://advisories.test/1", title: "it hurts", severity };
    if (request.method === "POST") {
      return response.end(JSON.stringify({ ms: [{ ...shown, vulnerable_versions: "<99.0.0" }] }));
    }
    const name = decodeURIComponent(request.url?.slice(1) ?? "");
    const entry = lock.packages[`node_modules/${name}`];
    const versions = { [String(entry?.version)]: { name, ...entry } };
    return response.end(JSON.stringify({ name, versions, "dist-tags": {}, time: {} }));
  };
}

describe("the audit of the packages", () => {
  it("fails for an advisory of level high, and names it", async () => {
    const { code, output } = await audit(advisory("high"));
    assert.equal(code, 1, output);
    assert.match(output, /high: ms .*it hurts.*https:\/\/advisories.test\/1/);
  });

  it("tells of a lesser advisory and passes", async () => {
    const { code, output } = await audit(advisory("moderate"));
    assert.equal(code, 0, output);
    assert.match(output, /moderate: ms .*it hurts/);
    assert.match(output, /\n0 high or critical, \d+ lesser/);
  });

  it("passes where the registry knows of nothing", async () => {
    const { code, output, seen } = await audit((_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
    assert.deepEqual([code, output], [0, "0 high or critical, 0 lesser advisories\n"]);
    assert.match(seen.join(), /POST .*advisories/);
  });

  it("says that the registry offers no audits where that is what it answers", async () => {
    const { code, output } = await audit((_, response) => response.writeHead(405).end());
    assert.equal(code, 0, output);
    assert.match(output, /^the registry offers no audits \(HTTP 405\)/);
  });

  it("fails where no answer comes in time, or one that is none", async () => {
    const silent = await audit(() => {}, 2);
    assert.equal(silent.code, 1);
    assert.match(silent.output, /did not answer within 2 s/);
    const denied = await audit((_, response) => response.writeHead(401).end());
    assert.equal(denied.code, 1);
    assert.match(denied.output, /^no audit: 401/);
  });
});

function report(severity: string): string {
  return JSON.stringify({ auditReportVersion: 2, vulnerabilities: { ms: { severity, via: [] } } });
}

describe("a report of npm audit", () => {
  it("is bad where one advisory is high or critical", () => {
    assert.deepEqual(
      ["info", "low", "moderate", "high", "critical"].map((name) => verdictOf(report(name)).ok),
      [true, true, true, false, false],
    );
  });

  it("is never good where it is none", () => {
    for (const text of ["", "{}", "[]", "null", '{"auditReportVersion":1}', "<html>"]) {
      assert.equal(verdictOf(text).ok, false, text);
    }
    for (const [message, ok] of [
      ["404 Not Found - POST https://registry.test/", true],
      ["405 Method Not Allowed", true],
      ["401 Unauthorized", false],
      ["500 Internal Server Error", false],
      ["request to https://registry.test/ failed, reason: ENOTFOUND", false],
    ] as const) {
      assert.equal(verdictOf(JSON.stringify({ message })).ok, ok, message);
    }
  });
});
