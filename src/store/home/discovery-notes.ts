import type { Log } from "../../base/log.ts";
import { readRows, writeRows } from "./channel-rows.ts";

/** The topic of a channel's device in Home Assistant. */
export interface DiscoveryNotes {
  /** Undefined if there is none, or if it cannot be read. */
  read(): string | undefined;
  /** Replaces it; undefined removes it. Never throws: without the note the device stays until somebody removes it. */
  write(topic: string | undefined): void;
}

/** Those of all channels, by their names, in a small file of JSON. */
export function openDiscoveryNotes(file: string, log: Log): (channel: string) => DiscoveryNotes {
  return (channel) => ({
    read() {
      const { [channel]: topic } = readRows(file);
      return typeof topic === "string" ? topic : undefined;
    },
    write(topic) {
      const { [channel]: former, ...others } = readRows(file);
      if (former === topic) return;
      const rows = topic === undefined ? others : { ...others, [channel]: topic };
      writeRows(file, rows, "the device in Home Assistant", log);
    },
  });
}
