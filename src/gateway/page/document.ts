import type { GatewayStatus } from "../statistics/contract.ts";
import type { Access } from "./access.ts";
import { html, type View } from "./browser/html.js";
import { figures, health, lists } from "./browser/views.js";
import { escapeHtml, renderToString } from "./render.ts";

/** The titles of the pages in the navigation by the last part of their address; that of the first one is empty. */
export const TITLES = {
  "": "Overview",
  ask: "Ask",
  conversations: "Conversations",
  checks: "Checks",
  settings: "Settings",
} as const;

export type PageName = keyof typeof TITLES;

export interface DocumentOptions {
  /** Which of the pages in the navigation it belongs to. */
  readonly page?: PageName;
  readonly title: string;
  readonly status: GatewayStatus;
  readonly access: Access;
}

/** One whole page. */
export function documentOf(options: DocumentOptions, content: View): string {
  return `${startOf(options)}${renderToString(content)}${endOf(options)}`;
}

/** The page up to its content, so that the rest can follow piece by piece. */
export function startOf({ page, title, status, access }: DocumentOptions): string {
  const ids = access === "none" ? [] : status.channels.map(({ agent_id: agent }) => agent);
  const agents = [...new Set(ids)].join(", ");
  const head = html`
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>${title} – picoclaw${agents === "" ? "" : ` ${agents}`}</title>
    <link rel="icon" href="icon.svg" type="image/svg+xml" />
    <link rel="stylesheet" href="page.css" />
    ${(page === "" || page === "ask") && html`<script type="module" src="page.js"></script>`}
  `;
  const top = html`
    <a class="jump" href="#content">Skip to the content</a>
    <header>
      <p class="title">picoclaw <small>${agents}</small></p>
      <p class="now" id="state">${access !== "none" && health(status)}</p>
      ${access !== "none" && navigation(page)}
    </header>
  `;
  return `<!doctype html><html lang="en"><head>${renderToString(head)}</head><body>${renderToString(top)}<main id="content">`;
}

export function endOf({ page, access }: DocumentOptions): string {
  const out = html`<form method="post" action="logout"><button>Log out</button></form>`;
  const footer = html`<footer>
    ${page === "" && html`<span id="connection" aria-live="polite">As of ${clockTime()}; reload for news</span>`}
    ${access === "full" && out}
  </footer>`;
  return `</main>${renderToString(footer)}</body></html>\n`;
}

function clockTime(): string {
  return new Date().toTimeString().slice(0, 8);
}

function navigation(current: PageName | undefined): View {
  return html`<nav aria-label="Pages">
    <ul>
      ${Object.entries(TITLES).map(
        ([name, title]) =>
          html`<li>
            <a
              href=${name === "" ? "./" : name}
              aria-current=${name === current ? "page" : undefined}
              >${title}</a
            >
          </li>`,
      )}
    </ul>
  </nav>`;
}

export function overviewContent(status: GatewayStatus): View {
  return html`
    <h1 class="sr">Overview</h1>
    <div id="figures">${figures(status)}</div>
    <div class="plots">
      <figure>
        <figcaption>
          <h2>Requests a minute</h2>
          <span class="legend"><i></i>all <i class="failed"></i>failed</span>
        </figcaption>
        <div class="plot" id="requests-plot" role="img" aria-label="Requests a minute">
          <p class="quiet">The plots and live figures need scripts.</p>
        </div>
      </figure>
      <figure>
        <figcaption>
          <h2>Time to the answer</h2>
          <span class="legend"><i class="first"></i>first part <i></i>answer</span>
        </figcaption>
        <div class="plot" id="times-plot" role="img" aria-label="Time to the answer"></div>
      </figure>
    </div>
    <div id="lists">${lists(status)}</div>
  `;
}

/** A heading and what is below it. */
export function titled(title: string, content: View): View {
  return [html`<h1>${title}</h1>`, content];
}

interface Asked {
  readonly client: string;
  readonly channel: string;
  readonly text: string;
}

/** The box to ask; below it an answer appears. */
export function askContent({ channels }: GatewayStatus, asked?: Asked): View {
  const names = channels.map(({ name }) => name);
  return html`
    <h1>Ask</h1>
    <form id="ask" method="post" action="ask">
      <label for="text">Question</label>
      <textarea
        id="text"
        name="text"
        rows="4"
        required
        maxlength="20000"
        aria-describedby="how"
        children=${asked?.text ?? ""}
      ></textarea>
      <div class="fields">
        <div>
          <label for="client">As client</label>
          <input
            id="client"
            name="client"
            required
            pattern="[^\\/+#]+"
            value=${asked?.client ?? "page"}
            autocomplete="off"
          />
        </div>
        <div>
          <label for="channel">Channel</label>
          <select id="channel" name="channel">
            ${names.map((name) => html`<option selected=${name === asked?.channel}>${name}</option>`)}
          </select>
        </div>
      </div>
      <button>Ask</button>
      <p class="quiet" id="how">
        It takes the way of a device: over the broker, within the limits and with the rights of that
        client, and into its conversation.
      </p>
    </form>
    ${
      asked === undefined &&
      html`<section id="answer" aria-label="Answer" aria-live="polite" hidden>
        <p class="text"></p>
        <p class="note"></p>
      </section>`
    }
  `;
}

export interface LoginFacts {
  readonly access: Access;
  /** Where the token is. */
  readonly hint: string;
  readonly message?: string | undefined;
  /** Back to this page. */
  readonly page: PageName;
}

export function loginContent({ access, hint, message, page }: LoginFacts): View {
  return html`
    <h1>Log in</h1>
    <p>Texts, settings and questions need the token of this gateway.</p>
    ${access === "local" && html`<p class="quiet">It is in <code>${hint}</code></p>`}
    <form method="post" action="login">
      <input type="hidden" name="page" value=${page} />
      <label for="token">Token</label>
      <input
        id="token"
        name="token"
        type="password"
        required
        autofocus
        autocomplete="current-password"
        aria-describedby=${message === undefined ? undefined : "wrong"}
      />
      ${message !== undefined && html`<p class="bad" id="wrong" role="alert">${message}</p>`}
      <div><button>Log in</button></div>
    </form>
  `;
}

/** What is shown in place of something that failed. */
export function failureContent(title: string, message: string, remedy?: string): View {
  return html`
    <h1>${title}</h1>
    <p class="bad">${message}</p>
    ${remedy !== undefined && html`<p class="quiet">Try: <code>${remedy}</code></p>`}
  `;
}

/** Text that follows piece by piece, between two calls of these. */
export const ANSWER_START = '<section id="answer" aria-label="Answer"><p class="text">';
export const answerEnd = (note: string): string =>
  `</p><p class="note">${escapeHtml(note)}</p></section>`;
