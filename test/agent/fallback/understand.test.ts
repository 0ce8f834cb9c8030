import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FACT_NAMES } from "../../../src/agent/device/facts.ts";
import { understand } from "../../../src/agent/fallback/understand.ts";

const STATUS = "cpu memory disk temperature uptime";
const EVERYTHING = FACT_NAMES.join(" ");

/** From the facts, in their order, to the wordings that ask for them and for nothing else. */
const WORDINGS: Record<string, string> = {
  cpu: `
    What is the CPU usage? | what's the cpu usage | What’s your current CPU utilisation? | cpu | CPU? | cpu % |
    cpu load | how much cpu is used | How much of the processor are you using right now? |
    how busy is the processor | is the machine busy | are you busy? | Are you under heavy load? | is the box idle |
    how busy are you | show me cpu stats | tell me about the CPU | what is the cpu at | cpu status please |
    whats the cpu usage thanks | How's the CPU doing? | give me the cpu load in percent |
    what percentage of the processor is in use | cpu usage of this device please | How loaded is the system? |
    is the server overloaded | cpu-usage | CPU_USAGE | cpu usage??!!`,
  memory: `
    free ram? | How much memory is left? | how much memory do you have | memory usage |
    How much RAM is free on this device? | ram | is there enough memory | Are we low on memory? |
    are we running out of memory | how full is the ram | what's the available memory | total memory? |
    do we have swap | how much swap is used | mem | What about memory? | how big is your memory |
    Do you have enough memory left? | What is the percentage of memory in use? | how much memory is being used |
    Memory? | what's my free memory | ram available | what is the RAM status | how many GB of RAM are free |
    how many gigabytes of memory do you have | amount of free memory in MB`,
  disk: `
    disk space left | How much disk space is left? | how full is the disk | is there any space left |
    free disk space | disk usage | how much storage do you have | Is the SD card full? | hard drive space |
    are we out of disk space | How much free space is on the hard disk? | file system usage | storage |
    what is the size of the disk | How much space is left on the drive? | disk capacity | how much disk is used |
    Disk status | whats left on the disk | how big is the hard drive | how many gigabytes are free on the disk |
    disk space on / | diskspace`,
  temperature: `
    how hot are you | temperature | What is the temperature? | what is your temperature | cpu temp |
    CPU temperature in celsius | Are you overheating? | is the cpu too hot | how warm is the device |
    How hot is the CPU running? | how many degrees are you | what temperature is your processor | How hot is it? |
    Is it hot? | current temp | are you running hot | What is the core temperature? | soc temperature |
    board temperature`,
  load: `
    load average | what is the load | system load | What is the load average? | current load |
    What's the load on the machine? | load avg | loadaverage`,
  uptime: `
    how long have you been up | uptime | What's the uptime? | what is your uptime |
    how long have you been running | How long has this device been online? | when did you last boot |
    when was the last reboot? | since when are you up | boot time | How many days have you been up? |
    when were you started | how long since the last restart | how long has the server been on | up time |
    since when has it been running | when did the device start | How long has the Raspberry Pi been running? |
    system uptime | time since last reboot`,
  network: `
    whats my ip | What is your IP address? | ip | IP? | show me the ip adresses | what's the ip of this device |
    ip address of wlan0 | network | network interfaces | tell me your address | which network are you on |
    local ip | Do you have an IPv6 address? | what ip do you have | what network address do you have |
    what's the ipv4 address | wlan ip | can you tell me your IP please | network info | ip adress`,
  hostname: `
    hostname | What is the hostname? | what's your host name | what is this device called |
    what is the name of this machine | what's the name of the host`,
  time: `
    what time is it | What's the time? | time | tell me the time | what is the current time |
    do you have the time | Do you know what time it is? | what date is it | what day is it today |
    What is today's date? | which timezone are you in | what's the system time | date and time | what year is it |
    what is the date today | current date | what day of the week is it | what month is it`,
  top_cpu: `
    which process uses the most cpu | what is using the cpu | what's hogging the CPU? | top processes by cpu |
    which app is eating all the cpu | what is running | how many processes are running | list processes | top cpu |
    process list | list running processes`,
  top_memory: `
    which process eats the memory | what is using all the ram | top 5 processes by memory |
    which program uses the most memory | what's taking up all the memory | which service uses the most ram`,
  "top_cpu top_memory": `
    top processes | which process uses the most cpu and memory | show top processes`,
  processor: `
    how many cores do you have | what cpu do you have | which processor is this | cpu model |
    How many CPUs are there? | what kind of cpu is it | how many processors do you have |
    what processor are you running`,
  system: `
    which linux is this | what operating system are you running | kernel version | what os | What board is this? |
    what hardware are you running on | what system is this | which os version | what's your kernel | which distro |
    what device is this`,
  "system processor memory disk": `
    specs | what are your specs? | hardware specifications`,
  [STATUS]: `
    status | What is your status? | give me a status report | health check | how is the device doing? |
    is everything ok | are you ok? | is the system healthy | system info | give me a quick overview of the system |
    stats | how's the box | are you healthy | device status | system status report | health | system information |
    Show CPU, RAM, disk, temperature and uptime`,
  "cpu memory disk": `
    resource usage | cpu, memory and disk | cpu ram disk |
    What is the CPU usage, the free memory and the disk space?`,
  [EVERYTHING]: `
    give me everything | tell me everything about you | show me all | everything | tell me everything`,
  "cpu memory": `
    cpu and memory usage | What is the CPU usage and how much memory is free? | cpu & ram`,
  "temperature memory": `
    temperature of the cpu and memory usage | how hot are you and how much ram is free?`,
  "temperature cpu": `
    how hot and busy are you`,
  "network hostname": `
    what is your ip and hostname`,
  "uptime load": `
    uptime and load | uptime, load | show me the uptime and the load`,
  "load memory": `
    load and memory`,
  "cpu load": `
    cpu and load`,
  "cpu temperature": `
    cpu usage and temperature`,
  "cpu top_cpu top_memory memory": `
    cpu and top processes and memory`,
  "memory uptime": `
    How much memory is free, and how long has it been up?`,
  "memory cpu": `
    memory and cpu | How much memory is free? And what about the cpu?`,
  "memory disk cpu": `
    How much memory, disk and cpu is used?`,
  "cpu network uptime": `
    cpu, ip, uptime`,
  "time uptime network": `
    Tell me the time, the uptime and the ip address.`,
};

