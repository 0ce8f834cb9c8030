import { html } from "./html.js";

/**
 * The parts of the pages, for the gateway and for the browser alike. Each takes data and returns elements; every text
 * in them is escaped by whoever draws them.
 *
 * @import { GatewayStatus, StatusChannel, StatusMinute, StatusRequest } from "../../statistics/contract.ts"
 * @import { PageCheck, PageConversation, PageMessage, PageSetting } from "../contract.ts"
 */

/** @param {GatewayStatus} status */
export function health(status) {
  return status.state === "ready"
    ? html`<span class="state good">Serving</span>`
    : html`<span class="state bad">Not serving: ${status.reason}</span>`;
}

/** @param {GatewayStatus} status */
export function lists(status) {
  return html`
    <section>
      <h2>Recent requests</h2>
      ${status.recent.length === 0 ? nothingYet(status) : requests(status.recent.slice(0, ROWS))}
    </section>
    <div class="two">
      <section>
        <h2>Who is talking today</h2>
        ${status.clients.length + status.recent.length === 0 ? html`<p class="quiet">Nobody yet.</p>` : clients(status)}
      </section>
      <section>
        <h2>Channels</h2>
        ${status.channels.map(channel)}
      </section>
    </div>
  `;
}

/** Requests that are listed. */
const ROWS = 25;
/** Clients that are listed. */
const CLIENTS = 20;

/** @param {GatewayStatus} status */
export function figures({ uptime_s: uptime, queue, usage, agent, memory, minutes, version }) {
  const hour = lastHour(minutes);
  const [all, failed] = [total(hour, "requests"), total(hour, "failed")];
  const { tokens: used, cost } = usage.gateway;
  return html`<dl class="figures">
      ${figure("Last hour", count(all), all === 0 ? "no request" : `${count(failed)} failed`)}
      ${figure("First part after", ms(mean(hour, "first_ms")), "mean of the hour")}
      ${figure("Answer after", ms(mean(hour, "answer_ms")), "mean of the hour")}
      <div class="figure">
        <dt>Slots in use</dt>
        <dd>
          ${queue.running} <small>of ${queue.slots}</small>
          <meter
            min="0"
            max=${queue.slots}
            value=${queue.running}
            aria-label="Slots in use"
          ></meter>
        </dd>
        <dd class="note">${count(queue.waiting)} waiting</dd>
      </div>
      ${figure("Tokens today", tokens(used), `cost ${money(cost)}`)}
      ${figure("Up", duration(uptime * 1000), bytes(memory.resident_bytes))}
    </dl>
    <p class="quiet about">
      ${`Version ${version}, ${agent.model === undefined ? "no model: the offline agent answers" : "model "}`}
      ${agent.model !== undefined && html`<code>${agent.model}</code>`}
    </p>`;
}

/** @param {string} name @param {string} value @param {string} note */
function figure(name, value, note) {
  return html`<div class="figure">
    <dt>${name}</dt>
    <dd>${value}</dd>
    <dd class="note">${note}</dd>
  </div>`;
}

/** Where devices publish. @param {StatusChannel} channel */
function topicOf({ topic_prefix: prefix, agent_id: agent }) {
  return `${prefix}/${agent}/<client>/request`;
}

/** @param {GatewayStatus} status */
function nothingYet({ channels: [first] }) {
  return html`<p class="quiet">
    None since the start.${" "}
    ${first && html`A device asks by publishing to <code>${topicOf(first)}</code>.`}
  </p>`;
}

/** @param {readonly StatusRequest[]} all */
function requests(all) {
  return table("Recent requests", [
    html`<thead>
      <tr>
        <th>Time</th>
        <th>Client</th>
        <th>Outcome</th>
        <th class="number wide">Queued</th>
        <th class="number wide">First part</th>
        <th class="number">Answer</th>
        <th class="wide">Tools</th>
        <th class="number wide">Tokens</th>
        <th class="number wide">Cost</th>
      </tr>
    </thead>`,
    html`<tbody>
      ${all.flatMap((each) => [request(each), ...content(each)])}
    </tbody>`,
  ]);
}

/** @param {StatusRequest} each */
function request(each) {
  const { number, at, client, outcome, message: why, tokens_in: sent, tokens_out: got } = each;
  return html`<tr key=${number}>
    <td>${time(at)}</td>
    <td class="name">${client}</td>
    <td>
      <span class=${outcome === "ok" ? "outcome" : "outcome bad"}>${outcome}</span>
      ${why !== undefined && html`<span class="quiet wide">: ${why}</span>`}
    </td>
    <td class="number wide">${ms(each.queued_ms)}</td>
    <td class="number wide">${ms(each.first_ms)}</td>
    <td class="number">${ms(each.ms)}</td>
    <td class="wide">${toolsOf(each.tools ?? [])}</td>
    <td class="number wide">${sent === undefined ? "" : tokens(sent + (got ?? 0))}</td>
    <td class="number wide">${each.cost === undefined ? "" : money(each.cost)}</td>
  </tr>`;
}

