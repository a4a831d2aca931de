/**
 * The JSON in the frames of a migration between hosts, see docs/network.md. Whatever comes is
 * checked field by field; what makes no sense is EPROTO.
 */
import { Fault } from '../base/fault.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import { decodeFault, encodeFault, fieldsOf } from './fault-json.ts';
import { countOf, decodeProfile, encodeProfile } from './profile-json.ts';
import type { VfProfile } from './vf-profile.ts';

/** Data connections that one session may have. */
export const STREAMS_MAX = 16;
/** Bytes of a session's token. */
export const TOKEN_SIZE = 16;
/** Ranges that a WELCOME tells of: as many blocks as a window can hold. */
const HELD_MAX = 1024;

/** What a source wants of a receiver: to move a VF, or only to look and measure. */
export type SessionKind = 'migrate' | 'check';

/** HELLO. */
export interface Hello {
  readonly kind: SessionKind;
  /** Data connections that will be attached. */
  readonly streams: number;
  /** The session to go on with, hex digits; undefined for a new one. */
  readonly token: string | undefined;
  /** The VF that the source means, as its user named it. */
  readonly to: string | undefined;
  /** What the source VF is. */
  readonly profile: VfProfile | undefined;
}

/** WELCOME. */
export interface Welcome {
  /** Hex digits. */
  readonly token: string;
  /** The VF that is offered, as the receiver's user named it. */
  readonly to: string;
  readonly profile: VfProfile | undefined;
  /** `VFIO_MIGRATION` flags of the target. */
  readonly migrationFlags: number;
  /** Number of the last request that was carried out. */
  readonly lastRequest: number;
  /** Number of the data file, modulo 256: how often the state was changed. */
  readonly file: number;
  /** Bytes of its stream that are applied. */
  readonly applied: number;
  /** Ranges above `applied` that are there already. */
  readonly held: readonly (readonly [from: number, to: number])[];
  /** The encodings that the receiver understands, bits of `1 << ENCODING`. */
  readonly encodings: number;
}

/** REQUEST. */
export type Request =
  | { readonly op: 'state' }
  /** `dataEnd`: all bytes of the stream below it are applied first. */
  | { readonly op: 'set'; readonly state: MigState; readonly dataEnd: number }
  | { readonly op: 'reset' };

/** REPLY. */
export type Reply =
  /** `opened`: there is a data file now; `gone`: nobody serves the target VF, so it does not run. */
  | { readonly state?: MigState | undefined; readonly opened?: boolean; readonly gone?: boolean }
  | { readonly fault: Fault };

/** The payload of a frame. */
export function encodeJson(value: object): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** The fields of a payload. @throws {Fault} EPROTO when it is no JSON object */
export function decodeJson(payload: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload).toString());
  } catch {
    value = undefined;
  }
  return fieldsOf(value) ?? bad('no JSON object');
}

/** The payload of a HELLO. */
export function encodeHello({ profile, ...rest }: Hello): Uint8Array {
  return encodeJson({
    ...rest,
    profile: profile === undefined ? undefined : encodeProfile(profile),
  });
}

/** Reads a HELLO. @throws {Fault} EPROTO */
export function decodeHello(payload: Uint8Array): Hello {
  const told = decodeJson(payload);
  const { kind, streams, to } = told;
  if (kind !== 'migrate' && kind !== 'check') bad('a HELLO of unknown kind');
  const count = countOf(streams) ?? 0;
  if (count < 1 || count > STREAMS_MAX) bad(`${count} data connections`);
  return {
    kind: kind as SessionKind,
    streams: count,
    token: told['token'] === undefined ? undefined : tokenOf(told['token']),
    to: typeof to === 'string' ? to : undefined,
    profile: profileOf(told['profile']),
  };
}

/** The payload of a WELCOME. */
export function encodeWelcome({ profile, ...rest }: Welcome): Uint8Array {
  return encodeJson({
    ...rest,
    profile: profile === undefined ? undefined : encodeProfile(profile),
  });
}

/** Reads a WELCOME. @throws {Fault} EPROTO */
export function decodeWelcome(payload: Uint8Array): Welcome {
  const told = decodeJson(payload);
  const { to, held } = told;
  if (typeof to !== 'string' || !Array.isArray(held) || held.length > HELD_MAX) bad('a WELCOME');
  const applied = numberOf(told['applied'], 'applied');
  return {
    token: tokenOf(told['token']),
    to: to as string,
    profile: profileOf(told['profile']),
    migrationFlags: numberOf(told['migrationFlags'], 'migrationFlags'),
    lastRequest: numberOf(told['lastRequest'], 'lastRequest'),
    file: numberOf(told['file'], 'file'),
    applied,
    held: (held as unknown[]).map((range) => rangeOf(range, applied)),
    encodings: numberOf(told['encodings'], 'encodings'),
  };
}

/** Reads a REQUEST. @throws {Fault} EPROTO */
export function decodeRequest(payload: Uint8Array): Request {
  const told = decodeJson(payload);
  const { op } = told;
  if (op === 'state' || op === 'reset') return { op };
  if (op !== 'set') bad('a REQUEST of unknown kind');
  return {
    op: 'set',
    state: stateOf(told['state']) ?? bad('a REQUEST without a state'),
    dataEnd: numberOf(told['dataEnd'], 'dataEnd'),
  };
}

/** The payload of a REPLY. */
export function encodeReply(reply: Reply): Uint8Array {
  return encodeJson('fault' in reply ? { fault: encodeFault(reply.fault) } : reply);
}

/** Reads a REPLY. @throws {Fault} EPROTO */
export function decodeReply(payload: Uint8Array): Reply {
  const told = decodeJson(payload);
  if (told['fault'] !== undefined)
    return { fault: decodeFault(told['fault']) ?? bad('a REPLY with an unknown fault') };
  const [opened, gone] = [told['opened'] === true, told['gone'] === true];
  return { state: stateOf(told['state']), opened, gone };
}

/** Reads a REFUSE or a FAULT. */
export function decodeRefuse(payload: Uint8Array): Fault {
  return decodeFault(decodeJson(payload)) ?? bad('a refusal without a reason');
}

function stateOf(value: unknown): MigState | undefined {
  return Object.values(MIG_STATE).find((state) => state === value);
}

function profileOf(value: unknown): VfProfile | undefined {
  const told = fieldsOf(value);
  return told === undefined ? undefined : decodeProfile(told);
}

function tokenOf(value: unknown): string {
  if (typeof value === 'string' && value.length === 2 * TOKEN_SIZE && /^[0-9a-f]*$/.test(value))
    return value;
  return bad('a bad token');
}

function numberOf(value: unknown, what: string): number {
  return countOf(value) ?? bad(`${what} is no number`);
}

function rangeOf(value: unknown, applied: number): readonly [number, number] {
  const [from, to] = Array.isArray(value) ? (value as unknown[]) : [];
  const range = [numberOf(from, 'a range'), numberOf(to, 'a range')] as const;
  if (range[0] < applied || range[1] <= range[0]) bad('a bad range');
  return range;
}

function bad(what: string): never {
  throw new Fault('EPROTO', `the peer sent ${what}`);
}
