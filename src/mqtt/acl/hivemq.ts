import { coversFilter } from "../../base/topic-filter.ts";
import { headOf, type ListFacts, OTHERS } from "./list.ts";
import type { Grant } from "./rights.ts";

/** `conf/credentials.xml` of the File RBAC extension. */
export function hivemq(facts: ListFacts): string {
  const { gateway, clients, everyone, users } = facts.rights;
  const own = facts.by === "user" ? "${{username}}" : "${{clientid}}";
  const head = [
    ...headOf(facts, "an extension that binds it to the user"),
    "HiveMQ: conf/credentials.xml of the File RBAC extension; it denies what no role allows.",
    "Add users with passwords, and with these roles:",
    "  picoclaw-gateway: the gateway's user",
    "  picoclaw-device: each device's user",
    ...users.map(({ role, whose }) => `  ${role}: ${whose}`),
    ...OTHERS.map((text) => text.replace("--user", "the flag for the user")),
  ];
  const roles = [
    roleOf("picoclaw-gateway", [...gateway.flatMap((part) => part.gateway), ...everyone]),
    roleOf("picoclaw-device", [...clients(own), ...everyone]),
    ...users.map(({ role, grants }) => {
      const given = grants("${{username}}");
      const isGiven = ({ topic }: Grant): boolean =>
        given.some(({ access, topic: wider }) => access !== "write" && coversFilter(wider, topic));
      return roleOf(role, [...given, ...everyone.filter((grant) => !isGiven(grant))]);
    }),
  ];
  return `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!--
${head.map((text) => `  ${text}`).join("\n")}
-->
<file-rbac>
  <users>
  </users>
  <roles>${roles.join("")}
  </roles>
</file-rbac>
`;
}

function roleOf(id: string, grants: readonly Grant[]): string {
  return `
    <role>
      <id>${id}</id>
      <permissions>${grants.map(permissions).join("")}
      </permissions>
    </role>`;
}

function permissions({ access, topic, retain }: Grant): string {
  const published = permission(topic, "PUBLISH", retain ?? ALL);
  const subscribed = permission(topic, "SUBSCRIBE", ALL);
  if (access !== "readwrite") return access === "write" ? published : subscribed;
  return retain === undefined ? permission(topic, ALL, ALL) : published + subscribed;
}

const ALL = "ALL";

function permission(topic: string, activity: string, retain: string): string {
  return `
        <permission>
          <topic>${topic}</topic>
          <activity>${activity}</activity>
          <retain>${retain}</retain>
        </permission>`;
}
