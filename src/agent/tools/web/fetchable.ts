import { Refusal } from "./request.ts";

/**
 * Ports of services that speak something else and could take a request for their own (what browsers
 * refuse: WHATWG Fetch, "port blocking"), and those of brokers, data stores and desktops.
 */
const REFUSED_PORTS: ReadonlySet<number> = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
  103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445,
  465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989,
  990, 993, 995, 1433, 1521, 1719, 1720, 1723, 1883, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061,
  5432, 5671, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 8883, 9092,
  10080, 11211, 27017,
]);

/**
 * Looks at an address before its name is resolved, and again at each redirect. Throws a `Refusal` for
 * other schemes, for credentials in it (nobody means to send any, and `https://bank.example@evil.example`
 * hides where it leads), and for ports that are not of the web.
 */
export function assertFetchable(url: URL): void {
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Refusal("only http and https addresses can be fetched");
  }
  if (url.username !== "" || url.password !== "") {
    throw new Refusal("addresses with a user name or a password are not fetched");
  }
  if (url.port !== "" && REFUSED_PORTS.has(Number(url.port))) {
    throw new Refusal(`port ${url.port} is not one of the web`);
  }
}
