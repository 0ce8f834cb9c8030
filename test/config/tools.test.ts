import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allTextOf, failureFrom, loadedFrom, warningText } from "./home.ts";

describe("tools", () => {
  it("are switched off one by one", async () => {
    const { config } = await loadedFrom({
      tools: {
        exec: { enabled: false },
        read_file: { enabled: false },
        web: { enabled: false },
        spawn: { enabled: false },
        write_file: { enabled: true },
      },
    });
    assert.deepEqual([...config.tools.off].toSorted(), [
      "exec",
      "read_file",
      "spawn",
      "web_search",
    ]);
  });

  it("have their bounds", async () => {
    const { config } = await loadedFrom({
      tools: {
        allow_read_paths: ["^/var/log/"],
        exec: { timeout_seconds: 5, custom_deny_patterns: ["\\bmount\\b"] },
        web: { provider: "kagi", searxng: { enabled: true, base_url: "http://10.0.0.1:8888" } },
      },
    });
    const { allow_read_paths, exec, web } = config.tools;
    assert.deepEqual(allow_read_paths, ["^/var/log/"]);
    assert.equal(exec.timeout_seconds, 5);
    assert.deepEqual(exec.custom_deny_patterns, ["\\bmount\\b"]);
    assert.equal(web.provider, "auto");
    assert.deepEqual(web.searxng, {
      enabled: true,
      base_url: "http://10.0.0.1:8888",
      max_results: 5,
    });
  });

  it("take regular expressions as Go writes them", async () => {
    const { config } = await loadedFrom({
      tools: { exec: { custom_deny_patterns: ["(?i)\\bmount\\b|umount", "(?P<word>a)", "x$"] } },
    });
    const [mount = "", named = "", plain = ""] = config.tools.exec.custom_deny_patterns;
    assert.ok(new RegExp(mount).test("sudo MOUNT /dev/sda"));
    assert.ok(new RegExp(mount).test("UMOUNT"));
    assert.equal(new RegExp(named).exec("a")?.groups?.["word"], "a");
    assert.equal(plain, "x$");
  });

  it("with wrong values are reported with what is allowed", async () => {
    const failure = await failureFrom({
      tools: { exec: { custom_deny_patterns: ["("] }, web: { searxng: { base_url: "ftp://x" } } },
    });
    assert.match(allTextOf(failure), /tools\.exec\.custom_deny_patterns.*regular expression/s);
    assert.match(allTextOf(failure), /tools\.web\.searxng\.base_url.*http or https URL/s);
  });

  it("that nobody knows are warned of, those of Go PicoClaw are not", async () => {
    const warnings = warningText(
      await loadedFrom({ tools: { exek: {}, cron: {}, mcp: {}, web: { kagi: {}, braev: {} } } }),
    );
    assert.match(warnings, /tools\.exek: is not a known key.*did you mean exec\?/);
    assert.match(warnings, /tools\.web\.braev: is not a known key.*did you mean brave\?/);
    assert.doesNotMatch(warnings, /cron|mcp|kagi/);
  });
});

describe("session.dimensions", () => {
  for (const [session, dimensions] of [
    [{}, ["chat"]],
    [{ dm_scope: "per-channel-peer" }, ["chat", "sender"]],
    [{ dm_scope: "global" }, []],
    [{ dm_scope: "global", dimensions: ["sender"] }, ["sender"]],
    [{ dimensions: [] }, []],
  ] as const) {
    it(`of ${JSON.stringify(session)} are ${JSON.stringify(dimensions)}`, async () => {
      const { config } = await loadedFrom({ session });
      assert.deepEqual(config.session.dimensions, dimensions);
    });
  }
});

describe("routing and fallbacks", () => {
  it("are read with their defaults", async () => {
    const { config } = await loadedFrom({
      agents: {
        defaults: { model_fallbacks: "b", routing: { enabled: true, light_model: "small" } },
      },
    });
    const { model_fallbacks, routing } = config.agents.defaults;
    assert.deepEqual(model_fallbacks, ["b"]);
    assert.deepEqual(routing, { enabled: true, light_model: "small", threshold: 0.35 });
  });
});
