/** MQTT 5 section 4.7.3: topic names and filters have 1 to 65,535 bytes of UTF-8. */
const MAX_BYTES = 65_535;

/**
 * What asks a broker for another kind of subscription instead of naming topics: shared ones (MQTT 5
 * section 4.8.2), and those that EMQX adds to them.
 */
const KIND_OF_SUBSCRIPTION = /^\$(?:share|queue|exclusive|delayed|oshare)(?:\/|$)/i;

/** Whether a text is a topic filter (MQTT 5 section 4.7.1), and one of topics alone. */
export function isTopicFilter(filter: string): boolean {
  if (!isTopicText(filter) || KIND_OF_SUBSCRIPTION.test(filter)) return false;
  const levels = filter.split("/");
  return levels.every((level, index) => {
    if (level === "#") return index === levels.length - 1;
    return level === "+" || !/[+#]/.test(level);
  });
}

function isTopicText(text: string): boolean {
  const isPlain = text !== "" && !text.includes("\0") && text.isWellFormed();
  return isPlain && Buffer.byteLength(text) <= MAX_BYTES;
}
