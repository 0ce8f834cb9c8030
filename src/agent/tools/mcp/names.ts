/** Characters of a tool's name at OpenAI and compatible servers. */
const MAX_NAME = 64;

/** The name of a server's tool in profiles. Names of servers hold no dot. */
export function permissionName(server: string, tool: string): string {
  return `${server}.${tool}`;
}

/**
 * The name of a server's tool for models, as in Go PicoClaw: `mcp_<server>_<tool>` in lower case. A hash of both
 * names follows where that changes more than case, is too long, or if `isHashed`.
 */
export function modelName(server: string, tool: string, isHashed = false): string {
  const [first, second] = [plain(server), plain(tool)];
  const full = `mcp_${first}_${second}`;
  const isSame = first === server.toLowerCase() && second === tool.toLowerCase();
  if (isSame && full.length <= MAX_NAME && !isHashed) return full;
  const hash = fnv1a(`${server}\0${tool}`).toString(16).padStart(8, "0");
  return `${full.slice(0, MAX_NAME - hash.length - 1).replace(/_+$/, "")}_${hash}`;
}

/** Whether a tool of the server could have the plain name of another server's tool: `a` with `b_c`, `a_b` with `c`. */
export function isAmbiguous(server: string, servers: readonly string[]): boolean {
  const own = `${plain(server)}_`;
  return servers.some((other) => other !== server && `${plain(other)}_`.startsWith(own));
}

/** Whether a list of names has a tool: by its name in profiles, by `server.*`, or by its name for models. */
export function isListed(names: ReadonlySet<string>, tool: string): boolean {
  if (names.has(tool)) return true;
  const dot = tool.indexOf(".");
  if (dot < 1) return false;
  const server = tool.slice(0, dot);
  return names.has(`${server}.*`) || names.has(modelName(server, tool.slice(dot + 1)));
}

function plain(name: string): string {
  const text = name.toLowerCase().replaceAll(/[^a-z0-9_-]/g, "_");
  return text.replaceAll(/_+/g, "_").replaceAll(/^_|_$/g, "").slice(0, MAX_NAME) || "unnamed";
}

/** The 32-bit hash FNV-1a of the text in UTF-8. */
function fnv1a(text: string): number {
  let hash = 0x81_1c_9d_c5;
  for (const byte of new TextEncoder().encode(text)) {
    hash = Math.imul(hash ^ byte, 0x01_00_01_93) >>> 0;
  }
  return hash;
}
