/** Clients that are other agents, which ask by A2A, have names that begin with this. */
export const A2A_CLIENTS = "a2a:";
/** Those of them whose names are only what they say. */
export const UNVERIFIED_CLIENTS = `${A2A_CLIENTS}unverified:`;

/** `*` matches any run of characters, `?` matches one; everything else matches itself. */
const RUN = Symbol("*");
const ONE = Symbol("?");
type Token = string | typeof RUN | typeof ONE;

/**
 * Whether the pattern matches a client id. Case-sensitive; characters are code points. `*` and `?` in the id
 * have no special meaning. Takes at most as many steps as the product of both lengths.
 */
export function matchesPattern(pattern: string, client: string): boolean {
  return takesAll(tokensOf(pattern), Array.from(client));
}

/** Whether the outer pattern matches every client id that the inner one matches; false if in doubt. */
export function coversPattern(outer: string, inner: string): boolean {
  return takesAll(tokensOf(outer), tokensOf(inner));
}

/** Whether a name is a pattern, and not that of one client alone. */
export function isPattern(name: string): boolean {
  return /[*?]/.test(name);
}

/** Whether a pattern matches every client id, or every one of a least length. */
export function isEveryone(pattern: string): boolean {
  return /^\?*\*[*?]*$/.test(pattern);
}

function tokensOf(pattern: string): Token[] {
  return Array.from(pattern, (character) => {
    if (character === "*") return RUN;
    return character === "?" ? ONE : character;
  });
}

/** Each `*` takes as few characters as possible, so the rest is found as early as possible. */
function takesAll(tokens: readonly Token[], others: readonly Token[]): boolean {
  let [token, other] = [0, 0];
  /** The token after the last `*`, and the index up to which that `*` has matched. */
  let [behind, taken] = [-1, 0];
  while (other < others.length) {
    if (tokens[token] === RUN) {
      token += 1;
      [behind, taken] = [token, other];
    } else if (takesOne(tokens[token], others[other])) {
      token += 1;
      other += 1;
    } else if (behind === -1) {
      return false;
    } else {
      taken += 1;
      [token, other] = [behind, taken];
    }
  }
  return tokens.slice(token).every((rest) => rest === RUN);
}

function takesOne(token: Token | undefined, other: Token | undefined): boolean {
  if (token === undefined || other === undefined || other === RUN) return false;
  return token === ONE || token === other;
}