/** @param {StatusRequest} each */
function content({ number, question, answer }) {
  if (question === undefined && answer === undefined) return [];
  return [
    html`<tr class="content" key=${`text ${number}`}>
      <td></td>
      <td colspan="8">
        <p>${question}</p>
        <p class="quiet">${answer}</p>
      </td>
    </tr>`,
  ];
}

/** @param {NonNullable<StatusRequest["tools"]>} calls */
function toolsOf(calls) {
  const counts = new Map();
  for (const { name, verdict } of calls) {
    const text = verdict === "ok" ? name : `${name} (${verdict})`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([name, times]) => (times === 1 ? name : `${name} ×${times}`)).join(", ");
}

/** Who asked last comes first: of the last requests, and those who used most today. @param {GatewayStatus} status */
function clients({ clients: heaviest, recent, since, uptime_s: uptime }) {
  const now = Date.parse(since) + uptime * 1000;
  const rows = new Map();
  for (const { channel: name, client, at } of recent) {
    const key = `${name}\n${client}`;
    if (!rows.has(key)) rows.set(key, { key, client, last: Date.parse(at) });
  }
  for (const used of heaviest) {
    const key = `${used.channel}\n${used.client}`;
    rows.set(key, { key, last: 0, ...rows.get(key), ...used });
  }
  const all = [...rows.values()].toSorted((one, other) => other.last - one.last).slice(0, CLIENTS);
  return table("Who is talking today", [
    html`<thead>
      <tr>
        <th>Client</th>
        <th>Last</th>
        <th class="number">Requests</th>
        <th class="number">Tokens</th>
        <th class="number wide">Cost</th>
      </tr>
    </thead>`,
    html`<tbody>
      ${all.map(
        ({ key, client, last, requests: asked, tokens: used, cost }) =>
          html`<tr key=${key}>
            <td class="name">${client}</td>
            <td class="age">${last === 0 ? "" : ago(now - last)}</td>
            <td class="number">${asked === undefined ? "" : count(asked)}</td>
            <td class="number">${used === undefined ? "" : tokens(used)}</td>
            <td class="number wide">${cost === undefined ? "" : money(cost)}</td>
          </tr>`,
      )}
    </tbody>`,
  ]);
}

/** @param {StatusChannel} each */
function channel(each) {
  return html`<dl class="channel" key=${each.name}>
    <dt>${each.name}</dt>
    <dd>
      ${
        each.connected
          ? html`<span class="state good">Subscribed</span>`
          : html`<span class="state bad">${each.problem ?? "Not subscribed"}</span>`
      }
    </dd>
    <dt>Broker</dt>
    <dd><code>${each.broker.join(", ")}</code>, QoS ${each.qos}</dd>
    <dt>Requests</dt>
    <dd><code>${topicOf(each)}</code></dd>
    ${troubles(each)}
  </dl>`;
}

/** @param {StatusChannel} each */
function troubles({ sessions_lost: lost, messages_dropped: dropped, other_gateways: others }) {
  return [
    lost > 0 &&
      html`<dt class="bad">Sessions lost</dt>
        <dd>${count(lost)}</dd>`,
    dropped > 0 &&
      html`<dt class="bad">Dropped by the broker</dt>
        <dd>${count(dropped)}</dd>`,
    others > 0 &&
      html`<dt class="bad">Other gateways</dt>
        <dd>${count(others)} answer the same requests</dd>`,
  ];
}

/** @param {readonly PageConversation[]} all @param {number} now */
export function conversations(all, now) {
  if (all.length === 0) return html`<p class="quiet">There is none yet.</p>`;
  return table("Conversations", [
    html`<thead>
      <tr>
        <th>Client</th>
        <th>Channel</th>
        <th class="number">Turns</th>
        <th>Last used</th>
      </tr>
    </thead>`,
    html`<tbody>
      ${all.map(
        (each) =>
          html`<tr>
            <td class="name">
              <a href=${`conversation?name=${encodeURIComponent(each.name)}`}>${each.client}</a>
            </td>
            <td>${each.channel}</td>
            <td class="number">${count(each.turns)}</td>
            <td class="age">${ago(now - each.lastAt)}</td>
          </tr>`,
      )}
    </tbody>`,
  ]);
}

/** @param {readonly PageMessage[]} all */
export function messages(all) {
  return html`<ol class="messages">
    ${all.map(message)}
  </ol>`;
}

