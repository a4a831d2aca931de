/** Connections that end, at any moment and on either side. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { closeFd, memFd, pipe, waitHangUp } from '../../support/libc.ts';
import { ConnectionClosed, NoAnswer, RawClient } from '../../support/raw-client.ts';
import {
  CMD,
  dmaMap,
  getInfo,
  IRQ,
  join,
  message,
  regionWrite,
  setIrqs,
  version,
} from '../../support/wire.ts';
import { CONFIG, conformance, expectNextClientServed } from './conformance.ts';
import { expectSuccess, expectUsable } from './expectations.ts';

const INFO = CMD.DEVICE_GET_INFO;

conformance('DIS', (subject) => {
  test('DIS-01 50 clients that send and leave without reading', () => {
    for (let round = 0; round < 50; round++) {
      const client = subject.client();
      client.send(join(...Array.from({ length: 4 }, (_, id) => message(INFO, getInfo(), { id }))));
      client.close();
    }
    expectNextClientServed(subject);
    subject.expectNothingLeft();
  });

  test('DIS-01 leaving while descriptors are under way', () => {
    const ends = pipe();
    for (let round = 0; round < 20; round++) {
      const client = subject.client();
      const bytes = message(CMD.DMA_MAP, dmaMap(0x1000, 0x1000));
      const fd = memFd(0x1000);
      client.send(bytes.subarray(0, [16, 20, 47, 48][round % 4]), [fd]);
      client.send(message(CMD.DEVICE_SET_IRQS, setIrqs(IRQ.TRIGGER | IRQ.EVENTFD, 1, 0, 1)), [
        ends.writeEnd,
      ]);
      closeFd(fd);
      client.close();
    }
    closeFd(ends.writeEnd);
    expect(waitHangUp(ends.readEnd, 2000)).toBe(true);
    closeFd(ends.readEnd);
    expectNextClientServed(subject);
    subject.expectNothingLeft();
  });

  test('DIS-02 a command, then the end of sending: answered, then closed', () => {
    const client = subject.client();
    client.send(message(INFO, getInfo()));
    client.shutdownWrite();
    expectSuccess(client.receive(), INFO, 16);
    expect(client.closedByServer()).toBe(true);
    expectNextClientServed(subject);
  });

  test('DIS-04 a second client waits or is refused, the first is unharmed', () => {
    const first = subject.client();
    let second: RawClient | undefined;
    try {
      second = subject.connect();
      second.send(message(CMD.VERSION, version(0, 1)));
      const reply = second.receive(100);
      expect(reply.error, 'a second client must not be served').not.toBe(0);
    } catch (error) {
      const allowed = error instanceof NoAnswer || error instanceof ConnectionClosed;
      expect(allowed || second === undefined, String(error)).toBe(true);
    }
    expectUsable(first);
    first.close();
    expectNextClientServed(subject);
  });

  test('DIS-05 the end comes inside the body of a REGION_WRITE', () => {
    const bytes = message(CMD.REGION_WRITE, regionWrite(CONFIG, 0, new Uint8Array(4096)));
    for (const cut of [17, 32, 33, 2000, bytes.length - 1]) {
      const client = subject.client();
      client.send(bytes.subarray(0, cut));
      client.close();
      expectNextClientServed(subject);
    }
  });

  test('DIS-05 the connection is closed when a message can never be completed', () => {
    const client = subject.client();
    client.send(message(INFO, getInfo()).subarray(0, 20));
    client.shutdownWrite();
    expect(client.closedByServer()).toBe(true);
    expectNextClientServed(subject);
  });
});

const PROGRAM = fileURLToPath(new URL('../../../bin/xe-vfio', import.meta.url));
const BUILT = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const SERVE = ['serve', '--platform', 'ptl', '--vf', '1'];

/** The backend program, until it has ended. */
class Backend {
  readonly #child;
  readonly ended: Promise<number | null>;
  output = '';

  constructor(args: readonly string[], inherited?: number) {
    const stdio = ['ignore' as const, 'pipe' as const, 'pipe' as const];
    this.#child = spawn(process.execPath, [PROGRAM, ...SERVE, ...args], {
      stdio: inherited === undefined ? stdio : [...stdio, inherited],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.output += chunk;
      });
    this.ended = new Promise((resolve) => this.#child.once('exit', resolve));
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** A negotiated client of `path`, as soon as the program listens. */
  async client(path: string): Promise<RawClient> {
    for (let attempt = 0; ; attempt++) {
      try {
        return RawClient.negotiate(path);
      } catch (error) {
        if (attempt === 200) throw new Error(`nobody listens: ${this.output}`, { cause: error });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

describe('DIS of the backend program', () => {
  test('D-18 and D-19 --socket-path; SIGTERM ends it cleanly and removes the socket', async (context) => {
    if (!existsSync(BUILT)) context.skip('dist/ is not built');
    const directory = mkdtempSync(joinPath(tmpdir(), 'xe-vfio-backend-'));
    const path = joinPath(directory, 'vf.sock');
    const backend = new Backend([`--socket-path=${path}`]);
    try {
      using client = await backend.client(path);
      expectUsable(client);
      backend.kill('SIGTERM');
      expect(await backend.ended, backend.output).toBe(0);
      expect(existsSync(path)).toBe(false);
    } finally {
      backend.kill('SIGKILL');
      await backend.ended;
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('D-19 --fd: a listening socket that the parent made', async (context) => {
    if (!existsSync(BUILT)) context.skip('dist/ is not built');
    const directory = mkdtempSync(joinPath(tmpdir(), 'xe-vfio-backend-'));
    const path = joinPath(directory, 'vf.sock');
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(path, resolve));
    const handle = (listener as unknown as { readonly _handle: { readonly fd: number } })._handle;
    const backend = new Backend(['--fd=3'], handle.fd);
    try {
      using client = await backend.client(path);
      expectUsable(client);
    } finally {
      backend.kill('SIGTERM');
      expect(await backend.ended, backend.output).toBe(0);
      listener.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
