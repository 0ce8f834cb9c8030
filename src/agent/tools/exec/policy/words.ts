import type { Field } from "./field.ts";
import type { Judging } from "./findings.ts";
import { DEVICE } from "./options.ts";
import { mayClimb } from "./paths.ts";

/** Variables that decide what other programs run. */
const RULING =
  /^(?:PATH|LD_\w+|DYLD_\w+|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|BASH_FUNC\w*|PS[0-4]|PROMPT_COMMAND|IFS|CDPATH|GIT_(?!AUTHOR_|COMMITTER_|TERMINAL_PROMPT$|PAGER$)\w+|LESSOPEN|LESSCLOSE|EDITOR|VISUAL|BROWSER|NODE_OPTIONS|PYTHON(?:STARTUP|PATH|HOME|BREAKPOINT|WARNINGS)|PERL5\w*|RUBY(?:OPT|LIB)|BUN_\w+|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|GCONV_PATH|XDG_CONFIG_\w+|HOME|SHELL|LESS|(?:TAR|GREP)_OPTIONS|ZIPOPT|UNZIP|RSYNC_\w+|(?:GNU)?MAKEF(?:LAGS|ILES)|FZF_\w+|(?:EX|VIM)INIT|MYVIMRC|(?:SSH|SUDO)_ASKPASS|CURL_HOME|WGETRC|INPUTRC|TERMINFO\w*|OPENSSL_\w+|npm_config_\w+|NPM_CONFIG_\w+|PIP_(?:USER|TARGET|PREFIX|ROOT|CONFIG_FILE|BREAK_SYSTEM_PACKAGES))$/;
const PAGERS = /PAGER$/;

/** A variable that is set, for a command or for all that follow. */
export function judgeAssignment(
  name: string,
  fields: readonly Field[],
  { findings }: Judging,
): void {
  const isPager =
    PAGERS.test(name) && fields.some(({ text }) => !/^(?:cat|less|more|)$/.test(text));
  if (RULING.test(name) || isPager) {
    findings.refusals.push(`the variable ${name} changes what programs run`);
  }
}

/** Where output goes, or input comes from. */
export function judgeTarget(field: Field, judging: Judging): void {
  if (/^(?:\d+|-)$/.test(field.text)) return;
  if (DEVICE.test(field.text)) judging.findings.refusals.push("it writes to a disk or a network");
  judgePath(field, judging);
}

/** A word that a program may take for a path. */
export function judgePath(field: Field, { findings }: Judging): void {
  const { text, lead, isKnown, isProcess, word } = field;
  if (isProcess) return;
  if (field.isPattern && mayClimb(text)) findings.paths.push("..");
  // As it is written, where a backslash is a part of paths.
  if (word.text.includes("\\")) findings.paths.push(word.text);
  if (isKnown || (lead !== "" && !/[/=:,@.]$/.test(lead))) findings.paths.push(text);
  else findings.unknownPaths.push(`what ${word.text} becomes is not known; write it out`);
}
