/**
 * Version negotiation: what each side says of itself in VFIO_USER_VERSION.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_VERSION.
 */
import { Fault } from '../base/fault.ts';
import { CODECS, decode } from './codecs.ts';
import { DEFAULT_LIMITS, PROTOCOL_VERSION } from './protocol.ts';

/** What the sender of a VERSION message can take, and which options it knows. */
export interface Capabilities {
  /** Descriptors in one message. */
  readonly maxMsgFds: number;
  /** Greatest `count` of a data transfer, bytes. */
  readonly maxDataXferSize: number;
  /** DMA mappings at one time. */
  readonly maxDmaMaps: number;
  /** Page sizes of DMA mappings, or'ed together. */
  readonly pgsizes: number;
  readonly writeMultiple: boolean;
  /** Undefined when not named; `fdIndex` only in a reply. */
  readonly twinSocket: { readonly supported: boolean; readonly fdIndex?: number } | undefined;
  /** Our own extension, which every other peer ignores: what this connection is for. */
  readonly role: ConnectionRole | undefined;
  /** What else the sender says in that extension, such as what VF a server offers. */
  readonly extension?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * `vmm` is the one client that uses the device; `migration` one that only moves its state and is
 * served beside it.
 */
export type ConnectionRole = 'vmm' | 'migration';

/** The names of the capabilities in the JSON object. */
const NUMBERS = {
  max_msg_fds: 'maxMsgFds',
  max_data_xfer_size: 'maxDataXferSize',
  max_dma_maps: 'maxDmaMaps',
  pgsizes: 'pgsizes',
} as const;

/** A decoded VERSION message. */
export interface VersionMessage {
  readonly major: number;
  readonly minor: number;
  readonly capabilities: Capabilities;
  /** Names of the capabilities that the sender mentioned: a reply may name only these. */
  readonly named: ReadonlySet<string>;
  /** The capabilities as they came. */
  readonly json: Readonly<Record<string, unknown>>;
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(bytes: Uint8Array): JsonObject {
  if (bytes.length === 0) return {};
  if (bytes[bytes.length - 1] !== 0)
    throw new Fault('EINVAL', 'the version data does not end with NUL');
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, -1));
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (error) {
    throw new Fault('EINVAL', 'the version data is no JSON', { cause: error });
  }
  throw new Fault('EINVAL', 'the version data is no JSON object');
}

function numberOf(source: JsonObject, name: keyof typeof NUMBERS): number {
  const value = source[name];
  const fallback = DEFAULT_LIMITS[NUMBERS[name]];
  if (value === undefined) return fallback;
  // A peer that takes no descriptors at all says 0; no other limit makes sense as 0.
  const least = name === 'max_msg_fds' ? 0 : 1;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least)
    throw new Fault('EINVAL', `the capability ${name} is ${JSON.stringify(value)}`);
  return value;
}

function booleanOf(source: JsonObject, name: string): boolean {
  const value = source[name] ?? false;
  if (typeof value !== 'boolean')
    throw new Fault('EINVAL', `the capability ${name} is ${JSON.stringify(value)}`);
  return value;
}

function twinSocketOf(source: JsonObject): Capabilities['twinSocket'] {
  const value = source['twin_socket'];
  if (value === undefined) return undefined;
  if (!isObject(value)) throw new Fault('EINVAL', 'the capability twin_socket is no object');
  const supported = booleanOf(value, 'supported');
  const fdIndex = value['fd_index'];
  if (fdIndex === undefined) return { supported };
  if (typeof fdIndex !== 'number' || !Number.isSafeInteger(fdIndex) || fdIndex < 0)
    throw new Fault('EINVAL', `twin_socket.fd_index is ${JSON.stringify(fdIndex)}`);
  return { supported, fdIndex };
}

function roleOf(source: JsonObject): ConnectionRole | undefined {
  const extension = source['xe_vfio'];
  if (!isObject(extension)) return undefined;
  return extension['role'] === 'migration' ? 'migration' : undefined;
}

/**
 * Reads the payload of a VERSION message.
 *
 * @throws {Fault} EINVAL when it is too short, the JSON is broken or a capability has a wrong type
 */
export function decodeVersion(payload: Uint8Array): VersionMessage {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const { major, minor } = decode('version', view, 0, payload.length);
  const root = parseJson(payload.subarray(CODECS.version.size));
  const source = root['capabilities'] ?? {};
  if (!isObject(source)) throw new Fault('EINVAL', 'the capabilities are no object');
  const capabilities: Capabilities = {
    maxMsgFds: numberOf(source, 'max_msg_fds'),
    maxDataXferSize: numberOf(source, 'max_data_xfer_size'),
    maxDmaMaps: numberOf(source, 'max_dma_maps'),
    pgsizes: numberOf(source, 'pgsizes'),
    writeMultiple: booleanOf(source, 'write_multiple'),
    twinSocket: twinSocketOf(source),
    role: roleOf(source),
    extension: isObject(source['xe_vfio']) ? source['xe_vfio'] : undefined,
  };
  return { major, minor, capabilities, named: new Set(Object.keys(source)), json: source };
}

function extensionOf({ role, extension }: Capabilities): JsonObject | undefined {
  if (role === undefined && extension === undefined) return undefined;
  return { ...extension, ...(role === undefined ? {} : { role }) };
}

function jsonOf(capabilities: Capabilities, named: ReadonlySet<string>): JsonObject {
  const { twinSocket } = capabilities;
  const all: Record<string, unknown> = {
    write_multiple: capabilities.writeMultiple,
    twin_socket: twinSocket && {
      supported: twinSocket.supported,
      ...(twinSocket.fdIndex === undefined ? {} : { fd_index: twinSocket.fdIndex }),
    },
    xe_vfio: extensionOf(capabilities),
  };
  for (const [name, key] of Object.entries(NUMBERS)) all[name] = capabilities[key];
  return Object.fromEntries(
    Object.entries(all).filter(([name, value]) => value !== undefined && named.has(name)),
  );
}

const EVERY_NAME: ReadonlySet<string> = new Set([
  ...Object.keys(NUMBERS),
  'write_multiple',
  'twin_socket',
  'xe_vfio',
]);

/**
 * The payload of a VERSION message.
 *
 * @param named the capabilities to mention: in a reply those of the request, else all
 * @param more capabilities that this protocol does not know
 */
export function encodeVersion(
  minor: number,
  capabilities: Capabilities,
  named: ReadonlySet<string> = EVERY_NAME,
  more: Readonly<Record<string, unknown>> = {},
): Uint8Array {
  const json = { capabilities: { ...jsonOf(capabilities, named), ...more } };
  const text = new TextEncoder().encode(`${JSON.stringify(json)}\0`);
  const payload = new Uint8Array(CODECS.version.size + text.length);
  const view = new DataView(payload.buffer);
  CODECS.version.write(view, 0, { major: PROTOCOL_VERSION.major, minor });
  payload.set(text, CODECS.version.size);
  return payload;
}
