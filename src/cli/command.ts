/** What a command's file gives and what it gets. */
import type { Command } from 'commander';
import { EXIT, type ExitCode } from './exit-codes.ts';
import type { Output } from './output.ts';

/** The signals that call a command off. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** What a command works with. */
export class CommandContext {
  readonly output: Output;
  /** What fails if something does now, such as `verify of a.bin`; first in the error text. */
  doing = 'xe-vfio';
  /** What the process exits with when the command returns; a Fault that it throws decides itself. */
  exitCode: ExitCode = EXIT.DONE;
  #abort: AbortController | undefined;
  readonly #onSignal = () => this.#abort?.abort();

  constructor(output: Output) {
    this.output = output;
  }

  /**
   * Is aborted by the first SIGINT or SIGTERM; the second one ends the process at once. A command
   * that never asks for it dies of the first.
   */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      for (const name of SIGNALS) process.once(name, this.#onSignal);
    }
    return this.#abort.signal;
  }

  /** Takes the listeners back. Idempotent. */
  close(): void {
    for (const name of SIGNALS) process.off(name, this.#onSignal);
  }
}

/** The exports of a file in src/cli/commands. */
export interface CommandModule {
  /**
   * Gives `command` its arguments, options, examples and action. `--json` and the name are there
   * already.
   */
  define(command: Command, context: CommandContext): void;
}

/** One line of the table of commands. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

/** Adds examples to a command's help. */
export function examples(command: Command, lines: readonly string[]): void {
  command.addHelpText('after', ['', 'Examples:', ...lines.map((line) => `  $ ${line}`)].join('\n'));
}
