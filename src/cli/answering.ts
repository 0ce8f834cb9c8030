import { type Agent, openAgent } from "../agent/agent.ts";
import type { Turn, Turned } from "../agent/contract.ts";
import { type DeviceHistory, openDeviceHistory } from "../agent/device/history.ts";
import type { Log } from "../base/log.ts";
import { pause } from "../base/pause.ts";
import type { Config } from "../config/contract.ts";

export interface AnsweringOptions {
  readonly config: Config;
  readonly log: Log;
  /** The program's own folder. */
  readonly home?: string;
  /** Where the device's history outlives the process; in memory alone where it is left out. */
  readonly historyFile?: string;
  /** Reads the configuration anew, for `/reload`; without it there is none. */
  readonly load?: () => Promise<Config>;
}

/** Opens the agent behind a gateway, which `/reload` can put another in the place of. */
export async function openAnswering(options: AnsweringOptions): Promise<Agent> {
  const { config, log, historyFile: file, load } = options;
  const { workspace } = config.agents.defaults;
  const device = { root: "/", workspace, now: () => new Date(), pause };
  const history = await openDeviceHistory({ device, log, ...(file !== undefined && { file }) });
  const open = (settings: Config): Promise<Staffed> =>
    openStaffed(settings, { ...options, history, ...(load && { reload }) });
  let current: Staffed;

  const reload = async (): Promise<string> => {
    if (load === undefined) return "";
    const [next, former] = [await open(await load()), current];
    current = next;
    void former.dismiss();
    return "From now on the agent answers by it; changes of channels and of the gateway need a restart.";
  };

  try {
    current = await open(config);
  } catch (thrown) {
    await history.close();
    throw thrown;
  }
  return {
    answer: (turn) => current.answer(turn),
    condense: async (conversation, signal) => current.agent.condense?.(conversation, signal),
    async close() {
      await current.agent.close();
      await history.close();
    },
  };
}

/** An agent that is closed only when its last turn has ended. */
interface Staffed {
  readonly agent: Agent;
  readonly answer: Agent["answer"];
  readonly dismiss: () => Promise<void>;
}

interface StaffedOptions extends AnsweringOptions {
  readonly history: DeviceHistory;
  readonly reload?: () => Promise<string>;
}

async function openStaffed(config: Config, options: StaffedOptions): Promise<Staffed> {
  const agent = await openAgent({ ...options, config });
  const idle = Promise.withResolvers<void>();
  let [turns, isDismissed] = [0, false];
  const ended = (): void => {
    if (isDismissed && turns === 0) idle.resolve();
  };

  async function* answer(turn: Turn): AsyncGenerator<string, Turned> {
    turns += 1;
    try {
      return yield* agent.answer(turn);
    } finally {
      turns -= 1;
      ended();
    }
  }

  return {
    agent,
    answer,
    async dismiss() {
      isDismissed = true;
      ended();
      await idle.promise;
      await agent.close();
    },
  };
}
