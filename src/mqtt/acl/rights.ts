import type { MqttSettings } from "../../config/contract.ts";
import { HOME_ASSISTANT } from "../../config/keys/channel.ts";
import { announcementFilters } from "../home-devices/discovery.ts";
import { discoveryTopic, HOME_ASSISTANT_STATUS } from "../protocol/discovery.ts";
import {
  a2aAddressOf,
  a2aReplies,
  a2aTopic,
  mcpAddressOf,
  mcpClientFilters,
  mcpServerTopic,
} from "../protocol/topics.ts";

/** One right at the broker. */
export interface Grant {
  readonly access: "read" | "write" | "readwrite";
  /** A topic filter. */
  readonly topic: string;
  /** Which messages may be published; both if left out. Only HiveMQ tells them apart. */
  readonly retain?: "RETAINED" | "NOT_RETAINED";
  /** No narrower filter may be subscribed to. Only EMQX tells them apart. */
  readonly exact?: true;
}

/** All rights of a configuration. */
export interface Rights {
  /** The gateway's, those that every gateway needs first. */
  readonly gateway: readonly Pick<Part, "about" | "gateway">[];
  readonly clients: (own: string) => readonly Grant[];
  readonly everyone: readonly Grant[];
  readonly users: readonly Users[];
}

/** The rights of one part of the program. */
interface Part {
  /** The settings that turn it on; absent for what every gateway needs. */
  readonly about?: string;
  readonly gateway: readonly Grant[];
  /** Of every client, for the topics with its name, which the broker writes in place of `own`. */
  readonly clients?: (own: string) => readonly Grant[];
  /** Of everyone. */
  readonly everyone?: readonly Grant[];
  readonly users?: Users;
}

/** Users with rights that not every client has. */
export interface Users {
  /** The role that HiveMQ gives them. */
  readonly role: string;
  /** Who has it. */
  readonly whose: string;
  readonly names: readonly string[];
  readonly grants: (own: string) => readonly Grant[];
  /** Why they are only a comment, which somebody may take the marks from. */
  readonly template?: string;
}

/** The topics that tools use, as far as the profiles of clients let them, and those that are watched. */
export interface ToolTopics {
  /** Whether the announcements of devices are read. */
  readonly findsDevices: boolean;
  readonly read: readonly string[];
  readonly publish: readonly string[];
  /** Whether what is published may be retained. */
  readonly retains: boolean;
  readonly watched: readonly string[];
  /** The levels of each agent that is asked, and of the client as which; `+` is any. */
  readonly asked: readonly string[];
  /** Users that profiles name as A2A requesters. */
  readonly requesters: readonly string[];
  /** Whether some clients may read and publish everything. */
  readonly isUnbounded: boolean;
}

/** No tool uses a topic, and none is watched. */
export const NO_TOOL_TOPICS: ToolTopics = {
  findsDevices: false,
  read: [],
  publish: [],
  retains: false,
  watched: [],
  asked: [],
  requesters: [],
  isUnbounded: false,
};

export function rightsOf(settings: MqttSettings, gateway: string, tools: ToolTopics): Rights {
  const parts = partsOf(settings, gateway, tools);
  return {
    gateway: parts.filter((part) => part.gateway.length > 0),
    clients: (own) => parts.flatMap(({ clients }) => clients?.(own) ?? []),
    everyone: parts.flatMap(({ everyone = [] }) => everyone),
    users: parts.flatMap(({ users = [] }) => users),
  };
}

function partsOf(settings: MqttSettings, gateway: string, tools: ToolTopics): readonly Part[] {
  const root = `${settings.topic_prefix}/${settings.agent_id}`;
  return [
    channelPart(root),
    ...(settings.homeassistant.enabled ? [homeAssistantPart(settings, root)] : []),
    ...devicesPart(settings, tools),
    ...watchPart(tools),
    ...agentsPart(settings, tools),
    ...(settings.a2a.enabled ? [a2aPart(settings, tools)] : []),
    ...(settings.mcp.enabled ? [mcpPart(settings)] : []),
    debugPart(root, gateway),
  ];
}

function channelPart(root: string): Part {
  return {
    gateway: [
      { ...read(`${root}/+/request`), exact: true },
      { ...write(`${root}/+/response`), retain: "NOT_RETAINED" },
      { ...write(`${root}/status`), retain: "RETAINED" },
      write(`${root}/info`),
    ],
    clients: (own) => asking(`${root}/${own}`),
    everyone: [read(`${root}/status`), read(`${root}/info`)],
  };
}

function asking(client: string): readonly Grant[] {
  return [{ ...write(`${client}/request`), retain: "NOT_RETAINED" }, read(`${client}/response`)];
}

