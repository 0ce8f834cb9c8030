/** `*` stands for any run of characters and `?` for one; all else for itself. */
const RUN = Symbol("*");
const ONE = Symbol("?");
type Token = string | typeof RUN | typeof ONE;

/**
 * Whether a client id is one of those that the pattern means. Case counts, and so does every other
 * difference; characters are code points. What the id holds is never a pattern. Takes no more steps than
 * the product of both lengths, whatever they hold.
 */
export function matchesPattern(pattern: string, client: string): boolean {
  return takesAll(tokensOf(pattern), Array.from(client));
}

/** Whether every client id that the inner pattern means is meant by the outer one, as far as that is plain. */
export function coversPattern(outer: string, inner: string): boolean {
  return takesAll(tokensOf(outer), tokensOf(inner));
}

/** Whether a pattern asks nothing of an id but to be there. */
export function isEveryone(pattern: string): boolean {
  return /^\?*\*[*?]*$/.test(pattern);
}

function tokensOf(pattern: string): Token[] {
  return Array.from(pattern, (character) => {
    if (character === "*") return RUN;
    return character === "?" ? ONE : character;
  });
}

/** Each run takes as little as it can; what comes later can only be found sooner by that. */
function takesAll(tokens: readonly Token[], others: readonly Token[]): boolean {
  let [token, other] = [0, 0];
  /** Behind the last run, and what it has taken up to. */
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