/** Wordings that must not be taken for a question about the device. */
const OTHERS = `
    hi | hello there | help | who are you | what are you | what can you do | how are you | what's up | thanks |
    thanks for the memory | ping | 42 | what is the meaning of life in the disk era of Rome |
    What time does the train leave | what time is the meeting | what time is it in Tokyo | temperature in Paris |
    what is the temperature outside | how hot is it in here | how hot is it today | weather |
    will it be hot tomorrow | how hot is the sun | what is the temperature in this room | remember my name |
    memory of an elephant | do you have a memory | I have no memory of it | in loving memory | in memory of you |
    how much memory does a human have | what was the cpu usage yesterday |
    what will the memory usage be in 5 hours | average cpu usage over the last 24 hours | what is RAM |
    what is a CPU? | What is an IP address? | what does cpu stand for | explain how memory works |
    how do I free disk space | how to check the cpu usage | who invented the processor | which CPU should I buy |
    buy more ram | free up disk space | reduce the cpu usage | kill the process that uses the most memory |
    reboot | please restart the system | restart the network | start the process | load the file | load it | load and run the file |
    the washing machine and its load |
    process this | set the time to 5 | change the hostname | delete files on the disk | time flies |
    how much time is left | do you have time | what is time | is it time | long time no see |
    how long is the drive to Berlin | how long is the drive | drive me home | address me as sir |
    what is my email address | what is the IP address of google.com | what is your public ip |
    status of my order | relationship status | what is the state of the united states | write a report |
    tell me everything about Rome | is that all | space is big | how far is space | hot dog | you are hot |
    what is hot | what model are you | which model are you | what is your name | how old are you |
    what is your task | wifi speed | network usage | disk speed | a whole load of disks |
    which professor is this | the statue of liberty | how is your family | Wie hoch ist die CPU-Auslastung? |
    какая температура | CPU 使用率是多少 | How's the weather | what's the temperature of boiling water |
    what's the temperature of the oven | how hot is mars | how much ram should a server have |
    what is the best cpu | cpu benchmark | memory lane | do you remember me |
    what's the time complexity of quicksort | what time do you close | next time | time travel | what's on today |
    how long does it take to boot | how long is the network cable | is the memory of the device encrypted |
    can I trust the system | which linux is the best | install linux | update the kernel |
    what is the kernel of truth | is there life in space | what's the host of the show |
    the process of photosynthesis | how many people are running | are you running for president | what is up |
    what are you up to | who is the president | open the drive | turn on the light | is the light on |
    how was your day | how has your year been | your time is up | what time did you get up |
    switch off the device | what is the address of the white house | what day is christmas |
    how many days until christmas | how many hours in a day | how many minutes are in an hour |
    is the cpu an invention | tell me a story about a cpu | tell me a joke | write a poem about memory | sing |
    what is your favorite temperature | how old is the cpu | which program is on tv |
    what's a good name for a server | name a process | what did I ask you | repeat that |
    what is the load of the truck | how large is the disk of the galaxy | ram a wall | swap places with me |
    what level are you | what is your address to the nation | who made you | who built this device |
    where are you | where is the device | why is the cpu so hot | why are you slow | do you like memory |
    are you a computer | are you a bot | are you a real agent | are you online | are you there | are you alive |
    is anyone there | is it you | what can you tell me | what do you know | tell me what you can do |
    show me what you have | print | what | how | is it on | are you up | how much | how much is left |
    what is free | is it full | free | use less memory | get more disk space`;

