import assert from "node:assert/strict";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { openReloadableAgent } from "../../src/cli/runtime/reloadable-agent.ts";
import type { Config } from "../../src/config/contract.ts";
import { agentConfig, collect, modelEntry } from "../support/agent-config.ts";
import { QUIET_GATEWAY } from "../support/channel.ts";
import { answers, calls, hangs, startModelServer, textEvent } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

let former: ModelServer;
let latter: ModelServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  folder = await temporaryFolder();
});
after(() => folder[Symbol.asyncDispose]());
beforeEach(async () => {
  [former, latter] = await Promise.all([startModelServer(), startModelServer()]);
});
afterEach(() => Promise.all([former.close(), latter.close()]));

function configOf(server: ModelServer): Config {
  const entry = modelEntry({ api_base: server.base, request_timeout: 60 });
  return {
    ...agentConfig([entry], { workspace: join(folder.path, "workspace"), max_llm_retries: 0 }),
    heartbeat: { enabled: true, interval: 30 },
    session: { dimensions: ["chat"] },
    gateway: QUIET_GATEWAY,
  };
}

type Answering = Awaited<ReturnType<typeof openReloadableAgent>>;

function ask(agent: Answering, text: string, signal = new AbortController().signal) {
  return collect(
    agent.answer({ text, history: async () => [], client: "c", isAdmin: true, signal }),
  );
}

async function openTestAnswering(
  read: () => Promise<Config>,
  secretFiles: readonly string[] = [],
): Promise<Answering> {
  const load = async () => ({ config: await read(), secretFiles });
  return await openReloadableAgent({ config: configOf(former), log: SILENT, load });
}

describe("/reload", () => {
  it("lets turns under way end with the agent that they began with", async () => {
    const agent = await openTestAnswering(async () => configOf(latter));
    const gate = Promise.withResolvers<void>();
    former.script(async (request, response) => {
      await gate.promise;
      await answers("from before")(request, response);
    });
    latter.otherwise(answers("from after"));
    const underWay = ask(agent, "hello");
    await former.received(0);
    const { text } = await ask(agent, "/reload");
    assert.match(text, /^Config reload triggered!\n/);
    assert.match(text, /Background tasks/);
    assert.equal(agent.reloaded()?.config.model_list[0]?.api_base, latter.base);
    assert.equal((await ask(agent, "hello")).text, "from after");
    gate.resolve();
    assert.equal((await underWay).text, "from before");
    await agent.close();
  });

  it("closes the key files of the new configuration to the tools", async () => {
    const key = join(folder.path, "workspace", "key");
    const agent = await openTestAnswering(async () => configOf(latter), [key]);
    const read = calls({ name: "read_file", arguments: '{"path":"key"}' });
    former.script(read, answers("well"));
    latter.script(read, answers("well"));
    await ask(agent, "hello");
    await writeFile(key, "a key");
    await ask(agent, "/reload");
    await ask(agent, "hello");
    const [earlier, later] = [former, latter].map(
      ({ requests }) => requests.at(-1)?.body.messages.at(-1)?.content ?? "",
    );
    assert.match(earlier ?? "", /does not exist/);
    assert.match(later ?? "", /holds this program's own state or keys/);
    await agent.close();
  });

  it("with a configuration that cannot work leaves everything as it was", async () => {
    const faults: (() => Promise<Config>)[] = [
      () => Promise.reject(new Failure("config", "config.json is no JSON")),
      async () => ({ ...configOf(latter), model_list: [modelEntry({ model: "copilot/x" })] }),
    ];
    const agent = await openTestAnswering(async () => {
      const config = await (faults.shift() ?? assert.fail)();
      return {
        ...config,
        agents: { defaults: { ...config.agents.defaults, model_name: "test" } },
      };
    });
    former.otherwise(answers("from before"));
    for (const why of [/no JSON/, /github-copilot/]) {
      assert.match((await ask(agent, "/reload")).text, why);
      assert.equal((await ask(agent, "hello")).text, "from before");
    }
    await agent.close();
  });

  it("asked for twice at once ends with what was read last", async () => {
    const gate = Promise.withResolvers<void>();
    let times = 0;
    const agent = await openTestAnswering(async () => {
      times += 1;
      if (times === 2) return configOf(latter);
      await gate.promise;
      return configOf(former);
    });
    latter.otherwise(answers("from after"));
    former.otherwise(answers("from before"));
    const both = [ask(agent, "/reload"), ask(agent, "/reload")];
    gate.resolve();
    await Promise.all(both);
    assert.equal((await ask(agent, "hello")).text, "from after");
    await agent.close();
  });

  it("while the program ends leaves no agent behind", async () => {
    const gate = Promise.withResolvers<void>();
    const agent = await openTestAnswering(async () => {
      await gate.promise;
      return configOf(latter);
    });
    const reload = ask(agent, "/reload");
    await agent.close();
    gate.resolve();
    assert.match((await reload).text, /the program is ending/);
  });
});

describe("the end of the program", () => {
  it("ends the commands of an agent whose last turn still runs after a reload", async () => {
    const agent = await openTestAnswering(async () => configOf(latter));
    const { workspace } = configOf(former).agents.defaults;
    const command = "trap 'touch ended; exit' TERM; touch begun; while :; do sleep 0.1; done";
    const input = { action: "run", command, background: true };
    former.script(
      calls({ name: "exec", arguments: JSON.stringify(input) }),
      hangs(textEvent("It runs")),
    );
    const stop = new AbortController();
    const hanging = ask(agent, "run it", stop.signal);
    const isThere = (name: string) =>
      access(join(workspace, name))
        .then(() => true)
        .catch(() => false);
    await until("the command runs", () => isThere("begun"));
    await former.received(1);
    await ask(agent, "/reload");
    assert.equal(await isThere("ended"), false);
    await agent.close();
    assert.equal(await isThere("ended"), true);
    stop.abort(new Failure("cancelled", "stopped"));
    await assert.rejects(hanging, /stopped/);
  });
});
