import type { Command } from "./command.ts";
import { CONNECTION_FLAGS } from "./flags.ts";

/** Commands about what lies beyond this gateway. */
export const AGENTS: Command = {
  name: "agents",
  summary: "list the agents at the broker",
  arguments: [],
  flags: ["watch", "for", "json", "channel", ...CONNECTION_FLAGS],
  detail: [
    "Reads the retained status and info of every agent under the prefix: name, online or offline, version, time of its start, machine, how many gateways serve it together, and how many others serve the same name. What an access list hides is not listed.",
    "It listens until the broker has sent nothing for half a second, ten seconds at most. With --for it listens until nothing has come for that time, twice that time at most, and at least ten seconds if agents change all the time. With --watch it prints each agent again when something changes, until Ctrl-C or for the time of --for.",
  ],
  examples: [
    { line: "picoclaw agents", does: "who is there" },
    { line: "picoclaw agents --watch --json", does: "who comes and goes, for a script" },
  ],
  exits: [4, 5, 78, 130, 143],
};

export const MCP: Command = {
  name: "mcp",
  summary: "list, test, log in to and log out of the MCP servers, whose tools the agent has",
  arguments: [
    { name: "subcommand", required: true, choices: ["list", "test", "login", "logout"] },
    { name: "server" },
  ],
  flags: ["json"],
  detail: [
    "list prints the servers of tools.mcp.servers that are enabled: name, type, and program or address. It connects to none.",
    "test connects to each, or to the one that is named, reads its tools, and ends the connection. It starts the programs of servers of type stdio. With a name it prints each tool as profiles name it, and takes the tools as they are from now on, for servers with pin. It ends with 1 if a server is not connected.",
    "login prints an address, where a person allows what a server with auth wants, and keeps the tokens in the folder of the conversations for the gateway; then it does what test does. The browser comes back to this machine; if it runs on another one, its last address can be pasted, within ten minutes.",
    "logout forgets the tokens of a login, and has them revoked at the authorization server, if that offers it. A gateway that runs stops using them. It ends with 1 if they are forgotten here, and the authorization server refuses.",
  ],
  examples: [
    { line: "picoclaw mcp list", does: "what is configured" },
    { line: "picoclaw mcp test", does: "whether each server works, and how many tools it has" },
    { line: "picoclaw mcp test files", does: "the tools of one server, with their descriptions" },
    { line: "picoclaw mcp login notes", does: "allow the server notes in a browser" },
    { line: "picoclaw mcp logout notes", does: "forget the tokens for it, here and there" },
  ],
  exits: [78, 130, 143],
};
