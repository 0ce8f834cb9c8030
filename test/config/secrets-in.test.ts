import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { isServerSecret, proxySecretsIn, secretsIn } from "../../src/config/secrets.ts";
import { modelEntry, toolSettings } from "../support/agent-config.ts";

describe("secrets to be redacted", () => {
  it("are found by their type and in URLs, whatever key holds them, but for user names", () => {
    const settings = {
      username: new Secret("the-user"),
      anything: [{ new_key: new Secret("one-secret") }],
      address: "https://me:two-secret@service.test/?api_key=three-secret&page=four",
    };
    const found = secretsIn({ some: { part: settings } });
    assert.deepEqual(new Set(found), new Set(["one-secret", "two-secret", "three-secret"]));
  });

  it("are those that go along in the body of each question, by what they are called", () => {
    const extra_body = {
      api_key: "sk-body",
      max_tokens: 100,
      metadata: [{ session_token: "deep-one", user: "device" }],
      reasoning: { effort: "high" },
      tokenizer: "llama",
      prompt_cache_key: "picoclaw",
    };
    const model_list = [modelEntry({ extra_body })];
    const found = secretsIn({ model_list, channels: [], tools: toolSettings() });
    for (const secret of ["sk-body", "deep-one"]) assert.ok(found.includes(secret), secret);
    for (const other of ["device", "high", "llama", "picoclaw"])
      assert.ok(!found.includes(other), other);
  });

  it("are the variables of hooks, by what they are called", () => {
    const env = { GATE_TOKEN: "gate-one", GATE_LOG: "/tmp/gate.log" };
    const gate = { name: "gate", priority: 0, command: ["gate"], stages: new Set<never>(), env };
    const hooks = { interceptor_timeout_ms: 1, approval_timeout_ms: 1, processes: [gate] };
    const found = secretsIn({ model_list: [], channels: [], tools: toolSettings(), hooks });
    assert.ok(found.includes("gate-one"));
    assert.ok(!found.includes("/tmp/gate.log"));
  });

  it("are all variables and headers of servers but those that say nothing", () => {
    for (const text of [
      "true",
      "PRODUCTION",
      "kitchen",
      "error",
      "8080",
      "/home/pi/notes.json",
      "~/notes",
      "C:\\notes",
      "https://api.test/v1?page=2",
      "application/json, text/event-stream",
      "Europe/Berlin",
      "192.168.1.20",
      "homeassistant.local:8123",
      "2025-06-18",
      "en_US.UTF-8",
    ]) {
      assert.ok(!isServerSecret("FOO", text), text);
      assert.ok(isServerSecret("MY_TOKEN", text), text);
    }
    for (const text of [
      "abc-plain-value",
      "hunter2",
      "correcthorse",
      "123456",
      "ghp_16C7e42F292c6912E7",
      "aGVsbG8vd29ybGQ=",
      "/aGVsbG8+d29ybGQ=",
      "https://u:pass@api.test/",
      "https://api.test/?token=abc",
      "https://hooks.test/services/T00/B00/Xy7abcdefGHIJ1234567klmn",
      "/9j4AAQSkZJRgABAQAAAQABAADabcdef",
      "https://h.test/0123456789abcdef0123456789abcdef",
    ]) {
      assert.ok(isServerSecret("FOO", text), text);
    }
  });

  it("of servers are told apart at once, however long a word without a separator is", () => {
    const startedAt = performance.now();
    assert.ok(isServerSecret("FOO", `/${"a".repeat(60)}=`));
    assert.ok(isServerSecret("FOO", `/${"a ".repeat(30_000)}=`));
    assert.ok(performance.now() - startedAt < 1000);
  });

  it("are the passwords of the environment's proxies, as they are written and as they are meant", () => {
    const env = {
      https_proxy: "http://me:p%40ss-one@proxy.test:3128",
      HTTP_PROXY: "http://me:word-two@proxy.test:3128",
      ALL_PROXY: "proxy.test:3128",
      no_proxy: "http://me:no-word@local.test",
    };
    const found = proxySecretsIn(env).filter((secret) => secret !== "");
    assert.deepEqual(new Set(found), new Set(["p%40ss-one", "p@ss-one", "word-two"]));
  });
});
