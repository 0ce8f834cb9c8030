import { appendFileSync, readFileSync } from "node:fs";

/**
 * Preloaded into Bun: writes a line with the bytes and the path of each module that the program loads into
 * the file that TRACE_MODULES names, before it is run.
 */
const file = process.env["TRACE_MODULES"] ?? "";

Bun.plugin({
  name: "trace modules",
  setup(build) {
    build.onLoad({ filter: /\.js$/ }, ({ path }) => {
      const contents = readFileSync(path, "utf8");
      appendFileSync(file, `${Buffer.byteLength(contents)} ${path}\n`);
      return { contents, loader: "js" };
    });
  },
});
