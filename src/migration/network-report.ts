/** What the source tells the target of a session's way and end, so that both report the same. */
import {
  Fault,
  type MigrationEndState,
  MigrationFault,
  type MigrationRole,
} from '../base/fault.ts';
import { decodeFault, encodeFault, fieldsOf } from './fault-json.ts';
import {
  MIGRATION_PHASES,
  type MigrationEvent,
  type MigrationPhase,
  type MigrationResult,
} from './migration-phase.ts';
import { decodeJson, encodeJson } from './network-messages.ts';
import type { PrecopyRound } from './precopy-policy.ts';
import { countOf } from './profile-json.ts';

/** How a session ended. */
export type SessionReport =
  | { readonly result: MigrationResult }
  | { readonly fault: MigrationFault };

const ROLES: readonly MigrationRole[] = ['source', 'target', 'tool'];
const END_STATES: readonly MigrationEndState[] = [
  'untouched',
  'running',
  'stopped',
  'reset',
  'gone',
  'unknown',
];
/** A text from the peer is not longer than this. */
const LONGEST = 300;

/** The payload of an EVENT; undefined for what the REPORT tells. */
export function encodeEvent(event: MigrationEvent): Uint8Array | undefined {
  return event.type === 'rollback' ? undefined : encodeJson(event);
}

/** Reads an EVENT; undefined for one that is not known. @throws {Fault} EPROTO for no JSON */
export function decodeEvent(payload: Uint8Array): MigrationEvent | undefined {
  const told = decodeJson(payload);
  const phase = phaseOf(told['phase']);
  if (phase === undefined) return undefined;
  if (told['type'] === 'phase') return { type: 'phase', phase, atMs: timeOf(told['atMs']) };
  if (told['type'] !== 'progress') return undefined;
  return {
    type: 'progress',
    phase,
    bytes: countOf(told['bytes']) ?? 0,
    totalBytes: countOf(told['totalBytes']) ?? 0,
    bytesPerSecond: timeOf(told['bytesPerSecond']),
    // Infinity is null in JSON.
    remainingMs:
      told['remainingMs'] === null ? Number.POSITIVE_INFINITY : timeOf(told['remainingMs']),
  };
}

/** The payload of a REPORT. */
export function encodeReport(report: SessionReport): Uint8Array {
  if ('result' in report) return encodeJson({ result: report.result });
  const { phase, role, ends, hint } = report.fault;
  return encodeJson({ fault: encodeFault(report.fault), phase, role, ends, hint });
}

/** Reads a REPORT. @throws {Fault} EPROTO when it makes no sense */
export function decodeReport(payload: Uint8Array): SessionReport {
  const told = decodeJson(payload);
  const result = fieldsOf(told['result']);
  if (result !== undefined) return { result: resultOf(result) };
  const cause = decodeFault(told['fault']);
  if (cause === undefined) throw new Fault('EPROTO', 'the peer sent a report of nothing');
  const ends = fieldsOf(told['ends']) ?? {};
  const hint = told['hint'];
  return {
    fault: new MigrationFault(
      cause.code,
      cause.message,
      {
        phase: phaseOf(told['phase']) ?? 'prepare',
        role: ROLES.find((role) => role === told['role']) ?? 'tool',
        ends: { source: endOf(ends['source']), target: endOf(ends['target']) },
      },
      { cause, ...(typeof hint === 'string' ? { hint: hint.slice(0, LONGEST) } : {}) },
    ),
  };
}

function resultOf(told: Readonly<Record<string, unknown>>): MigrationResult {
  const phases = Array.isArray(told['phases']) ? (told['phases'] as unknown[]) : [];
  return {
    streamBytes: countOf(told['streamBytes']) ?? 0,
    downtimeMs: timeOf(told['downtimeMs']),
    totalMs: timeOf(told['totalMs']),
    bytesPerSecond: timeOf(told['bytesPerSecond']),
    phases: phases.slice(0, 2 * MIGRATION_PHASES.length).flatMap((value) => {
      const record = fieldsOf(value) ?? {};
      const name = phaseOf(record['name']);
      if (name === undefined) return [];
      return [{ name, ms: timeOf(record['ms']), bytes: countOf(record['bytes']) ?? 0 }];
    }),
    rounds: Array.isArray(told['rounds']) ? told['rounds'].slice(0, ROUNDS_MAX).map(roundOf) : [],
  };
}

/** Rounds of a pre-copy that are listened to. */
const ROUNDS_MAX = 1024;

function roundOf(value: unknown): PrecopyRound {
  const told = fieldsOf(value) ?? {};
  return {
    round: countOf(told['round']) ?? 0,
    ms: timeOf(told['ms']),
    bytes: countOf(told['bytes']) ?? 0,
    bytesPerSecond: timeOf(told['bytesPerSecond']),
    dirtyBytes: countOf(told['dirtyBytes']) ?? 0,
    dirtyBytesPerSecond: timeOf(told['dirtyBytesPerSecond']),
    downtimeMs: timeOf(told['downtimeMs']),
  };
}

/** The phases of a session; `precopy` is there when the source can be saved while it runs. */
const PHASES: readonly string[] = [...MIGRATION_PHASES, 'precopy'];

function phaseOf(value: unknown): MigrationPhase | undefined {
  return PHASES.find((phase) => phase === value) as MigrationPhase | undefined;
}

function endOf(value: unknown): MigrationEndState {
  return END_STATES.find((state) => state === value) ?? 'unknown';
}

function timeOf(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? value : 0;
}
