/**
 * Every word the offline agent knows, by what it can mean in a question about a device (a word may
 * mean several things). A question that holds any other word is not for this agent: the list is its
 * ears and its filter. It knows how people ask about machines, and little else.
 */
const WORDS = {
  cpu: "cpu cpus processor processors soc chip",
  resource: "resource resources",
  core: "core cores thread threads",
  speed: "speed frequency ghz mhz",
  make: "model type kind brand make manufacturer",
  memory: "memory ram mem",
  swap: "swap swapping pagefile",
  disk: "disk disks disc discs drive drives storage hdd ssd sd sdcard emmc nvme filesystem filesystems partition partitions rootfs",
  space: "space",
  temperature:
    "temperature temperatures temp temps thermal thermals heat celsius fahrenheit degree degrees sensor sensors thermometer",
  hot: "hot hotter warm overheat overheating overheated heating toasty",
  cool: "cool cold",
  load: "load loadavg workload",
  busy: "busy idle stressed overloaded loaded slow sluggish",
  uptime: "uptime",
  up: "up running online alive awake",
  boot: "boot boots booted booting reboot rebooted reboots restart restarted restarts startup started start",
  network:
    "ip ips ipv4 ipv6 network networks networking lan wlan wifi ethernet interface interfaces nic nics ifconfig ipconfig",
  address: "address addresses addr",
  hostname: "hostname hostnames",
  name: "name named called",
  time: "time clock timezone",
  date: "date day weekday month year",
  today: "today todays",
  span: "days hours minutes seconds weeks",
  process:
    "process processes procces proccess proccesses program programs app apps application applications task tasks service services daemon daemons",
  hog: "eat eats eating hog hogs hogging consumes consuming consumer consumers gobbles gobbling hungry hungriest",
  uses: "using uses taking takes occupying",
  most: "most top biggest highest heaviest largest",
  system:
    "os linux kernel distro distribution uname release architecture arch platform hardware board motherboard raspberrypi",
  spec: "specs spec specification specifications",
  status:
    "status stat stats statistics metrics health healthy vitals overview summary report diagnostics sitrep condition state info information details facts shape healthcheck",
  well: "ok okay fine alright well working",
  everything: "everything all",
  usage:
    "usage use used utilization utilisation utilized utilised consumption consumed consuming usege useage usuage percent percentage level",
  amount:
    "free left available remaining full empty total size capacity amount much many enough big large low high",
  device:
    "you your yourself device devices machine machines box system systems pi host server computer node unit agent bot robot controller picoclaw",
  comparing: "above over below under than exceeding reached reach more less higher lower",
  average: "average averages avg",
  past: "last since recently",
  here: "here",
  ask: "what which who how when is are was do does did has have had can could would may might tell give show say print display dump list check see know look read get let report fetch measure find",
  long: "long old",
  filler:
    "a an the this that these those it its of on in at for to from by with and or also plus too as about so please pls plz kindly thanks thank thx hey hi hello howdy greetings yo my me i we us our am be been being were got there any some current currently now right moment present actually exactly roughly approximately approx just still ever really heavy come came gb mb gib mib gigabytes gigabyte megabytes megabyte bytes quick quickly quite very bit lot if both each per out getting doing id buddy mate dude friend pal man bro sir dear good morning evening afternoon idea sure question curious wondering wonder value values reading readings figure figures measurement onboard local own edge attached connected mounted overall whole entire main primary again physically root version",
} as const;

/** What a word can mean. */
export type Meaning = keyof typeof WORDS;

const MEANINGS: ReadonlyMap<string, ReadonlySet<string>> = meaningsByWord();

/** All words, for whoever looks for the one that was meant. */
export const KNOWN_WORDS: readonly string[] = [...MEANINGS.keys()];

/** Interfaces are called by letters and digits: eth0, wlan0, enp3s0. */
const INTERFACE = /^(eth|wlan|wl[opx]|en[opsx]|end|usb|wwan|br|tun|ppp|wg)\d\w*$/;
const NETWORK: ReadonlySet<string> = new Set<Meaning>(["network"]);

/** What a word can mean here; undefined for a stranger. */
export function meaningsOf(word: string): ReadonlySet<string> | undefined {
  return MEANINGS.get(word) ?? (INTERFACE.test(word) ? NETWORK : undefined);
}

/** Real words that are one typing error away from a known one and mean something else. */
export const LOOKALIKES: ReadonlySet<string> = new Set(
  [
    "arm bots booths chores cock derive dive dose driver drivers form hostage heath lager larger",
    "professor professors profess processed processing quiet resort ruining senior sever statue",
    "statues states sue sued temperate tempts three currant devise interlace summery memories",
    "memoir memorial temperament temptation displays spaces hosting friends friendly fined",
    "prevent seed mode won heading confusing occurring refining considers overhead collected converted",
    "extending excluding serve served blow compute interact interacts quit repost corrected interfere",
    "sine boost restored retaining awaken star threat wander wording take taken talking toast week hour",
    "minute controlled addressed released driven derives pre stated spacer",
  ].flatMap((line) => line.split(" ")),
);

function meaningsByWord(): Map<string, Set<string>> {
  const meanings = new Map<string, Set<string>>();
  for (const [meaning, words] of Object.entries(WORDS)) {
    for (const word of words.split(" ")) {
      meanings.set(word, (meanings.get(word) ?? new Set()).add(meaning));
    }
  }
  return meanings;
}
