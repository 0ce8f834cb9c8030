/** A part of a URL as it is meant (RFC 3986, section 2.1); as it is written where its escapes are none. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