function wordingsIn(text: string): string[] {
  return text.split("|").map((wording) => wording.trim());
}

describe("a question about the device is understood", () => {
  for (const [facts, wordings] of Object.entries(WORDINGS)) {
    for (const wording of wordingsIn(wordings)) {
      it(`${wording} → ${facts}`, () => {
        const understood = understand(wording);
        assert.equal(understood.facts.join(" "), facts);
        assert.equal(understood.more, false);
      });
    }
  }
});

describe("a wording that no rule knows is not guessed at", () => {
  for (const wording of [
    "I was wondering about the cpu usage",
    "waht is teh cpu usgae",
    "is the cpu above 80%?",
    "can you check the memory usage for me",
    "are you connected to wifi",
    "who is eating my memory?",
    "dump all the stats",
  ]) {
    it(wording, () => {
      assert.deepEqual(understand(wording), { facts: [], more: true });
    });
  }
});

describe("anything else is not", () => {
  for (const wording of wordingsIn(OTHERS)) {
    it(wording, () => {
      assert.deepEqual(understand(wording), { facts: [], more: true });
    });
  }

  it("nor is nothing, or a text without end", () => {
    for (const text of ["", " \n", "?!", "cpu ".repeat(10_000), "x".repeat(1_000_000)]) {
      assert.deepEqual(understand(text), { facts: [], more: true });
    }
  });

  it("nor is any question with one strange word in it", () => {
    const wordings = wordingsIn(Object.values(WORDINGS).join("|")).filter(
      (wording) => !/[?!.,&]\s*\S|\band\b/.test(wording),
    );
    const strange = fc.constantFrom(
      "Rome",
      "elephant",
      "oven",
      "yesterday",
      "why",
      "Берлин",
      "東京",
    );
    fc.assert(
      fc.property(fc.constantFrom(...wordings), strange, (wording, word) => {
        assert.deepEqual(understand(`${word} ${wording.replaceAll(/[?!.]/g, "")}`).facts, []);
      }),
    );
  });
});

it("what is understood is told apart from what is not", () => {
  for (const text of [
    "What is the CPU usage, and who was Napoleon?",
    "Tell me a joke. How much memory is free?",
    "How hot are you? Why?",
  ]) {
    const { facts, more } = understand(text);
    assert.deepEqual([facts.length, more], [1, true]);
  }
});

it("politeness beside a question is no other question", () => {
  for (const text of [
    "Hi! What is the CPU usage?",
    "Good morning. cpu? Thanks a lot!",
    "cpu please. ok?",
  ]) {
    assert.deepEqual(understand(text), { facts: ["cpu"], more: false });
  }
});
