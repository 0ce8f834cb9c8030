import { once } from "node:events";
import { createServer } from "node:net";
import { Aedes, type Client } from "aedes";
import { coversFilter } from "../../src/base/topic-filter.ts";

/** What a user, or everyone (undefined), may publish or subscribe to. */
export interface Rule {
  readonly user: string | undefined;
  readonly action: "publish" | "subscribe";
  /** `{own}` is the name of the user. */
  readonly topics: readonly string[];
}

/** The rules of a list for EMQX. */
export function emqxRules(list: string): readonly Rule[] {
  return list.split("\n").flatMap((line): readonly Rule[] => {
    const found = /^\{allow, (?:\{username, "([^"]+)"\}|all), (\w+), \[(.+)\]\}\.$/.exec(line);
    if (found === null) return [];
    const [, user, action, topics = ""] = found;
    const names = [...topics.matchAll(/"([^"]+)"/g)].map(([, topic = ""]) =>
      topic.replace("${username}", "{own}"),
    );
    return [{ user, action: action === "publish" ? "publish" : "subscribe", topics: names }];
  });
}

/** A broker that, unlike mosquitto, refuses subscriptions that its rules do not allow; MQTT 3.1.1. */
export async function startCheckingBroker(rules: readonly Rule[]) {
  const users = new WeakMap<Client, string>();
  const refused: string[] = [];
  const isAllowed = (action: Rule["action"], client: Client | null, topic: string): boolean => {
    const own = (client && users.get(client)) ?? "";
    const isOk = rules.some(
      (rule) =>
        rule.action === action &&
        (rule.user === undefined || rule.user === own) &&
        rule.topics.some((allowed) => coversFilter(allowed.replace("{own}", own), topic)),
    );
    if (!isOk) refused.push(`${own} ${action} ${topic}`);
    return isOk;
  };
  const aedes = await Aedes.createBroker({
    authenticate(client, username, _password, done) {
      users.set(client, username ?? "");
      done(null, true);
    },
    authorizePublish(client, { topic }, done) {
      done(isAllowed("publish", client, topic) ? null : new Error("refused"));
    },
    authorizeSubscribe(client, subscription, done) {
      done(null, isAllowed("subscribe", client, subscription.topic) ? subscription : null);
    },
  });
  const server = createServer((socket) => aedes.handle(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    url: `tcp://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    /** `user action topic` of each refusal. */
    refused: (): readonly string[] => refused,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => aedes.close(resolve));
      server.close();
    },
  };
}
