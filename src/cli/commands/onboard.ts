import { modelCallChecks } from "../../agent/model-check.ts";
import { endpointOf, PROTOCOLS } from "../../agent/model/endpoint.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import { differenceOf, type Draft, writeDraft } from "../../config/edit/draft.ts";
import { dialAddressOf } from "../../mqtt/client/transport.ts";
import { agentAddressOf, requestTopic, responseTopic } from "../../mqtt/protocol/topics.ts";
import { DEFAULT_QUESTION } from "../ask.ts";
import { loadUsable } from "../connection.ts";
import type { Context } from "../context.ts";
import {
  askConnection,
  type Asker,
  askModel,
  type ConnectionAnswers,
  createAsker,
  type ModelAnswer,
} from "../onboard/answers.ts";
import { draftOf } from "../onboard/changes.ts";
import { discover, type Discovery, isPortOpen } from "../onboard/discovery.ts";
import { askFirst, askingClient, CLIENT } from "../onboard/first-request.ts";
import { reportOf, wrapFor } from "../report.ts";

/** How long a model may take for the call with a new key. */
const CALL_MS = 30_000;

const NO_BROKER =
  "Found no broker on this machine. A broker is tcp://host:1883; embedded is the one in this program.\n";

/** `picoclaw onboard`: sets up broker, agent and model, and asks the first question. */
export async function run(context: Context): Promise<number> {
  const { host, redactor } = context;
  const loaded = await loadUsable(context, {});
  const asker = createAsker(context);
  const found = await discover({ env: host.env, fetch, isOpen: isPortOpen });
  const [present] = loaded.config.channels;
  const isBrokerOpen = !present && context.flags.text("broker") === undefined;
  if (asker.isInteractive && isBrokerOpen && !found.hasBroker) await host.stderr.write(NO_BROKER);
  const connection = await askConnection(context, asker, found, present?.settings);
  if (asker.isInteractive) await host.stderr.write(modelsText(found));
  const draft = await settledDraft(context, asker, { found, loaded, connection });
  if (draft.files.length === 0) await host.stdout.write(`${loaded.file} stays as it is\n`);
  else {
    const difference = draft.files.map(differenceOf).join("");
    await host.stdout.write(redactor.redact(escapeControl(difference, "\n")));
    const answer = await asker.text(undefined, "Write this (yes or no)", "yes");
    if (!/^y(?:es)?$/i.test(answer)) {
      await host.stderr.write("note: nothing was written\n");
      return 1;
    }
    const copies = await writeDraft(draft, new Date());
    await host.stdout.write(copies.map((copy) => `copied the former file to ${copy}\n`).join(""));
  }
  return await firstAnswer(context, draft);
}

function modelsText({ models }: Discovery): string {
  const names = models.map(({ model, variable }) =>
    variable === undefined ? model : `${model} (key in ${variable})`,
  );
  const all = names.length === 0 ? "no model" : names.join(", ");
  return `Found ${all}. A model is provider/name; offline is an agent without a model.\n`;
}

interface Settling {
  readonly found: Discovery;
  readonly loaded: LoadedConfig;
  readonly connection: ConnectionAnswers;
}

type ChannelDraft = Awaited<ReturnType<typeof draftOf>>;

/** Asks for the model until one works; throws the `Failure` of one that does not, if nobody can be asked. */
async function settledDraft(
  context: Context,
  asker: Asker,
  { found, loaded, connection }: Settling,
): Promise<ChannelDraft> {
  const { config } = loaded;
  let refused: string | undefined;
  for (;;) {
    const model = await askModel(context, asker, found, { config, refused });
    try {
      const answer = await withKey(asker, model);
      const draft = await draftOf(context, { connection, model: answer }, loaded);
      if (answer.kind === "new") await tryModel(context, draft, answer);
      return draft;
    } catch (thrown) {
      const isOfModel = model.kind === "new" && !context.signal.aborted;
      if (!asker.isInteractive || !isOfModel || !(thrown instanceof Failure)) throw thrown;
      if (thrown.code === "interrupted") throw thrown;
      refused = model.model;
      const { redactor, host, flags } = context;
      const wrap = await wrapFor(host.stderr);
      const report = { coloured: false, debug: flags.has("debug"), redactor, wrap };
      await host.stderr.write(reportOf(thrown, report));
    }
  }
}