const SPEAKERS = {
  client: "Client",
  agent: "Agent",
  summary: "Summary",
  call: "Call of",
  tool: "Result of",
};

/** @param {PageMessage} each */
function message({ from, tool, text, at }) {
  const isOpen = from === "client" || from === "agent";
  return html`<li class=${from}>
    <p class="who">${SPEAKERS[from]} ${tool} ${at !== undefined && date(at)}</p>
    ${
      isOpen
        ? html`<p class="text">${text}</p>`
        : html`<details>
            <summary>${text.length > 80 ? `${text.slice(0, 80)}…` : text}</summary>
            <p class="text">${text}</p>
          </details>`
    }
  </li>`;
}

const RESULTS = { ok: "Good", warn: "Warning", fail: "Failed", skip: "Skipped" };

/** @param {readonly PageCheck[]} all */
export function checks(all) {
  const worst = ["fail", "warn", "ok", "skip"];
  const sorted = all.toSorted((a, b) => worst.indexOf(a.result) - worst.indexOf(b.result));
  return html`<ul class="checks">
    ${sorted.map(
      ({ result, message: text, remedy }) =>
        html`<li>
          <span class=${`result ${result}`}>${RESULTS[result]}</span>
          <div>
            <p>${text}</p>
            ${remedy !== undefined && html`<p class="quiet">Try: <code>${remedy}</code></p>`}
          </div>
        </li>`,
    )}
  </ul>`;
}

/** @param {readonly PageSetting[]} all */
export function settings(all) {
  return table("Settings", [
    html`<thead>
      <tr>
        <th>Key</th>
        <th>Value</th>
        <th>Origin</th>
      </tr>
    </thead>`,
    html`<tbody>
      ${all.map(
        ({ key, value, origin }) =>
          html`<tr>
            <td class="key"><code>${key}</code></td>
            <td class="value"><code>${value}</code></td>
            <td class=${origin === "default" ? "quiet" : ""}>${origin}</td>
          </tr>`,
      )}
    </tbody>`,
  ]);
}

/** Wide tables scroll in a region of their own, with the keyboard too. @param {string} name @param {unknown[]} rows */
function table(name, rows) {
  return html`<div class="scroll" role="region" tabindex="0" aria-label=${name}>
    <table>
      ${rows}
    </table>
  </div>`;
}

/** The minutes of the last hour; those without a request are left out. @param {readonly StatusMinute[]} minutes */
export function lastHour(minutes) {
  return minutes.filter(({ at }) => Date.now() - Date.parse(at) < 3_600_000);
}

/** @param {readonly StatusMinute[]} minutes @param {"requests" | "failed"} key */
function total(minutes, key) {
  return minutes.reduce((sum, minute) => sum + minute[key], 0);
}

/** @param {readonly StatusMinute[]} minutes @param {"first_ms" | "answer_ms"} key */
export function mean(minutes, key) {
  const heard = minutes.filter((minute) => minute[key] !== undefined);
  const answers = total(heard, "requests");
  if (answers === 0) return undefined;
  return heard.reduce((sum, minute) => sum + (minute[key] ?? 0) * minute.requests, 0) / answers;
}

/** @param {string} at */
function time(at) {
  const when = new Date(at);
  return html`<time datetime=${when.toISOString()}
    >${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}</time
  >`;
}

/** @param {number} at */
function date(at) {
  const when = new Date(at);
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  return html`<time datetime=${when.toISOString()}
    >${day} ${two(when.getHours())}:${two(when.getMinutes())}</time
  >`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}

/** @param {number} number */
function count(number) {
  return String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");
}

/** @param {number} number */
function tokens(number) {
  if (number < 10_000) return count(number);
  return number < 1e6 ? `${Math.round(number / 1000)}k` : `${(number / 1e6).toFixed(1)}M`;
}

/** Without a currency: prices of the configuration have none. @param {number} cost */
function money(cost) {
  if (cost === 0) return "0";
  return cost < 0.01 ? cost.toFixed(5) : cost.toFixed(2);
}

/** @param {number | undefined} value */
export function ms(value) {
  if (value === undefined) return "–";
  if (value < 1000) return `${Math.round(value)} ms`;
  return value < 60_000 ? `${(value / 1000).toFixed(1)} s` : duration(value);
}

/** @param {number} value */
function ago(value) {
  return value < 1000 ? "now" : `${duration(value)} ago`;
}

/** The two largest units. @param {number} value */
function duration(value) {
  const seconds = Math.max(0, Math.floor(value / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 24
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param {number} value */
function bytes(value) {
  return `${Math.round(value / 2 ** 20)} MB`;
}
