import { ownerOf } from "../access/permissions.ts";
import type { Asker, Rights } from "../access/permissions.ts";
import type { CallFacts } from "./contract.ts";

/** What tools are told of who asks. */
export function callFactsOf(
  {
    client,
    channel,
    isRemote = false,
    signal,
    allowance,
  }: Asker & Pick<CallFacts, "signal" | "allowance">,
  rights: Rights,
): CallFacts {
  const asker = { client, ...(channel !== undefined && { channel }), isRemote };
  return { ...asker, owner: ownerOf(asker), rights, signal, allowance };
}
