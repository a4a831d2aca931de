import { type Command, InvalidArgumentError } from 'commander';
import { type ProvisionOptions, provision, type SchedPriority } from '../../app/provision.ts';
import { changeDocument, changeLines } from '../change-output.ts';
import { type CommandContext, examples } from '../command.ts';
import { UsageFault } from '../exit-codes.ts';
import {
  integerOption,
  MAX_EXEC_QUANTUM_MS,
  MAX_PREEMPT_TIMEOUT_US,
  rootOption,
  sizeOption,
} from '../options.ts';

const MAX_VFS = 65_535;

type ProvisionFlags = Omit<ProvisionOptions, 'pf' | 'execQuantumMs' | 'preemptTimeoutUs'> & {
  readonly execQuantum?: number;
  readonly preemptTimeout?: number;
};

/** `provision`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command)
    .argument('<pf>', 'address of the PF, such as 0000:03:00.0')
    .option('--vfs <count>', 'VFs to enable; 0 disables all', integerOption(0, MAX_VFS))
    .option('--vf <number>', 'change only this VF', integerOption(1, MAX_VFS))
    .option('--vram <size>', 'VRAM of each VF, such as 2G', sizeOption)
    .option('--exec-quantum <ms>', 'time slice of each VF', integerOption(0, MAX_EXEC_QUANTUM_MS))
    .option(
      '--preempt-timeout <us>',
      'time that a VF gets to leave the GPU',
      integerOption(0, MAX_PREEMPT_TIMEOUT_US),
    )
    .option('--priority <name>', 'priority of all VFs: low or normal', priorityOption)
    .option('--autoprobe', 'let drivers of this host bind the VFs as they appear')
    .option('--dry-run', 'print the writes and make none')
    .action(async (pf: string, flags: ProvisionFlags) => await run(pf, flags, context));
  examples(command, [
    'xe-vfio provision 0000:03:00.0 --vfs 2 --vram 4G --dry-run',
    'xe-vfio provision 0000:03:00.0 --vfs 2 --vram 4G --exec-quantum 20 --preempt-timeout 20000',
    'xe-vfio provision 0000:03:00.0 --vf 2 --exec-quantum 40',
    'xe-vfio provision 0000:03:00.0 --vfs 0',
  ]);
}

async function run(pf: string, flags: ProvisionFlags, context: CommandContext): Promise<void> {
  const { execQuantum, preemptTimeout, vfs, vf, vram, priority } = flags;
  const wanted = [vfs, vram, execQuantum, preemptTimeout, priority];
  if (wanted.every((value) => value === undefined))
    throw new UsageFault('nothing to change was given', 'xe-vfio provision --help');
  if (vf !== undefined && vfs !== undefined)
    throw new UsageFault('--vf changes one VF, --vfs how many there are; give one');
  context.doing = `provision of ${pf}`;
  const result = await provision({
    ...flags,
    pf,
    execQuantumMs: execQuantum,
    preemptTimeoutUs: preemptTimeout,
  });
  context.output.result(
    { ok: true, pf: result.pf, vfs: result.vfs, ...changeDocument(result) },
    () => changeLines(result, `${result.pf}: ${result.vfs} VFs enabled`),
  );
}

function priorityOption(text: string): SchedPriority {
  if (text === 'low' || text === 'normal') return text;
  throw new InvalidArgumentError(`"${text}" is neither low nor normal; only a PF can be high.`);
}
