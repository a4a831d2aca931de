/** The command line `xe-vfio`: finds the command, loads its file, turns failures into exit codes. */
import { Command, CommanderError } from 'commander';
import { CommandContext } from './command.ts';
import { COMMANDS } from './command-table.ts';
import {
  asFault,
  EXIT,
  EXIT_MEANINGS,
  type ExitCode,
  exitCodeOf,
  UsageFault,
} from './exit-codes.ts';
import { Output, type OutputSinks } from './output.ts';
import { readVersion } from './version.ts';

/**
 * Runs the command line.
 *
 * @param argv the words after `xe-vfio`
 * @returns the exit code, see {@link EXIT}
 * @example process.exitCode = await main(process.argv.slice(2));
 */
export async function main(
  argv: readonly string[],
  sinks: OutputSinks = process,
): Promise<ExitCode> {
  const output = new Output(sinks);
  if (sinks === process) endQuietlyWithReader();
  const context = new CommandContext(output);
  output.json = wantsJson(argv);
  try {
    const program = await build(argv, context);
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.DONE;
    const fault = error instanceof CommanderError ? usageFault(error, argv) : asFault(error);
    const what = fault instanceof UsageFault ? 'the command line is not understood' : undefined;
    output.failure(what ?? `${context.doing} failed`, fault);
    return exitCodeOf(fault);
  } finally {
    context.close();
  }
}

/** Lets `xe-vfio ... | head` end like any other command: whoever read has seen enough. */
function endQuietlyWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.DONE);
    throw error;
  });
}

/** True when `--json` stands among the options, also when the rest cannot be understood. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json');
}

/** The program with a line for each command, and with everything of the one that is asked for. */
async function build(argv: readonly string[], context: CommandContext): Promise<Command> {
  const { output } = context;
  const program = configure(new Command('xe-vfio'), output)
    .description('Live migration of Intel Xe SR-IOV VFs, in user space.')
    .version(readVersion(), '-V, --version', 'print the version')
    .usage('COMMAND [options]')
    .addHelpText('after', () => exitCodeHelp());
  const asked = askedFor(argv);
  for (const { name, summary, load } of COMMANDS) {
    const command = configure(new Command(name), output)
      .summary(summary)
      .description(sentence(summary));
    if (name === asked) {
      command.option('--json', 'print JSON');
      (await load()).define(command, context);
    }
    program.addCommand(command);
  }
  return program;
}

/** Makes a command of commander throw and write through `output`. */
function configure(command: Command, output: Output): Command {
  return command
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => output.write(text),
      // The three lines of the failure say it; commander's own text would be a second voice.
      writeErr: () => {},
    });
}

/** The command that `argv` is about: its first word, or the second one of `help NAME`. */
function askedFor(argv: readonly string[]): string | undefined {
  const words = argv.filter((word) => !word.startsWith('-'));
  return words[0] === 'help' ? words[1] : words[0];
}

function usageFault(error: CommanderError, argv: readonly string[]): UsageFault {
  const name = askedFor(argv);
  const known = COMMANDS.some((entry) => entry.name === name);
  const reason = error.message.replace(/^error: /, '').replace(/\s+/g, ' ');
  return new UsageFault(reason, known ? `xe-vfio ${name} --help` : 'xe-vfio --help');
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

function exitCodeHelp(): string {
  const lines = EXIT_MEANINGS.map(([code, meaning]) => `  ${code}  ${meaning}`);
  return `\nExit codes:\n${lines.join('\n')}\n\nEvery command takes --json and has its own --help.`;
}