/** Home Assistant asks as the client of that name, and may use all topics of its prefix. */
function homeAssistantPart(settings: MqttSettings, root: string): Part {
  return {
    about: "homeassistant",
    gateway: [
      { ...write(discoveryTopic(settings)), retain: "RETAINED" },
      read(HOME_ASSISTANT_STATUS),
    ],
    users: {
      role: "picoclaw-home-assistant",
      whose: "Home Assistant's user",
      names: [HOME_ASSISTANT],
      grants: () => [
        ...asking(`${root}/${HOME_ASSISTANT}`),
        write(HOME_ASSISTANT_STATUS),
        { access: "readwrite", topic: `${settings.homeassistant.discovery_prefix}/#` },
      ],
    },
  };
}

/** What devices report and take is known only from what they announce: the profiles say how far it goes. */
function devicesPart(
  { homeassistant }: MqttSettings,
  { findsDevices, read: some, publish, retains }: ToolTopics,
): readonly Part[] {
  const announced = findsDevices ? announcementFilters(homeassistant.discovery_prefix) : [];
  const retain = retains ? {} : ({ retain: "NOT_RETAINED" } as const);
  const gateway = [
    ...[...announced, ...some].map(read),
    ...publish.map((topic) => ({ ...write(topic), ...retain })),
  ];
  const about = "tools.profiles: mqtt, devices, set_device";
  return gateway.length === 0 ? [] : [{ about, gateway }];
}

function watchPart({ watched }: ToolTopics): readonly Part[] {
  return watched.length === 0 ? [] : [{ about: "tools.mqtt.watch", gateway: watched.map(read) }];
}

/** The tool lists agents as well, by a subscription for all of them. */
function agentsPart({ topic_prefix }: MqttSettings, { asked }: ToolTopics): readonly Part[] {
  if (asked.length === 0) return [];
  const depths = new Set([1, ...asked.map((levels) => levels.split("/").length - 1)]);
  const listed = [...depths].flatMap((depth) => {
    const agents = `${topic_prefix}/${Array.from({ length: depth }, () => "+").join("/")}`;
    return [read(`${agents}/status`), read(`${agents}/info`)];
  });
  const gateway = [...listed, ...asked.flatMap((levels) => asking(`${topic_prefix}/${levels}`))];
  return [{ about: "tools.profiles: ask_agent", gateway }];
}

function a2aPart(settings: MqttSettings, { requesters }: ToolTopics): Part {
  const address = a2aAddressOf(settings);
  const card = a2aTopic("discovery", address);
  const requests = a2aTopic("request", address);
  const unnamed =
    "For each agent that may ask by A2A: remove the marks, and write its user, who is also the requester, in place of REQUESTER.";
  return {
    about: "a2a",
    gateway: [
      { ...write(card), retain: "RETAINED" },
      // To notice that somebody has replaced it.
      read(card),
      read(requests),
      { ...write(a2aReplies(address, "#")), retain: "NOT_RETAINED" },
    ],
    users: {
      role: "picoclaw-a2a-requester",
      whose: "the user of each agent that may ask by A2A",
      names: requesters.length > 0 ? requesters : ["REQUESTER"],
      grants: (own) => [
        { ...write(requests), retain: "NOT_RETAINED" },
        read(a2aReplies(address, `${own}/#`)),
        // The cards of all agents of the unit: that is how requesters look for one.
        read(card.replace(/[^/]+$/, "+")),
      ],
      ...(requesters.length === 0 && { template: unnamed }),
    },
  };
}

/** A client is one of the channel: it may use what the topics name it for, and find the server. */
function mcpPart(settings: MqttSettings): Part {
  const address = mcpAddressOf(settings);
  const control = mcpServerTopic("control", address);
  const rpc = (client: string): Grant => ({
    access: "readwrite",
    topic: mcpClientFilters(address, client).rpc,
    retain: "NOT_RETAINED",
  });
  return {
    about: "mcp",
    gateway: [
      { ...write(mcpServerTopic("presence", address)), retain: "RETAINED" },
      read(control),
      read(mcpClientFilters(address, "+").presence),
      rpc("+"),
    ],
    clients: (own) => [
      { ...write(control), retain: "NOT_RETAINED" },
      { ...write(mcpClientFilters(address, own).presence), retain: "NOT_RETAINED" },
      rpc(own),
      read("$mcp-server/presence/#"),
    ],
  };
}

function debugPart(root: string, gateway: string): Part {
  return {
    gateway: [],
    users: {
      role: "picoclaw-debug",
      whose: "a user for picoclaw send and listen as every client",
      names: [`${gateway}-debug`],
      grants: () => [{ ...write(`${root}/+/request`), retain: "NOT_RETAINED" }, read(`${root}/#`)],
      template:
        "To debug with picoclaw send and listen as every client, add this user: remove the marks of these lines.",
    },
  };
}

function read(topic: string): Grant {
  return { access: "read", topic };
}

function write(topic: string): Grant {
  return { access: "write", topic };
}
