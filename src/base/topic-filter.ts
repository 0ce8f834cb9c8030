const MAX_BYTES = 65_535;

/** Prefixes of special subscriptions: shared ones (MQTT 5 section 4.8.2), and those that EMQX adds. */
const KIND_OF_SUBSCRIPTION = /^\$(?:share|queue|exclusive|delayed|oshare)(?:\/|$)/i;

/** Whether a text is a topic filter (MQTT 5 sections 4.7.1 and 4.7.3) without the prefix of a special subscription. */
export function isTopicFilter(filter: string): boolean {
  if (filter === "" || !isMqttText(filter) || KIND_OF_SUBSCRIPTION.test(filter)) return false;
  const levels = filter.split("/");
  return levels.every((level, index) => {
    if (level === "#") return index === levels.length - 1;
    return level === "+" || !/[+#]/.test(level);
  });
}

/** Whether a text is a valid topic name of a message (MQTT 5 section 3.3.2.1). */
export function isTopicName(topic: string): boolean {
  return topic !== "" && isMqttText(topic) && !/[+#]/.test(topic);
}

/** Whether a text can be sent in MQTT, in at most 65,535 bytes (MQTT 5 section 1.5.4). */
export function isMqttText(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed() && Buffer.byteLength(text) <= MAX_BYTES;
}

/** Whether a subscription to the filter receives messages of the topic. */
export function matchesFilter(filter: string, topic: string): boolean {
  return coversFilter(filter, topic);
}

/** Whether the outer filter matches every topic that the inner one matches. */
export function coversFilter(outer: string, inner: string): boolean {
  // `/#` also matches its parent level, but that topic would be empty, which no topic is.
  const [wide, narrow] = [outer.split("/"), (inner === "/#" ? "/+/#" : inner).split("/")];
  if (isSystem(narrow) && isWild(wide)) return false;
  // `+/#` is the only other filter that matches all topics.
  if (inner === "#") return outer === "#" || outer === "+/#";
  for (const [index, level] of wide.entries()) {
    if (level === "#") return true;
    const other = narrow[index];
    if (other === undefined || other === "#") return false;
    if (level !== "+" && level !== other) return false;
  }
  return wide.length === narrow.length;
}

/** Whether there is a topic that both filters match. */
export function filtersOverlap(one: string, other: string): boolean {
  const [left, right] = [one.split("/"), other.split("/")];
  if ((isSystem(left) && isWild(right)) || (isSystem(right) && isWild(left))) return false;
  const length = Math.max(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const [first, second] = [left[index], right[index]];
    if (first === "#" || second === "#") return true;
    if (!canBeEqual(first, second)) return false;
  }
  return true;
}

function canBeEqual(first: string | undefined, second: string | undefined): boolean {
  if (first === undefined || second === undefined) return false;
  return first === second || first === "+" || second === "+";
}

/** MQTT 5 section 4.7.2: a leading wildcard does not match topics that begin with `$`. */
function isSystem([first = ""]: readonly string[]): boolean {
  return first.startsWith("$");
}

function isWild([first]: readonly string[]): boolean {
  return first === "#" || first === "+";
}
