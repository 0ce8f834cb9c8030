import { isPattern } from "../../base/client-pattern.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { suggestWord } from "../../base/spelling.ts";
import { listed } from "../../base/truncate.ts";
import type { Config } from "../../config/contract.ts";
import { isAllowed } from "../../gateway/channel-policy.ts";
import { openConversationReader } from "../state/conversation-reader.ts";

const MOST_NAMED = 10;

/** The clients that have to allow calls: whether they may ask, and whether they ever have. */
export async function confirmChecks(config: Config): Promise<readonly Diagnosis[]> {
  const ids = config.tools.profiles.flatMap(({ confirm }) => confirm.by);
  // A pattern is the id of no client: another check says so.
  const clients = [...new Set(ids)].filter((id) => !isPattern(id));
  if (clients.length === 0) return [];
  const refused = clients.filter((client) => !mayAsk(client, config));
  const known = await knownClients(config);
  const texts = clients.map((client) =>
    known.has(client) ? `${client} (has asked before)` : `${client} (has not asked yet)`,
  );
  const message = `calls wait for ${listed(texts, MOST_NAMED)}`;
  return [
    { ...FACTS, result: "ok", message },
    ...refused.map((client) =>
      warning(
        `${client} may not ask on any channel, so it cannot allow the calls that wait for it`,
        "name it in allow_from of the channel, or another client in confirm.by",
      ),
    ),
    ...clients.flatMap((client) => {
      const meant = meantBy(client, known);
      if (meant === undefined) return [];
      return [
        warning(
          `${client} has never asked, and ${meant} has`,
          `if it is misspelt, write ${meant} in confirm.by`,
        ),
      ];
    }),
  ];
}

const FACTS = { code: "access.confirm", name: "confirmations" } as const;

function warning(message: string, remedy: string): Diagnosis {
  return { ...FACTS, result: "warn", message, remedy };
}

/** A client that has asked and has nearly the same id as one that has not. */
function meantBy(client: string, known: ReadonlySet<string>): string | undefined {
  const meant = known.has(client) ? undefined : suggestWord(client, [...known]);
  // panel-1 and panel-2 are two clients.
  const isNumbered = meant !== undefined && withoutDigits(meant) === withoutDigits(client);
  return isNumbered ? undefined : meant;
}

function withoutDigits(id: string): string {
  return id.replaceAll(/\d/g, "");
}

function mayAsk(client: string, { channels }: Config): boolean {
  return channels.some(({ allow_from: allowFrom, deny_from: denyFrom }) =>
    isAllowed({ allowFrom, denyFrom }, client),
  );
}

async function knownClients(config: Config): Promise<ReadonlySet<string>> {
  const reader = await openConversationReader(config, { readOnly: true });
  try {
    return new Set((await reader.conversations()).map(({ client }) => client));
  } finally {
    await reader.close();
  }
}
