/** A process of its own that holds a place, or writes until it is killed: what it printed is durable. */
import { SILENT } from "../../src/base/log.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { BOUNDS, newRequest } from "./contract.ts";

const [folder = "", what = ""] = process.argv.slice(2);
const home = await openInstance(folder, { log: SILENT });
const say = (words: string): void => void process.stdout.write(`${words}\n`);
say(`instance ${home.instance} ${home.clientId("mqtt", () => `made by ${process.pid}`)}`);

if (what === "write") {
  const options = {
    owner: `process ${process.pid}`,
    now: () => Date.now(),
    bounds: BOUNDS,
    log: SILENT,
  };
  const store = await openSqliteStore<string>(home.databaseFile, options);
  for (let number = 0; ; number += 1) {
    const text = `${process.pid} ${number}`;
    const acceptance = await store.accept(newRequest(text));
    if (acceptance.is !== "new") throw new Error(`${text} is known`);
    say(`accepted ${text}`);
    const claim = await store.begin(acceptance.claim);
    if (claim === undefined) throw new Error(`${text} is not ours`);
    if (number % 2 === 1) continue;
    await store.answered(claim, { parts: [text] }, [`question ${text}`, `answer ${text}`]);
    say(`answered ${text}`);
  }
} else {
  setInterval(() => {}, 1000);
}
