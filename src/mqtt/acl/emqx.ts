import { commented, gatewayLines, headOf, type ListFacts, OTHERS } from "./list.ts";
import type { Grant, Users } from "./rights.ts";

/** The first rule that matches decides; `eq` takes + literally. */
export function emqx(facts: ListFacts): string {
  const { rights, gateway, by } = facts;
  const own = by === "user" ? "${username}" : "${clientid}";
  const head = [
    ...headOf(facts, "an authenticator that binds it to the user"),
    "EMQX 5: put this into the file of the authorization source of type file (etc/acl.conf), before other rules.",
    "  Set authorization.no_match = deny, and an authenticator, so that nobody connects without credentials.",
    "The last line denies everything else, also for other programs: put their rules before it.",
    ...OTHERS,
  ];
  const { users } = rights;
  const lines = [
    ...commented("%%", head),
    ...gatewayLines("%%", rights, (grants) => rules(userNamed(gateway), grants)),
    ...users.filter(({ template }) => template === undefined).flatMap(userRules),
    ...rules("all", [...rights.clients(own), ...rights.everyone]),
    ...users
      .filter(({ template }) => template !== undefined)
      .flatMap((one) => commented("%%", [one.template ?? "", ...userRules(one)])),
    "{deny, all}.",
  ];
  return `${lines.join("\n")}\n`;
}

function userNamed(name: string): string {
  return `{username, "${name}"}`;
}

function userRules({ names, grants }: Users): readonly string[] {
  return names.flatMap((name) => rules(userNamed(name), grants(name)));
}

/** At most one rule for each direction. */
function rules(who: string, grants: readonly Grant[]): readonly string[] {
  const rule = (action: string, access: Grant["access"]): readonly string[] => {
    const topics = grants
      .filter((grant) => grant.access === access || grant.access === "readwrite")
      .map(({ topic, exact }) => (exact ? `{eq, "${topic}"}` : `"${topic}"`));
    return topics.length === 0 ? [] : [`{allow, ${who}, ${action}, [${topics.join(", ")}]}.`];
  };
  return [...rule("publish", "write"), ...rule("subscribe", "read")];
}
