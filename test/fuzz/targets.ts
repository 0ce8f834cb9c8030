import type { Target } from "./target.ts";
import { ADDRESSES } from "./targets/addresses.ts";
import { DURATION, LINE } from "./targets/args.ts";
import { BROKER } from "./targets/broker.ts";
import { CONFIG } from "./targets/config.ts";
import { CUTS } from "./targets/cuts.ts";
import { DEVICE, GO_SESSION, STORE } from "./targets/files.ts";
import { FILTERS, PATTERNS } from "./targets/rights.ts";
import { COMMAND_POLICY } from "./targets/shell.ts";
import { STREAM } from "./targets/stream.ts";
import { FRAME, FRONTMATTER, REDACTOR, VISIBLE } from "./targets/texts.ts";
import { TOPICS } from "./targets/topics.ts";
import { WATCH } from "./targets/watch.ts";
import { HTML, PAGE, SEARCH } from "./targets/web.ts";
import { PARTS, REQUEST } from "./targets/wire.ts";

/** Everything that reads what comes from outside. */
export const TARGETS: readonly Target[] = [
  REQUEST,
  PARTS,
  CUTS,
  TOPICS,
  FILTERS,
  PATTERNS,
  WATCH,
  BROKER,
  CONFIG,
  STREAM,
  PAGE,
  HTML,
  SEARCH,
  ADDRESSES,
  COMMAND_POLICY,
  REDACTOR,
  FRAME,
  VISIBLE,
  FRONTMATTER,
  GO_SESSION,
  DEVICE,
  STORE,
  LINE,
  DURATION,
];
