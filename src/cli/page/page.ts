import type { IncomingMessage, ServerResponse } from "node:http";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Page } from "../../gateway/page/page.ts";
import type { PageSubject } from "./sources.ts";

interface GatewayPageOptions extends PageSubject {
  readonly log: Log;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** The page of a running gateway. Nothing of it is loaded before the first request. */
export function gatewayPage(options: GatewayPageOptions): Handler | undefined {
  if (!options.loaded.config.gateway.page.enabled) return undefined;
  let page: Promise<Page> | undefined;
  return async (request, response) => {
    try {
      page ??= open(options);
      await (await page).serve(request, response);
    } catch (thrown) {
      options.log.error("the page cannot be shown", { why: asFailure(thrown).message });
      response.writeHead(500, { "content-length": 0 }).end();
    }
  };
}

async function open(options: GatewayPageOptions): Promise<Page> {
  const [{ createPage }, { pageSources }, { pageTokenOf }] = await Promise.all([
    import("../../gateway/page/page.ts"),
    import("./sources.ts"),
    import("./token.ts"),
  ]);
  const { read, place } = pageTokenOf(options.loaded.config);
  options.context.redactor.add([await read().catch(() => "")]);
  return createPage({ sources: pageSources(options), token: read, hint: place, log: options.log });
}
