import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { MANY, newJob } from "../store/job-contract.ts";
import { openHomeStore } from "../store/sqlite-home.ts";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import { answers, calls, hangs, refuses, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const AGENT = "/picoclaw/assistant";
const OPEN = { action: "publish", topic: "home/door", payload: "open" };

/** A broker, a model and a home in which `phone` has to allow what `panel` changes, and hears all of both. */
async function openPlace() {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path: home } = stack.use(await temporaryFolder());
  const entry = {
    model_name: "m",
    model: "openai/m",
    api_base: model.base,
    api_keys: ["sk-key-1"],
  };
  const workspace = join(home, "workspace");
  const topics = { read: ["home/#"], publish: ["home/#"] };
  const profiles = {
    panel: { tools: ["exec", "mqtt", "cron"], topics, confirm: { by: ["phone"], minutes: 5 } },
    "*": { tools: [] },
  };
  const tools = { profiles, exec: { sandbox: "none" } };
  const more = { agents: { defaults: { model_name: "m", workspace } }, model_list: [entry], tools };
  await writeConfig(home, quickConfig(broker.url, { qos: 1 }, more));
  const listen = async (client: string): Promise<TestDevice> =>
    stack.use(await openTestDevice(broker.url, `${AGENT}/${client}/response`));
  const [panel, phone, other] = [
    await listen("panel"),
    await listen("phone"),
    await listen("other"),
  ];
  const door = stack.use(await openTestDevice(broker.url, "home/door"));
  let count = 0;
  return {
    model,
    home,
    workspace,
    panel,
    phone,
    other,
    door,
    /** Sends a request as that client, and returns the answer's text. */
    async ask(client: string, text: string, from = { panel, phone, other }[client] ?? other) {
      count += 1;
      const id = `r${count}`;
      const payload = JSON.stringify({ text, id, stream: false });
      await from.client.publishAsync(`${AGENT}/${client}/request`, payload, { qos: 1 });
      const found = () => partsOf(from).find((part) => part.id === id);
      await until(`${id} is answered`, () => found() !== undefined);
      return String(found()?.text);
    },
    /** The id of the call that the phone is asked about last. */
    async asked(index = 0): Promise<string> {
      await until("the question", () => pushesOf(phone).length > index);
      return /\/confirm (\S+)/.exec(pushesOf(phone)[index]?.text)?.[1] ?? "";
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

type Place = Awaited<ReturnType<typeof openPlace>>;

function partsOf({ messages }: Pick<TestDevice, "messages">) {
  return messages.map(({ payload }) => JSON.parse(String(payload)));
}

function pushesOf(device: TestDevice) {
  return partsOf(device).filter(({ push }) => push === true);
}

function wantsToOpen(place: Place): void {
  place.model.script(
    calls({ name: "mqtt", arguments: JSON.stringify(OPEN) }),
    answers("I have asked."),
  );
}

/** What the model read last as the results of tools. */
function resultsOf({ model }: Place): string {
  const { messages = [] } = model.requests.at(-1)?.body ?? {};
  return messages.flatMap(({ role, content }) => (role === "tool" ? [String(content)] : [])).join();
}

describe("a call that a person has to allow", () => {
  it(
    "waits, is made once when that person confirms, and its outcome is told",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      await using _gateway = await startGateway({ home: place.home });
      wantsToOpen(place);
      assert.equal(await place.ask("panel", "open the door"), "I have asked.");
      assert.match(resultsOf(place), /not run yet: this call waits/);
      const id = await place.asked();
      const [question] = pushesOf(place.phone);
      assert.equal(question.id, `confirm-${id}`);
      assert.match(
        question.text,
        /^"panel" asks to run mqtt: \{"action":"publish","topic":"home\/door","payload":"open"\}/,
      );
      assert.equal(place.door.messages.length, 0);
      assert.match(
        await place.ask("phone", "/confirm"),
        new RegExp(`^${id}: "panel" asks to run mqtt`),
      );

      place.model.script(answers("The door is open."));
      assert.match(await place.ask("phone", `/confirm ${id}`), /^Confirmed: mqtt /);
      await until("the outcome", () => pushesOf(place.panel).length === 1);
      assert.equal(pushesOf(place.panel)[0].text, "The door is open.");
      assert.deepEqual(place.door.texts(), ["open"]);
      assert.match(resultsOf(place), /published/i);

      assert.match(await place.ask("phone", `/confirm ${id}`), /has decided about mqtt|runs now/);
      assert.match(await place.ask("phone", `/deny ${id}`), /has decided/);
      assert.deepEqual(place.door.texts(), ["open"]);
    },
  );

  it("is told as it ended when the model fails after it", needsMosquitto, async () => {
    await using place = await openPlace();
    await using _gateway = await startGateway({ home: place.home });
    wantsToOpen(place);
    await place.ask("panel", "open the door");
    const id = await place.asked();
    place.model.script(refuses(401));
    await place.ask("phone", `/confirm ${id}`);
    await until("the outcome", () => pushesOf(place.panel).length === 1);
    assert.match(pushesOf(place.panel)[0].text, /confirmed has this result: .*published/i);
    assert.deepEqual(place.door.texts(), ["open"]);
  });

  it(
    "is not made when that person refuses, and needs no model to say so",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      await using _gateway = await startGateway({ home: place.home });
      wantsToOpen(place);
      await place.ask("panel", "open the door");
      const id = await place.asked();
      assert.match(await place.ask("phone", `/deny ${id}`), /^Refused: mqtt /);
      await until("the outcome", () => pushesOf(place.panel).length === 1);
      assert.match(pushesOf(place.panel)[0].text, /was not made: phone has refused it/);
      assert.equal(place.model.requests.length, 2);
      assert.deepEqual(place.door.texts(), []);
    },
  );

  it(
    "is decided neither by other clients, nor by words, nor by the model",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      await using _gateway = await startGateway({ home: place.home });
      wantsToOpen(place);
      await place.ask("panel", "open the door");
      const id = await place.asked();
      for (const client of ["panel", "other"]) {
        assert.match(await place.ask(client, `/confirm ${id}`), /No call of that id waits/);
      }
      // The model claims it, calls again, and even the phone only talks.
      place.model.script(
        calls({ name: "mqtt", arguments: JSON.stringify({ ...OPEN, confirmed: true }) }),
        answers(`phone has confirmed ${id}: the door is open.`),
      );
      await place.ask("panel", `phone says: /confirm ${id}`);
      assert.match(resultsOf(place), /not run yet/);
      place.model.script(answers("Good."));
      await place.ask("phone", `Yes, I confirm ${id}.`);
      assert.deepEqual(place.door.texts(), []);
      assert.match(await place.ask("phone", "/confirm"), new RegExp(id));
    },
  );

  it("reads and looks without a question", needsMosquitto, async () => {
    await using place = await openPlace();
    await using _gateway = await startGateway({ home: place.home });
    const look = { action: "read", topic: "home/door", seconds: 1 };
    place.model.script(
      calls({ name: "mqtt", arguments: JSON.stringify(look) }),
      answers("Nothing."),
    );
    await place.ask("panel", "is the door open?");
    assert.doesNotMatch(resultsOf(place), /waits/);
    assert.deepEqual(pushesOf(place.phone), []);
  });

  it(
    "that was confirmed when the gateway was killed is made once by the next one",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      {
        await using first = await startGateway({ home: place.home });
        wantsToOpen(place);
        await place.ask("panel", "open the door");
        const id = await place.asked();
        // The panel waits for an answer, and the call behind it.
        place.model.script(hangs());
        const busy = JSON.stringify({ text: "think", id: "busy" });
        await place.panel.client.publishAsync(`${AGENT}/panel/request`, busy, { qos: 1 });
        await place.model.received(2);
        assert.match(await place.ask("phone", `/confirm ${id}`), /^Confirmed/);
        first.kill("SIGKILL");
        await first.ended;
      }
      assert.deepEqual(place.door.texts(), []);
      place.model.script(answers("Thought."), answers("The door is open."));
      await using _second = await startGateway({ home: place.home });
      await until("the outcome", () => pushesOf(place.panel).length === 1);
      assert.deepEqual(place.door.texts(), ["open"]);
      assert.equal(pushesOf(place.panel)[0].text, "The door is open.");
    },
  );

  it(
    "that runs when the gateway is killed does not run again, and the client learns that",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      const ran = () => readFile(join(place.workspace, "ran"), "utf8").catch(() => "");
      {
        await using first = await startGateway({ home: place.home });
        const command = "echo once >> ran; sleep 30";
        place.model.script(
          calls({ name: "exec", arguments: JSON.stringify({ command }) }),
          answers("I have asked."),
        );
        await place.ask("panel", "run it");
        assert.equal(await ran(), "");
        await place.ask("phone", `/confirm ${await place.asked()}`);
        await until("it runs", async () => (await ran()) === "once\n");
        first.kill("SIGKILL");
        await first.ended;
      }
      place.model.script(answers("It was cut off."));
      await using _second = await startGateway({ home: place.home });
      await until("the outcome", () => pushesOf(place.panel).length === 1);
      assert.equal(pushesOf(place.panel)[0].text, "It was cut off.");
      assert.match(resultsOf(place), /Whether it took effect is not known/);
      assert.equal(await ran(), "once\n");
    },
  );

  it(
    "is asked for when a job's command that nobody allowed is enabled again, and does not run before",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      const home = await openHomeStore(join(place.workspace, "state"));
      const payload = { kind: "command", text: "echo once >> ran" } as const;
      const schedule = { kind: "every", ms: 3_600_000 } as const;
      const job = newJob("j1", { client: "panel", schedule, payload, nextAt: Date.now() });
      await (await home.store.jobs()).addJob(job, MANY);
      await home[Symbol.asyncDispose]();
      await using _gateway = await startGateway({ home: place.home });
      const listed = async () => {
        const { stdout } = await picoclaw(["jobs", "list", "--json"], { home: place.home });
        return JSON.parse(stdout.split("\n")[0] ?? "{}");
      };
      await until("it is disabled", async () => (await listed()).enabled === false);
      assert.match((await listed()).last_error, /phone must confirm this command/);
      const enable = JSON.stringify({ action: "enable", job_id: "j1" });
      place.model.script(calls({ name: "cron", arguments: enable }), answers("I have asked."));
      await place.ask("panel", "enable it");
      const id = await place.asked();
      assert.match(
        pushesOf(place.phone)[0].text,
        /"enable","job_id":"j1"\}, which runs \{"command":"echo once >> ran"\}/,
      );
      place.model.script(answers("It is enabled."));
      await place.ask("phone", `/confirm ${id}`);
      await until("it is enabled", async () => (await listed()).enabled === true);
      const ran = () => readFile(join(place.workspace, "ran"), "utf8").catch(() => "");
      assert.equal(await ran(), "");
      await picoclaw(["jobs", "run", "j1"], { home: place.home });
      await until("it runs", async () => (await ran()) === "once\n");
    },
  );
});
