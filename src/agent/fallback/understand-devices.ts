import { HEALTH_FACTS, type HealthFact } from "../tools/home/health.ts";

/** A longer text is no question about devices. */
const MAX_CHARACTERS = 200;

/** Phrases about the devices of a home, by what they ask. */
const RULES: Readonly<Record<HealthFact, RegExp>> = {
  offline:
    /\b(?:offline|unavailable|unreachable|disconnected|dead|not (?:online|available|reachable|connected|responding|answering))\b/g,
  battery:
    /\b(?:(?:low|empty|weak|flat|dying|dead) (?:on )?batter(?:y|ies)|batter(?:y|ies)(?: (?:is|are|levels?|that|which|of|my|the|devices?|sensors?))* (?:low|empty|weak|flat|dead|dying)|(?:need|needs) (?:a )?new batter(?:y|ies)|batter(?:y|ies) (?:need|needs) (?:replacing|changing|to be (?:replaced|changed)))\b/g,
  link: /\b(?:(?:weak|bad|poor|low) (?:link|signal|connection|link quality|reception)s?|(?:link|signal)s?(?: quality)? (?:is |are )?(?:weak|bad|poor|low))\b/g,
};
const HEALTH =
  /\b(?:health(?: of)?(?: (?:all|the|my|our))* (?:devices|sensors|lamps|lights)|(?:devices|sensors) health|how are (?:all )?(?:the|my|our) (?:devices|sensors|lamps|lights)|are all (?:of )?(?:the |my |our )?(?:devices|sensors|lamps|lights) (?:online|ok|okay|fine|well|available|reachable|connected))\b/;
const ABOUT = /\b(?:devices?|sensors?|lamps?|lights?|bulbs?|switches|things|batter(?:y|ies))\b/;

/** Words that change nothing. */
const FILLER = new Set(
  `a all an and any anything are at be can check could currently device devices do does doing find give had has have
   hello hey hi home house i in is it its lamp lamps light lights bulb bulbs list me moment my now of on or our please
   right sensor sensors show switches tell thank thanks that the their them there these thing things to us what which
   who with you your need needs battery batteries`.split(/\s+/),
);

/** What a text asks about the devices of the home; nothing if it asks anything else. */
export function understandDevices(text: string): readonly HealthFact[] {
  if (text.length > MAX_CHARACTERS) return [];
  let rest = text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
  if (HEALTH.test(rest)) {
    return areFiller(rest.replace(HEALTH, " ")) ? HEALTH_FACTS : [];
  }
  if (!ABOUT.test(rest)) return [];
  // A dead battery is no device that is offline.
  const facts = new Set<HealthFact>();
  for (const fact of ["battery", "link", "offline"] as const) {
    const left = rest.replaceAll(RULES[fact], " ");
    if (left !== rest) facts.add(fact);
    rest = left;
  }
  return areFiller(rest) ? HEALTH_FACTS.filter((fact) => facts.has(fact)) : [];
}

function areFiller(text: string): boolean {
  return text.split(" ").every((word) => word === "" || FILLER.has(word));
}
