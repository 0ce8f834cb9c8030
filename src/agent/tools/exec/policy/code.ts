/** Words with which a language starts programs, deletes trees, or hides what it does. */
const RUNNING =
  /\b(?:os\.(?:system|popen|exec|spawn|remove|unlink|rmdir|removedirs|kill|fork|setuid|chown|chmod)|subprocess|pty\.|shutil|popen|child_process|execsync|execfile|spawnsync|rmsync|rmdirsync|unlinksync|fs\.(?:rm|unlink|rmdir)|rmtree|deno\.(?:command|run|remove)|bun\.(?:spawn|\$)|process\.(?:binding|kill|dlopen)|__import__|importlib|getattr|globals|ctypes|fromcharcode|base64|atob|unhexlify|codecs|marshal|pickle|shell_exec|passthru|proc_open|io\.popen|os\.execute|loadstring|syscall|dlopen|socket|mainmodule|constructor|worker_threads|create_subprocess\w*|runpy|__builtins__|__dict__|__subclasses__|sys\.modules|__getattribute__|pydoc|webbrowser|posix\.|ipc::open|reflect\.|getbuiltinmodule|fileutils|rm_rf?)|\bFunction\b|%x\W|\bvm\.|\bopen\b[^;\n]{0,200}\|/i;
/** A module whose name is put together. */
const IMPORTED = /\brequire\s*\((?!\s*['"][^'"+]*['"]\s*\))|\bimport\s*\(/;
const CALLED =
  /\b(?:vars|system|exec[lv]?[pe]?|spawn|fork|eval|unlink|qx|chr|backticks)\s*[("'{[/|!]/i;
const CALLED_BARE = /\b(?:system|exec|eval)\s+["'$@\w]|\bunlink\s+(?:["'$@<]|glob\b)/i;
/** A function whose name is put together, or taken out of what it belongs to. */
const CALLED_BY_NAME =
  /\$\w+\(|\[\s*["'][^"'\]]*["']\s*\+|\.(?:public_)?send\s*[( ]\s*:|\brm\s*\(|\{[^}\n]{0,200}\brm\b[^}\n]{0,200}\}\s*=/;
const WRITTEN_OTHERWISE = /`|\\x[0-9a-f]{2}|\\u\{?0*[0-9a-f]{2}|\\[0-7]{3}/i;

/** Whether a program's text given on the command line does more than compute, as far as words can tell. */
export function codeRuns(code: string): boolean {
  return [RUNNING, CALLED, CALLED_BARE, CALLED_BY_NAME, WRITTEN_OTHERWISE, IMPORTED].some((words) =>
    words.test(code),
  );
}

/** Whether a program for awk runs others. */
export function awkRuns(code: string): boolean {
  return (
    /\bsystem\s*\(|\bgetline\b|@(?:load|include|[a-z_]\w*\s*\()|\|&/.test(code) ||
    /(?<!\|)\|\s*(?:["(]|\$[\w(]|[A-Za-z_]\w*\s*(?:["[(;}\n]|$))/.test(code)
  );
}

/** What awk takes for names of files and texts. */
export function stringsIn(code: string): readonly string[] {
  return [...code.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
}

/** Whether a script for sed runs programs, or reads and writes files outside. */
export function sedRuns(script: string): boolean {
  let at = 0;
  while (at < script.length) {
    at = afterAddress(script, at);
    const command = script[at] ?? "";
    at += 1;
    if (command === "e" || opensOutside(command, script, at)) return true;
    if (command === "s" || command === "y") {
      at = afterSubstitution(script, at, command === "s");
      const flags = /^[a-zA-Z0-9]*/.exec(script.slice(at, at + 40))?.[0] ?? "";
      if (/[ew]/.test(flags)) return true;
      at += flags.length;
    } else if (/[aicrRwW#:btT]/.test(command)) {
      at = endOf(script, at, /[:btT]/.test(command) ? /[;}\n]/ : /\n/);
    }
  }
  return false;
}

function opensOutside(command: string, script: string, at: number): boolean {
  if (!/[rRwW]/.test(command)) return false;
  return /^\s*(?:\/(?!dev\/std)|~|\.\.)/.test(script.slice(at, at + 20));
}

/** After numbers, `$`, `/…/`, blanks and what stands between commands. */
function afterAddress(script: string, from: number): number {
  let at = from;
  for (;;) {
    const character = script[at] ?? "";
    if (/[\s\d$,!;{}~+]/.test(character)) at += 1;
    else if (character === "/") at = afterPattern(script, at + 1, "/");
    else if (character === "\\") at = afterPattern(script, at + 2, script[at + 1] ?? "/");
    else return at;
    // Modifiers of an address.
    if (character === "/" || character === "\\") while (/[IM]/.test(script[at] ?? "")) at += 1;
  }
}

/** Only a pattern has brackets, in which its delimiter is a character as any other. */
function afterSubstitution(script: string, from: number, isPattern: boolean): number {
  const delimiter = script[from] ?? "/";
  const at = isPattern
    ? afterPattern(script, from + 1, delimiter)
    : afterDelimited(script, from + 1, delimiter);
  return afterDelimited(script, at, delimiter);
}

function afterDelimited(script: string, from: number, delimiter: string): number {
  for (let at = from; at < script.length; at += 1) {
    if (script[at] === "\\") at += 1;
    else if (script[at] === delimiter) return at + 1;
  }
  return script.length;
}

function afterPattern(script: string, from: number, delimiter: string): number {
  let at = from;
  while (at < script.length) {
    if (script[at] === delimiter) return at + 1;
    if (script[at] === "\\") at += 2;
    else at = script[at] === "[" ? afterBrackets(script, at + 1) : at + 1;
  }
  return script.length;
}

/** A closing bracket that comes first is one of the characters, and there are classes of them. */
function afterBrackets(script: string, from: number): number {
  let at = script[from] === "^" ? from + 1 : from;
  if (script[at] === "]") at += 1;
  while (at < script.length && script[at] !== "]") {
    const kind = script[at] === "[" ? (script[at + 1] ?? "") : "";
    const end = /^[:.=]$/.test(kind) ? script.indexOf(`${kind}]`, at + 2) : -1;
    at = end < 0 ? at + 1 : end + 2;
  }
  return at + 1;
}

function endOf(script: string, from: number, end: RegExp): number {
  const length = script.slice(from).search(end);
  return length < 0 ? script.length : from + length;
}
