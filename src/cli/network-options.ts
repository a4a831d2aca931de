/** The options of commands that go over the network. */
import { type Command, InvalidArgumentError } from 'commander';
import { type NetworkOptions, STREAMS_MAX, type ViaOptions } from '../app/network-link-options.ts';
import { UsageFault } from './exit-codes.ts';
import { integerOption } from './options.ts';

/** What a cut connection is given to come back, unless told otherwise. */
const RECONNECT_SECONDS = 10;

interface NetworkFlags {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsHostname?: string;
  readonly insecure?: true;
  readonly reconnectTimeout: number;
}

/** The options of a command that connects, as commander gives them. */
export interface ViaFlags extends NetworkFlags {
  readonly via?: string;
  readonly streams: number;
  readonly rateLimit?: number;
  readonly compress: 'auto' | 'none';
  readonly maxDowntime?: number;
}

/** The options that both ends have. */
export function addNetworkOptions(command: Command): Command {
  return command
    .option('--tls-cert <file>', 'certificate of this end, PEM')
    .option('--tls-key <file>', 'its private key, PEM')
    .option('--tls-ca <file>', 'what the certificate of the other end is signed by, PEM')
    .option('--insecure', 'allow plain tcp: beyond this machine')
    .option(
      '--reconnect-timeout <seconds>',
      'how long a cut connection is tried again',
      secondsOption,
      RECONNECT_SECONDS,
    );
}

/** The options of the end that connects. */
export function addViaOptions(command: Command): Command {
  command
    .option('--via <address>', 'the receiver: tcp:HOST:PORT or tls:HOST:PORT')
    .option('--streams <count>', 'data connections', integerOption(1, STREAMS_MAX), 1)
    .option('--rate-limit <rate>', 'the most to send, such as 1Gbit or 100M (bytes)', rateOption)
    .option(
      '--compress <how>',
      'auto (block by block, when it pays) or none',
      compressOption,
      'auto',
    )
    .option('--tls-hostname <name>', "the name in the receiver's certificate, if not HOST");
  return addNetworkOptions(command);
}

/** What both ends know of each other. */
export function networkOptions(flags: NetworkFlags): NetworkOptions {
  return {
    tls: {
      cert: flags.tlsCert,
      key: flags.tlsKey,
      ca: flags.tlsCa,
      hostname: flags.tlsHostname,
    },
    insecure: flags.insecure === true,
    reconnectMs: flags.reconnectTimeout * 1000,
  };
}

/** How to connect; undefined without `--via`. @throws {UsageFault} for options that need it */
export function viaOptions(flags: ViaFlags): ViaOptions | undefined {
  const { via, streams, rateLimit, compress, maxDowntime } = flags;
  if (via !== undefined)
    return {
      ...networkOptions(flags),
      via,
      streams,
      rateLimit,
      compress: compress === 'auto',
      maxDowntimeMs: maxDowntime,
    };
  const { tlsCert, tlsKey, tlsCa, tlsHostname, insecure } = flags;
  const given = [tlsCert, tlsKey, tlsCa, tlsHostname, insecure, rateLimit];
  if (given.some((value) => value !== undefined) || streams !== 1)
    throw new UsageFault('these options are for the network: --via is missing');
  return undefined;
}

const BITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const BYTES: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** A rate such as `1Gbit` or `100M`, in bytes a second. */
export function rateOption(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:(bit)|(?:i?b)?)(?:\/s)?$/i.exec(text.trim());
  const unit = match?.[2]?.toLowerCase() ?? '';
  const bits = match?.[3] !== undefined;
  const rate = (Number(match?.[1]) * ((bits ? BITS : BYTES)[unit] ?? Number.NaN)) / (bits ? 8 : 1);
  if (rate >= 1000) return rate;
  throw new InvalidArgumentError(
    `"${text}" is no rate of at least 1000 bytes a second; write 1Gbit, 500Mbit or 100M (bytes).`,
  );
}

function compressOption(text: string): ViaFlags['compress'] {
  if (text === 'auto' || text === 'none') return text;
  throw new InvalidArgumentError(`"${text}" is neither auto nor none.`);
}

/** Seconds, also parts of one. */
export function secondsOption(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 86_400) return value;
  throw new InvalidArgumentError(`"${text}" is no number of seconds above 0.`);
}
