/** A guest's kernel log, and what in it must not be there. */

/** One line of a kernel log. */
export interface LogLine {
  /** 0 emergency to 7 debug; undefined where the source does not tell, as a serial console. */
  readonly level: number | undefined;
  /** Since boot. */
  readonly seconds: number;
  readonly text: string;
  /** What the guest was made to do then, as {@link phaseMark} has set it. */
  readonly phase: string;
}

/** A line that may be there, and why. */
export interface AllowedLine {
  readonly pattern: RegExp;
  readonly reason: string;
  /** The only phases in which it may be there; any of them unless given. */
  readonly phases?: readonly string[];
}

/** What was found in a log. */
export interface LogFindings {
  /** Lines that must not be there. */
  readonly unexpected: readonly LogLine[];
  /** Lines that would be unexpected but are on the list, each with the reason. */
  readonly allowed: readonly { readonly line: LogLine; readonly reason: string }[];
}

const MARK = 'xe-vfio: phase ';
/** The phase before the first mark. */
const FIRST_PHASE = 'boot';
const KERN_WARNING = 4;

/** What a guest writes into its kernel log so that later lines belong to `phase`. */
export function phaseMark(phase: string): string {
  return MARK + phase;
}

/** Of the driver, or of what it uses of the DRM core. */
const OF_THE_DRIVER = /\bxe\b|\bxe_|\[drm\b|\bdrm_|\bttm_|gpu[-_]sched/;
/** The kernel itself is in trouble, whoever is the cause. */
const TROUBLE =
  /WARNING: |BUG: |Oops|Call Trace:|general protection fault|unable to handle|hung_task|blocked for more than|refcount_t: |UBSAN: |KASAN: |soft lockup|rcu_preempt detected|Kernel panic|invalid opcode/;

/** Every line that a good run may contain although it is an error or a warning. */
const ALLOWED_LINES: readonly AllowedLine[] = [];

/**
 * The lines of a log in the form of `dmesg -r` (`<LEVEL>[SECONDS] TEXT`) or of a serial console,
 * where the level is missing. Lines of neither form, such as those of programs, are left out.
 */
export function parseKernelLog(raw: string): LogLine[] {
  const lines: LogLine[] = [];
  let phase = FIRST_PHASE;
  for (const each of raw.split('\n')) {
    const match = /^(?:<(\d+)>)?\[\s*(\d+\.\d+)\](?:\[[^\]]*\])? ?(.*)$/.exec(each.trimEnd());
    if (match === null) continue;
    const [, priority, seconds = '', text = ''] = match;
    if (text.startsWith(MARK)) phase = text.slice(MARK.length);
    const level = priority === undefined ? undefined : Number(priority) & 7;
    lines.push({ level, seconds: Number(seconds), text, phase });
  }
  return lines;
}

/**
 * Finds xe's errors and warnings and the kernel's troubles.
 * @param addresses PCI addresses of the VFs, whose lines count as xe's
 */
export function judgeKernelLog(
  lines: readonly LogLine[],
  addresses: readonly string[],
  allowedLines: readonly AllowedLine[] = ALLOWED_LINES,
): LogFindings {
  const unexpected: LogLine[] = [];
  const allowed: { line: LogLine; reason: string }[] = [];
  for (const line of lines) {
    if (!isBad(line, addresses)) continue;
    const entry = allowedLines.find(
      ({ pattern, phases }) => pattern.test(line.text) && (phases?.includes(line.phase) ?? true),
    );
    if (entry === undefined) unexpected.push(line);
    else allowed.push({ line, reason: entry.reason });
  }
  return { unexpected, allowed };
}

function isBad({ level, text }: LogLine, addresses: readonly string[]): boolean {
  if (text.startsWith(MARK)) return false;
  if (TROUBLE.test(text)) return true;
  const ofTheDriver =
    OF_THE_DRIVER.test(text) || addresses.some((address) => text.includes(address));
  // Without a level only words can tell.
  return (
    ofTheDriver &&
    (level === undefined ? /\*ERROR\*|\bfail|error/i.test(text) : level <= KERN_WARNING)
  );
}

/** A line as `dmesg` shows it. */
export function logLineText({ seconds, text }: LogLine): string {
  return `[${seconds.toFixed(6).padStart(12)}] ${text}`;
}
