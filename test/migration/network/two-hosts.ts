import { Fault, type MigrationFault } from '../../../src/base/fault.ts';
import type { MigrationResult, SessionOptions } from '../../../src/migration/migration-phase.ts';
import { NetworkLink } from '../../../src/migration/network-link.ts';
import { NetworkReceiver, type Received } from '../../../src/migration/network-receiver.ts';
import { encodeReport } from '../../../src/migration/network-report.ts';
import { type Listener, listenSocket } from '../../../src/migration/network-socket.ts';
import { networkTarget } from '../../../src/migration/network-target.ts';
import { migrate } from '../../../src/migration/session.ts';
import { FakeVfioDevice } from '../fake-vfio-device.ts';
import { CuttingProxy } from './cutting-proxy.ts';

/** How a side ended. */
export type Outcome<T> = { readonly value: T } | { readonly fault: MigrationFault };

/** What both sides said. */
export interface Ended {
  readonly source: Outcome<MigrationResult>;
  readonly target: Outcome<Received>;
  readonly resumptions: number;
}

/** A receiver and a proxy in front of it, and a VF on each side. */
export class TwoHosts {
  readonly source: FakeVfioDevice;
  readonly target: FakeVfioDevice;
  readonly proxy: CuttingProxy;
  readonly receiver: NetworkReceiver;
  readonly receiverAbort = new AbortController();
  readonly #listener: Listener;

  private constructor(
    source: FakeVfioDevice,
    target: FakeVfioDevice,
    receiver: NetworkReceiver,
    listener: Listener,
    proxy: CuttingProxy,
    abort: AbortController,
  ) {
    this.source = source;
    this.target = target;
    this.receiver = receiver;
    this.#listener = listener;
    this.proxy = proxy;
    this.receiverAbort = abort;
  }

  /** @param reconnectMs of both ends */
  static async start(content: Uint8Array, reconnectMs = 2000): Promise<TwoHosts> {
    const source = new FakeVfioDevice(content);
    const target = new FakeVfioDevice(new Uint8Array(10));
    const abort = new AbortController();
    const receiver = new NetworkReceiver({
      target: { device: target.device, probe: async () => target.state },
      to: '/run/b.sock',
      reconnectMs,
      signal: abort.signal,
    });
    const address = { scheme: 'tcp', host: '127.0.0.1', port: 0 } as const;
    const listener = await listenSocket(address, undefined, (socket) => receiver.accept(socket));
    const proxy = await CuttingProxy.start(listener.address.port);
    return new TwoHosts(source, target, receiver, listener, proxy, abort);
  }

  /** The port of the receiver itself. */
  get port(): number {
    return this.#listener.address.port;
  }

  link(more: Partial<Parameters<typeof NetworkLink.open>[0]> = {}): Promise<NetworkLink> {
    return NetworkLink.open({
      address: { scheme: 'tcp', host: '127.0.0.1', port: this.proxy.port },
      kind: 'migrate',
      streams: 2,
      reconnectMs: 2000,
      ...more,
    });
  }

  /** Moves the VF, and waits for both ends. */
  async move(
    options: SessionOptions = {},
    more: Parameters<TwoHosts['link']>[0] = {},
  ): Promise<Ended> {
    const link = await this.link({ signal: options.signal, ...more });
    const source = await settle(
      migrate({ device: this.source.device }, networkTarget(link), options),
    );
    await link.close(
      encodeReport('value' in source ? { result: source.value } : { fault: source.fault }),
    );
    const target = await settle(this.receiver.ended);
    return { source, target, resumptions: link.resumptions };
  }

  close(): void {
    this.receiverAbort.abort(new Fault('ECANCELED', 'the test is over'));
    this.receiver.ended.catch(() => {});
    this.#listener.close();
    this.proxy.close();
  }
}

async function settle<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return await promise.then(
    (value) => ({ value }),
    (fault: MigrationFault) => ({ fault }),
  );
}
