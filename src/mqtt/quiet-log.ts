import type { Log } from "../base/log.ts";

/** For connections whose losses are the caller's to tell. */
export function quietLog(log: Log): Log {
  const debug: Log["debug"] = (message, fields) => log.debug(message, fields);
  return { ...log, debug, info: debug, warn: debug };
}
