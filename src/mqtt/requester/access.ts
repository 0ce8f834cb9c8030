import { Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";

/** The user of a channel, as an access list knows it. */
export function accessUser({ username }: MqttSettings): string {
  const user = username?.reveal() ?? "";
  return user === "" ? "a client without a user name" : `the user ${user}`;
}

/** How the user of a channel gets the rights of lines of mosquitto's access list. */
export function grantRemedy({ username }: MqttSettings, ...lines: readonly string[]): string {
  const user = username?.reveal() ?? "";
  const under = user === "" ? "" : ` under "user ${user}"`;
  const which = lines.map((line) => `"${line}"`).join(" and ");
  return `add the line${lines.length > 1 ? "s" : ""} ${which}${under} to the broker's access list`;
}

/** For a person, who may use another user. */
export const OTHER_USER =
  "or use --user of one that may; picoclaw acl mosquitto prints one for debugging";

/** Reasons of a SUBACK or a PUBACK for missing rights; 3.1.1 has only the first (MQTT 5 section 2.4). */
const NO_RIGHT = /reason code 0x80|reason code 0x87/;

/** A refusal for missing rights, with the lines that are missing; any other failure as it is. */
export function withMissingLines(
  thrown: unknown,
  settings: MqttSettings,
  ...lines: readonly string[]
): unknown {
  if (!(thrown instanceof Failure) || thrown.code !== "refused") return thrown;
  const { message, why = "", cause } = thrown;
  if (!NO_RIGHT.test(`${message} ${why}`)) return thrown;
  return new Failure("refused", message, {
    why: [why, `${accessUser(settings)} may not do that`].filter(Boolean).join("; "),
    remedy: `${grantRemedy(settings, ...lines)}, ${OTHER_USER}`,
    cause,
  });
}
