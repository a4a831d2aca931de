/** What commands say and where: results on stdout, everything else on stderr. */
import { type Fault, MigrationFault } from '../base/fault.ts';
import { hintOf } from './exit-codes.ts';

/** The version of every JSON document that a command prints. */
const SCHEMA = 1;

/** A place to write text to, such as `process.stdout`. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Where results and notes go. */
export interface OutputSinks {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
}

/** The output of one command. */
export class Output {
  /** True when results are JSON documents. */
  json = false;
  readonly stderr: TextSink;
  readonly #stdout: TextSink;

  constructor({ stdout, stderr }: OutputSinks) {
    this.#stdout = stdout;
    this.stderr = stderr;
  }

  /**
   * Prints a result: `document` as one line of JSON with `schema` first when `--json` was given,
   * else the lines of `text`, which is called only then.
   */
  result(document: object, text: () => readonly string[]): void {
    if (this.json) this.#stdout.write(`${JSON.stringify({ schema: SCHEMA, ...document })}\n`);
    else this.#lines(this.#stdout, text());
  }

  /** Prints text that is asked for, such as help, on stdout. */
  write(text: string): void {
    this.#stdout.write(text);
  }

  /** Prints a line for people on stderr, in JSON mode too. */
  note(line: string): void {
    this.#lines(this.stderr, [line]);
  }

  /**
   * Prints a failure: three lines on stderr; with `--json` a document on stdout instead.
   * @param what what failed on which object, such as `verify of a.bin failed`
   */
  failure(what: string, fault: Fault): void {
    const { code: errno, message: reason } = fault;
    const said = { errno, reason, hint: hintOf(fault) };
    const place =
      fault instanceof MigrationFault
        ? { phase: fault.phase, role: fault.role, ...fault.ends }
        : {};
    if (this.json) this.result({ ok: false, ...said, ...place }, () => []);
    else this.refusal(what, said);
  }

  /** Prints the three lines of an error on stderr; for commands with a JSON document of their own. */
  refusal(
    what: string,
    said: { readonly errno: string; readonly reason: string; readonly hint: string },
  ): void {
    this.#lines(this.stderr, [
      `error: ${oneLine(what)}`,
      `cause: ${said.errno} ${oneLine(said.reason)}`,
      `hint: ${oneLine(said.hint)}`,
    ]);
  }

  #lines(sink: TextSink, lines: readonly string[]): void {
    if (lines.length > 0) sink.write(`${lines.join('\n')}\n`);
  }
}

/** `text` without control characters, so that a hostile name cannot move the cursor. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is meant
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
}
