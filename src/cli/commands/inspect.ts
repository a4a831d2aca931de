import type { Command } from 'commander';
import type { CommandContext } from '../command.ts';

/** `inspect`. */
export function define(command: Command, context: CommandContext): void {
  void command;
  void context;
}
