import type { Command } from "./command.ts";

export const SESSIONS: Command = {
  name: "sessions",
  summary: "list, show, export or delete conversations",
  arguments: [
    { name: "subcommand", required: true, choices: ["list", "show", "export", "delete"] },
    { name: "client" },
  ],
  flags: ["channel", "json"],
  detail: [
    "A conversation has the name of its client id. Conversations of the agent command have the name of the session, in the channel cli. If a client has conversations in several channels, --channel chooses one.",
    "list prints client, channel, turns, time of the last turn (UTC) and bytes, latest first. show prints the messages with their times; export prints them as Markdown. With --json both print JSON Lines, one message per line.",
    "delete does not ask and cannot be undone. It works while a gateway runs; a turn that is running then starts a new conversation.",
  ],
  examples: [
    { line: "picoclaw sessions list", does: "list the stored conversations" },
    { line: "picoclaw sessions show kitchen", does: "show the messages of this client" },
    { line: "picoclaw sessions export cli:default --json", does: "export for a script" },
    { line: "picoclaw sessions delete kitchen --channel mqtt", does: "delete for good" },
  ],
  exits: [78, 130, 143],
};

export const JOBS: Command = {
  name: "jobs",
  summary: "list, remove or run what the agent does for clients later",
  arguments: [
    { name: "subcommand", required: true, choices: ["list", "remove", "run"] },
    { name: "id" },
  ],
  flags: ["client", "channel", "json"],
  detail: [
    "list prints the id of each job, its client and channel, when it is due next (UTC), its schedule and its name. remove deletes a job for good. run makes it due now: a running gateway does it within 5 seconds, and goes on with its schedule after that.",
  ],
  examples: [{ line: "picoclaw jobs list --client kitchen", does: "list those of one client" }],
  exits: [78, 130, 143],
};

export const STORE: Command = {
  name: "store",
  summary: "move what a gateway has stored into a database that several share",
  arguments: [{ name: "subcommand", required: true, choices: ["migrate"] }],
  flags: ["from", "to", "json"],
  detail: [
    "migrate copies the conversations, counters and jobs of this home from SQLite into the PostgreSQL database that gateway.store names. It moves the requests that have no delivered answer. What the database has already stays as it is, so it can be run again.",
    "Stop the gateway of this home, and those of the database, before.",
  ],
  examples: [
    { line: "picoclaw store migrate --from sqlite --to postgres", does: "before the first start" },
  ],
  exits: [4, 5, 78, 130, 143],
};