/** A model that is not on a server of this machine, and has no key, gets one that is typed. */
async function withKey(asker: Asker, model: ModelAnswer): Promise<ModelAnswer> {
  if (model.kind !== "new" || model.key !== undefined) return model;
  const [provider = ""] = model.model.split("/");
  if (PROTOCOLS[provider]?.keyless === true) return model;
  return { ...model, key: await asker.secret(`Key of ${model.model} (not shown): `) };
}

/** Throws a `Failure` if the new entry can never work. */
function checkEntry({ config }: LoadedConfig, { model, key }: NewModel): void {
  const entry = config.model_list.findLast((one) => one.model === model);
  if (entry === undefined) return;
  try {
    endpointOf(entry);
  } catch (thrown) {
    if (key !== undefined || !asFailure(thrown).message.endsWith("no key")) throw thrown;
    throw new Failure("usage", `${model} needs a key`, {
      remedy: "give it with --api-key-file, or type it when picoclaw onboard asks for it",
    });
  }
}

type NewModel = ModelAnswer & { readonly kind: "new" };

/** Calls the model once, if it has a key. Throws a `Failure` if that does not work. */
async function tryModel(
  { host, signal }: Context,
  { loaded }: Draft,
  answer: NewModel,
): Promise<void> {
  checkEntry(loaded, answer);
  if (answer.key === undefined) return;
  await host.stderr.write(`note: trying ${escapeControl(answer.model)}\n`);
  const deadline = AbortSignal.timeout(CALL_MS);
  try {
    const [call] = await modelCallChecks({
      config: loaded.config,
      signal: AbortSignal.any([signal, deadline]),
    });
    if (call?.result !== "fail") return;
    const { message, remedy } = call;
    throw new Failure("failed", `${answer.model}: ${message}`, { remedy });
  } catch (thrown) {
    signal.throwIfAborted();
    if (!deadline.aborted) throw asFailure(thrown);
    throw new Failure("failed", `${answer.model} did not answer within ${CALL_MS / 1000} s`);
  }
}

async function firstAnswer(context: Context, { channel, files }: ChannelDraft): Promise<number> {
  const { host, redactor } = context;
  const loaded = await loadUsable(context, {});
  const served = loaded.config.channels.find(({ name }) => name === channel);
  if (served === undefined) throw new Failure("config", `there is no channel ${channel}`);
  const { settings } = served;
  const topic = requestTopic(agentAddressOf(settings), askingClient(served));
  await host.stdout.write(
    escapeControl(`\n${settings.broker.join()}\n${topic} ${questionJson()}\n`, "\n"),
  );
  const { outcome, isRunning } = await askFirst(context, loaded, served);
  if (outcome.failure !== undefined) throw outcome.failure;
  if (isRunning && files.length > 0) {
    const note = "a gateway runs already and answered; restart it to use what is new";
    await host.stderr.write(`note: ${note}\n`);
  }
  const text = nextSteps(settings);
  await host.stdout.write(redactor.redact(escapeControl(text, "\n")));
  return 0;
}

function questionJson(): string {
  return JSON.stringify({ text: DEFAULT_QUESTION });
}

type MqttSettings = LoadedConfig["config"]["channels"][number]["settings"];

/** What to do from now on, with the topics of a device. */
function nextSteps(settings: MqttSettings): string {
  const address = agentAddressOf(settings);
  const [request, response] = [requestTopic(address, CLIENT), responseTopic(address, CLIENT)];
  return `
A device publishes to  ${request}
and is answered on     ${response}

  mosquitto_pub ${dialledBy(settings)}-t ${request} -m '${questionJson()}'

Next:
  picoclaw gateway            serve until Ctrl-C
  picoclaw service install    serve from now on, also after a restart
  picoclaw send ${CLIENT} hi    ask as a device
`;
}

/** The flags of mosquitto_pub for a broker and its user; the password is left to whoever types it. */
function dialledBy({ broker, username, tls }: MqttSettings): string {
  const address = dialAddressOf(broker[0] ?? "");
  const user = username === undefined ? "" : `-u ${username.reveal()} -P PASSWORD `;
  if (address.kind === "unix") return `--unix ${address.path} ${user}`;
  const { host, port, kind } = address;
  const isSecure = kind === "tls";
  const plain = isSecure ? 8883 : 1883;
  const secure = isSecure ? `--cafile ${tls.ca_file ?? "/etc/ssl/certs/ca-certificates.crt"} ` : "";
  const where = host === "localhost" || host === "127.0.0.1" ? "" : `-h ${host} `;
  return `${where}${port === plain ? "" : `-p ${port} `}${secure}${user}`;
}
