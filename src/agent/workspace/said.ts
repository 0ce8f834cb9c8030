/** A text without comments, which are for people; "" where nothing but headings is left. */
export function said(text: string): string {
  const words = withoutComments(text).trim();
  return /^(?!#{1,6} ).*\S/m.test(words) ? words : "";
}

/** No pattern: one would look for the end of each comment that has none, again and again. */
function withoutComments(text: string): string {
  let kept = "";
  for (let from = 0; ;) {
    const open = text.indexOf("<!--", from);
    const end = open === -1 ? -1 : text.indexOf("-->", open);
    if (end === -1) return kept + text.slice(from);
    kept += text.slice(from, open);
    from = end + "-->".length;
  }
}
