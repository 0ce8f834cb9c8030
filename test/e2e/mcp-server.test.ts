import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { startProgram } from "../support/home/programs.ts";
import { answers, hangs, startModelServer, type ModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  onceInCi,
  startGateway,
  temporaryHome,
  type Running,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const TOKENS = { kitchen: "a-token-of-the-kitchen", hall: "a-token-of-the-hall-way" };
const root = join(import.meta.dirname, "../..");
const suite = join(root, "node_modules/@modelcontextprotocol/conformance/dist/index.js");

interface Served extends AsyncDisposable {
  readonly broker: Mosquitto;
  readonly gateway: Running;
  readonly model: ModelServer;
  /** The address of its MCP server. */
  readonly url: string;
}

async function startServed(more: object): Promise<Served> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const config = { ...modelConfig(broker.url, model.base), ...more };
  const home = stack.use(await temporaryHome(config));
  const gateway = stack.use(await startGateway({ home: home.path }));
  await gateway.said('"msg":"gateway started"');
  const [, url = ""] = /"health":"(http:[^ "]+)/.exec(gateway.stderr()) ?? [];
  const all = stack.move();
  return {
    broker,
    gateway,
    model,
    url: `${url}/mcp`,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function namesOf(client: Client): Promise<readonly string[]> {
  return (await client.listTools()).tools.map(({ name }) => name);
}

async function textOf(client: Client, name: string, given: object): Promise<string> {
  return JSON.stringify((await client.callTool({ name, arguments: { ...given } })).content);
}

async function connect(url: string, token: string): Promise<Client> {
  const client = new Client(
    { name: "test", version: "1" },
    { versionNegotiation: { mode: "auto" } },
  );
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

describe("the MCP server of a gateway", { skip: needsMosquitto.skip || onceInCi.skip }, () => {
  it("gives a client the tools of its profile, and the agent", async () => {
    await using served = await startServed({
      gateway: { tokens: TOKENS, mcp: { enabled: true } },
      tools: { profiles: { kitchen: { tools: ["device", "exec"] }, hall: { tools: ["memory"] } } },
    });
    const { url, model, gateway } = served;
    const [kitchen, hall] = [await connect(url, TOKENS.kitchen), await connect(url, TOKENS.hall)];
    assert.deepEqual(await namesOf(kitchen), ["ask", "device"]);
    assert.deepEqual(await namesOf(hall), ["ask"]);
    const measure = { name: "device", arguments: { facts: ["uptime"] } };
    assert.match(JSON.stringify((await kitchen.callTool(measure)).content), /Uptime is/);
    for (const name of ["device", "memory", "exec", "nothing"]) {
      const { isError, content } = await hall.callTool({ ...measure, name });
      assert.equal(isError, true, name);
      assert.match(JSON.stringify(content), /there is no tool/);
    }
    assert.match(gateway.stderr(), /"client":"hall".*"tool":"device","verdict":"refused"/);
    model.script(answers("It is warm."));
    const answer = await hall.callTool({ name: "ask", arguments: { question: "is it warm?" } });
    assert.deepEqual(answer.content, [{ type: "text", text: "It is warm." }]);
    const { body } = await model.received(0);
    assert.ok(body.tools?.every(({ function: { name } }) => name !== "device"));
    model.script(hangs());
    const leave = new AbortController();
    const question = { name: "ask", arguments: { question: "wait" } };
    const left = hall.callTool(question, { signal: leave.signal });
    const { gone } = await model.received(1);
    leave.abort();
    await assert.rejects(left);
    await until("the model's call has ended", () => gone.aborted);
    await Promise.all([kitchen.close(), hall.close()]);
  });

  it("sets a lamp of the home for a client whose profile may, and tells what it did", async () => {
    const topics = { read: ["zigbee2mqtt/#"], publish: ["zigbee2mqtt/+/set"] };
    const tools = ["devices", "set_device"];
    await using served = await startServed({
      gateway: { tokens: TOKENS, mcp: { enabled: true } },
      tools: { profiles: { kitchen: { tools, topics }, hall: { tools: ["devices"], topics } } },
    });
    await using lamp = await startProgram("zigbee-lamp", served.broker.port);
    assert.ok(lamp);
    const kitchen = await connect(served.url, TOKENS.kitchen);
    const hall = await connect(served.url, TOKENS.hall);
    assert.deepEqual(await namesOf(kitchen), ["ask", ...tools]);
    const setter = (await kitchen.listTools()).tools.find(({ name }) => name === "set_device");
    assert.equal(setter?.annotations?.readOnlyHint, false);
    assert.deepEqual(await namesOf(hall), ["ask", "devices"]);
    await until("the lamp is known", async () =>
      (await textOf(kitchen, "devices", { search: "lamp" })).includes("kitchen lamp (light)"),
    );
    const on = { name: "kitchen lamp", state: "on" };
    assert.match(await textOf(hall, "set_device", on), /there is no tool/);
    assert.match(
      await textOf(kitchen, "set_device", on),
      /Done\. kitchen lamp \(light\) reports: on/,
    );
    assert.equal(served.model.requests.length, 0);
    await Promise.all([kitchen.close(), hall.close()]);
  });

  it("passes what the conformance suite of the protocol asks of its features", async () => {
    await using served = await startServed({ gateway: { mcp: { enabled: true } } });
    for (const scenario of [
      "server-initialize",
      "ping",
      "tools-list",
      "dns-rebinding-protection",
    ]) {
      const { text, code } = await conform(served.url.replace("127.0.0.1", "localhost"), scenario);
      assert.equal(code, 0, text);
      assert.match(text, /Passed: (\d)\/\1, 0 failed, 0 warnings/);
    }
  });
});

async function conform(url: string, scenario: string): Promise<{ text: string; code: number }> {
  const args = [suite, "server", "--url", url, "--scenario", scenario];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: root, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ text: stripVTControlCharacters(stdout + stderr), code: error === null ? 0 : 1 });
    });
  });
}
