export interface Verdict {
  readonly ok: boolean;
  readonly lines: readonly string[];
}

/** Statuses of a registry that does not know the question, or has been told not to answer it. */
const NO_AUDITS = /^(?:404|405|410|501)\b/;
const GRAVE: ReadonlySet<string> = new Set(["high", "critical"]);

/** What a report of `npm audit --json` comes to; what is no report is never taken for a clean one. */
export function verdictOf(report: string): Verdict {
  const parsed = objectOf(parsedJson(report));
  if (typeof parsed["message"] === "string") return unanswered(parsed["message"]);
  const { summary } = objectOf(parsed["error"]);
  if (typeof summary === "string") return unanswered(summary);
  if (parsed["auditReportVersion"] !== 2 || typeof parsed["vulnerabilities"] !== "object") {
    return { ok: false, lines: ["npm gave no report that is known here; try npm audit by hand"] };
  }
  const found = Object.entries(objectOf(parsed["vulnerabilities"])).map(([name, value]) => {
    const { severity, via, range } = objectOf(value);
    const titles = (Array.isArray(via) ? via : []).map((one: unknown) => titleOf(one));
    const line = `${String(severity)}: ${name} ${String(range)}: ${titles.join("; ")}`;
    return { isGrave: GRAVE.has(String(severity)), line };
  });
  const grave = found.filter(({ isGrave }) => isGrave).length;
  const total = `${grave} high or critical, ${found.length - grave} lesser advisories`;
  return { ok: grave === 0, lines: [...found.map(({ line }) => line), total] };
}

function unanswered(message: string): Verdict {
  if (!NO_AUDITS.test(message)) return { ok: false, lines: [`no audit: ${message}`] };
  const status = message.slice(0, 3);
  return {
    ok: true,
    lines: [
      `the registry offers no audits (HTTP ${status}): nothing was checked, which says nothing about the packages`,
    ],
  };
}

/** An advisory, or the name of the package through which there is one. */
function titleOf(via: unknown): string {
  if (typeof via === "string") return `through ${via}`;
  const { title, url } = objectOf(via);
  return `${String(title)} (${String(url)})`;
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}
