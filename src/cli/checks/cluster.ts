import { dirname } from "node:path";
import { pinCheck } from "../../agent/checks.ts";
import { instructionChecks, readInstructions } from "../../agent/workspace/instructions.ts";
import type { Check } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import { at, textAt } from "../../base/unknown.ts";
import type { Config } from "../../config/contract.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import { gatewayNameOf } from "../runtime/agent-cluster.ts";

export interface ClusterChecksOptions {
  readonly config: Pick<Config, "gateway" | "agents" | "tools">;
  readonly home?: string | undefined;
  readonly cluster: Pick<Cluster, "owner" | "gateways">;
}

/** What has to fit together for gateways that share a store. */
export async function clusterChecks(options: ClusterChecksOptions): Promise<readonly Check[]> {
  const { config, home, cluster } = options;
  const { workspace } = config.agents.defaults;
  const pin = pinCheck(config.tools, gatewayNameOf(config));
  try {
    const gateways = await cluster.gateways();
    const others = gateways
      .filter(({ owner }) => owner !== cluster.owner)
      .map(({ owner, about }) => ({
        gateway: textAt(about, "name") || owner,
        instructions: at(about, "instructions"),
      }));
    const own = await readInstructions(workspace, home ?? dirname(workspace));
    return [pin, ...instructionChecks(own, others)];
  } catch (thrown) {
    const { message } = asFailure(thrown);
    return [pin, { name: "other gateways", result: "warn", message: `cannot be read: ${message}` }];
  }
}
