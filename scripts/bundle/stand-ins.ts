import type { BunPlugin } from "bun";

interface StandIn {
  /** As it is imported. */
  readonly imported: RegExp;
  /** Of who imports it. */
  readonly importer?: RegExp;
  /** A CommonJS module. */
  readonly source: string;
}

const MQTT = /\/node_modules\/mqtt\//;

/**
 * What stands in the bundle for parts of packages that the program never uses there, so that no start loads
 * them. `test/bundle/stand-ins.test.ts` holds each against the part that it stands for.
 */
export const STAND_INS: Readonly<Record<string, StandIn>> = {
  // Without `DEBUG`, which the program removes, it prints nothing.
  debug: {
    imported: /^debug$/,
    source: `const silent = () => {};
      silent.extend = () => silent;
      silent.enabled = false;
      module.exports = () => silent;`,
  },
  // The runtime has streams of its own, and they are loaded anyway.
  "readable-stream": {
    imported: /^readable-stream$/,
    source: 'module.exports = require("node:stream");',
  },
  // They keep time in the background of a browser's tab.
  "worker-timers": {
    imported: /^worker-timers$/,
    importer: MQTT,
    source: "exports.setInterval = setInterval; exports.clearInterval = clearInterval;",
  },
  // It holds the aliases of topics that a client sends. Ours sends none.
  "lru-cache": {
    imported: /^lru-cache$/,
    importer: MQTT,
    source: "exports.LRUCache = class {};",
  },
  // Results of MCP servers are text here, and no schema of theirs, or of ours, becomes code.
  "mcp-shims": {
    imported: /^@modelcontextprotocol\/(?:client|server)\/_shims$/,
    source: `exports.CORS_IS_POSSIBLE = false;
      exports.DefaultJsonSchemaValidator = class {
        getValidator() { throw new Error("not in this bundle"); }
      };`,
  },
  // It opens sockets, by proxies too; we give each client a stream.
  "mqtt/connect": {
    imported: /^\.\/lib\/connect$/,
    importer: MQTT,
    source:
      'exports.default = exports.connectAsync = () => { throw new Error("not in this bundle"); };',
  },
};

const NAMESPACE = "stand-in";

/** Puts the stand-ins into a bundle. */
export const standIns: BunPlugin = {
  name: "stand-ins",
  setup(build) {
    for (const [name, { imported, importer, source }] of Object.entries(STAND_INS)) {
      build.onResolve({ filter: imported }, (found) =>
        importer === undefined || importer.test(found.importer)
          ? { path: name, namespace: NAMESPACE }
          : undefined,
      );
      build.onLoad({ filter: new RegExp(`^${name}$`), namespace: NAMESPACE }, () => ({
        contents: source,
        loader: "js",
      }));
    }
  },
};
