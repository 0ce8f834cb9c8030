import { CONNECTION_FLAGS } from "./flags.ts";
import type { Command } from "./table.ts";

/** Its text is long, and its list of brokers is checked against the writer's. */
export const ACL: Command = {
  name: "acl",
  summary: "print an access list for the broker",
  arguments: [
    { name: "broker", required: true, choices: ["mosquitto", "emqx", "hivemq", "vernemq"] },
  ],
  flags: ["by", "channel", ...CONNECTION_FLAGS],
  detail: [
    "The gateway knows a client by its topic alone, so the broker has to see to it that nobody asks or listens as another. The list lets a device publish its own requests and read its own responses, the gateway's user do the reverse for all, everyone read status and info, and nobody do anything else.",
    "What else the broker needs, such as users, is told in the comments of the list.",
  ],
  examples: [
    { line: "picoclaw acl mosquitto > picoclaw.acl", does: "for acl_file in mosquitto.conf" },
    { line: "picoclaw acl emqx --by client", does: "where devices are known by their client id" },
  ],
  exits: [78],
};
