import type { CommandNode } from "unbash";

/** The name of a program without its folder, as everyone writes it. */
export function baseName(path: string): string {
  // Before a name zsh puts its folder for an equals sign.
  return path
    .slice(path.lastIndexOf("/") + 1)
    .replace(/^=/, "")
    .toLowerCase();
}

const set = (words: string): ReadonlySet<string> => new Set(words.trim().split(/\s+/));

/** Programs that are not run, whatever their arguments, and why. */
const REFUSED: readonly (readonly [string, string])[] = [
  [
    "sudo sudoedit sudo-rs run0 doas dzdo calife ksu gosu su-exec pkexec runuser su sg newgrp login setpriv capsh",
    "it takes another user's rights",
  ],
  ["chown chgrp setcap setfacl", "it changes who may do what"],
  [
    "kill pkill killall killall5 taskkill xkill fuser",
    "it ends processes; kill a session of exec instead",
  ],
  [
    "mke2fs mkswap swapoff diskpart fdisk sfdisk cfdisk gdisk sgdisk parted wipefs blkdiscard hdparm losetup cryptsetup lvremove vgremove pvremove mdadm flashcp flash_erase flashrom fsck e2fsck tune2fs resize2fs debugfs swapon",
    "it changes disks",
  ],
  ["shred srm", "it destroys files"],
  [
    "mount umount chroot pivot_root nsenter unshare bwrap proot firejail",
    "it changes what a command sees",
  ],
  ["shutdown reboot poweroff halt telinit kexec", "it stops the machine"],
  ["insmod modprobe rmmod", "it changes the kernel"],
  [
    "passwd chpasswd useradd userdel usermod groupadd groupdel groupmod gpasswd chsh chfn newusers adduser deluser visudo vipw",
    "it changes users",
  ],
  [
    "ssh slogin autossh ssh-copy-id scp sftp sshpass dbclient telnet rsh rlogin mosh ftp tftp lftp rclone smbclient nsupdate",
    "it reaches other machines",
  ],
  ["eval source .", "what it runs cannot be judged; write the commands out"],
  ["alias", "aliases are not followed; write the command out"],
  [
    "tmux screen byobu zellij dtach abduco daemonize tsp at batch systemd-run start-stop-daemon",
    "what it starts outlives the command; use background",
  ],
  ["dbus-send gdbus", "it asks services of the machine"],
  ["jshell gdb gcore reptyr expect ed ex vipe vidir run-mailcap", "it runs commands of its own"],
  ["pwsh powershell wscript cscript mshta", "its text cannot be judged"],
  ["fc bind enable", "it runs what is not written here"],
];

const REASONS: ReadonlyMap<string, string> = new Map(
  REFUSED.flatMap(([names, why]) => names.split(" ").map((name) => [name, why] as const)),
);

/** Why a program is never run; undefined where that depends on its arguments. */
export function refusalOfProgram(name: string): string | undefined {
  if (/^mkfs(?:\.\w+)?$/.test(name)) return "it changes disks";
  return REASONS.get(name);
}

/** Programs that look at their arguments and do no more with them than read, count, copy or print. */
export const HARMLESS = set(`
  echo printf grep egrep fgrep rg ag ls dir cat tac nl head tail wc sort uniq cut paste join tr test [ date cal
  df du ps pgrep pidof file stat basename dirname realpath readlink which type whereis man whatis apropos help jq yq
  seq expr bc true false : sleep pwd whoami id hostname uname uptime free diff cmp comm md5sum cksum
  sha1sum sha256sum sha512sum base64 xxd od hexdump strings mkdir touch cp mv ln curl wget tee column fold
  fmt rev factor lscpu lsblk lsusb nproc arch groups tty tput clear history dig nslookup host ping
  traceroute netstat ss journalctl vmstat iostat exit return break continue shift cd pushd popd
`);
/** Those of them whose words are text for a reader: no file is opened for them. */
export const SPEAKING = set(
  "echo printf test [ expr seq true false : sleep exit return break continue shift",
);
/** What may read what they say, without taking it for a file or a command. */
const LISTENING = set(`
  grep egrep fgrep rg jq wc tr cut sort uniq head tail cat nl rev column fold fmt od xxd hexdump base64
  md5sum sha1sum sha256sum sha512sum sed bc
`);
/** Programs that show names of files, and those that choose from them. */
const SHOWING = set("find ls fd fdfind");
const CHOOSING = set("grep egrep fgrep rg sort uniq head tail wc");
/** Programs whose output holds no path as long as their arguments hold none. */
const PLAIN = set("date hostname whoami id nproc uname arch wc expr seq basename tty cal");

/** Whether what these write, each reading what the one before wrote, is names below the folder. */
export function areNames(commands: readonly CommandNode[]): boolean {
  const [first, ...others] = commands.map(literalCall);
  if (first === undefined) return false;
  const { name, words } = first;
  const shows =
    (SHOWING.has(name) && !(name === "ls" && words.some(showsParent))) ||
    (name === "git" && words[0] === "ls-files") ||
    (/^(?:grep|rg)$/.test(name) && words.some((word) => /^-[a-z]*l/.test(word)));
  const isFormed = words.some((word) => /printf|[\\]/.test(word));
  return shows && !isFormed && others.every((one) => one !== undefined && CHOOSING.has(one.name));
}

/** `ls -a` shows `..`. */
function showsParent(word: string): boolean {
  return /^-(?!-)\w*[af]|^--a(?!lm|u)/.test(word);
}

/** The same for what stands in the place of `$(…)`; and whatever holds no path at all. */
export function isPlainOutput(commands: readonly CommandNode[]): boolean {
  if (areNames(commands)) return true;
  const [first] = commands.map(literalCall);
  if (first === undefined || commands.length > 1 || !PLAIN.has(first.name)) return false;
  if (first.words.some((word) => word.includes(".."))) return false;
  return first.name === "basename" || first.words.every((word) => !/[/$`\\]/.test(word));
}

function literalCall(
  command: CommandNode,
): { readonly name: string; readonly words: readonly string[] } | undefined {
  if (command.type !== "Command" || command.name === undefined) return undefined;
  if (command.name.parts !== undefined) return undefined;
  return { name: baseName(command.name.value), words: command.args.map(({ text }) => text) };
}

/** Whether a command takes what it reads for mere text. */
export function isListener(command: CommandNode): boolean {
  const call = literalCall(command);
  return call !== undefined && LISTENING.has(call.name);
}
