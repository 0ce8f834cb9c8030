import manifest from "../../package.json" with { type: "json" };

/** This program's version (semver), as released. */
export const VERSION: string = manifest.version;
